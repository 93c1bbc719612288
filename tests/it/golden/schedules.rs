//! Golden: courses of rates, weight decay and momenta.

use reid_backbones::optim::spec::{AdamwSpec, CosineDecay, DecayCourse, OptimSpec};
use reid_objectives::math::schedule::{RunLength, learning_rate, teacher_momentum, weight_decay};
use reid_objectives::spec::{
    CosineMomentum, DinoCosine, Duration, Momentum, ScheduleSpec, StepAt, TransreidCosine, WarmupCosine, WarmupSteps,
};
use reid_tests::Golden;
use reid_tests::golden::max_abs;

/// Learning rates, f64, absolute.
const F64_RATE: f64 = 1e-12;
/// Courses of self-supervised trainings, f64, absolute.
const SSL: f64 = 1e-12;

/// Factor of a parameter group by the rules of TransReID's `make_optimizer`.
fn multiplier(golden: &Golden, name: &str) -> f64 {
    let large_fc = golden.param::<u8>("large_fc_lr") != 0;
    if large_fc && (name.contains("classifier") || name.contains("arcface")) {
        2.0
    } else if name.contains("bias") {
        golden.param("bias_lr_factor")
    } else {
        1.0
    }
}

#[test]
fn transreid_lr() {
    let golden = Golden::load("transreid_lr");
    let base: f64 = golden.param("base_lr");
    let epochs: usize = golden.param("epochs");
    let multipliers: Vec<f64> = golden.text("groups").split(',').map(|name| multiplier(&golden, name)).collect();
    let peaks: Vec<f64> = multipliers.iter().map(|factor| base * factor).collect();
    assert!(max_abs(&peaks, &golden.f64s("out.group_lr")) <= F64_RATE, "peak rates");

    let warmup = Duration::Epochs(golden.param("warmup"));
    let spec =
        |step_at| ScheduleSpec::TransreidCosine(TransreidCosine { warmup, warmup_start: 0.01, floor: 0.002, step_at });
    let [rows, groups] = golden.shape("out.cosine")[..] else { panic!("out.cosine is no matrix") };
    assert_eq!(groups, multipliers.len());
    // Epochs of one step and of several, at their first and last step.
    for steps_per_epoch in [1, 7] {
        let run = RunLength { steps: epochs * steps_per_epoch, epochs: epochs as f64 };
        for within in [0, steps_per_epoch - 1] {
            let rates = |step_at: StepAt, epoch: usize| {
                let (step, spec) = (epoch * steps_per_epoch + within, spec(step_at));
                multipliers.iter().map(move |&factor| learning_rate(&spec, base, factor, step, run))
            };
            let course: Vec<f64> = (0..rows).flat_map(|epoch| rates(StepAt::End, epoch)).collect();
            let worst = max_abs(&course, &golden.f64s("out.cosine"));
            assert!(worst <= F64_RATE, "{steps_per_epoch} steps per epoch: {worst:e}");
            let first: Vec<f64> = rates(StepAt::End, 0).collect();
            assert!(max_abs(&first, &golden.f64s("out.initial")) <= F64_RATE, "the first epoch's rates");
            // Stepped at the start, an epoch has the next one's rates.
            let early: Vec<f64> = (0..rows - 1).flat_map(|epoch| rates(StepAt::Start, epoch)).collect();
            let worst = max_abs(&early, &golden.f64s("out.cosine")[groups..]);
            assert!(worst <= F64_RATE, "stepped at the start: {worst:e}");
        }
    }
}

/// The same file's course with drops, of one group.
#[test]
fn transreid_multistep() {
    let golden = Golden::load("transreid_lr");
    let drops: Vec<f64> = golden.text("milestones").split(',').map(|at| at.parse().expect("an epoch")).collect();
    let [first, second] = drops[..] else { panic!("two milestones") };
    let spec = ScheduleSpec::WarmupSteps(WarmupSteps {
        warmup: Duration::Epochs(golden.param("warmup_iters")),
        warmup_start: golden.param("warmup_factor"),
        drops: [Duration::Epochs(first), Duration::Epochs(second)],
        factor: golden.param("gamma"),
    });
    let expected = golden.f64s("out.multistep");
    // The file does not say what rate drops; the warm-up ends before the first drop, so it is the largest.
    let base = expected.iter().copied().fold(0.0, f64::max);
    for steps_per_epoch in [1, 5] {
        let run = RunLength { steps: expected.len() * steps_per_epoch, epochs: expected.len() as f64 };
        let course: Vec<f64> =
            (0..expected.len()).map(|epoch| learning_rate(&spec, base, 1.0, epoch * steps_per_epoch, run)).collect();
        assert!(max_abs(&course, &expected) <= F64_RATE, "{course:?} {expected:?}");
    }
}

/// `[base, final, epochs, steps of an epoch, epochs of warm-up, start]` of DINO's `cosine_scheduler`.
fn cosine(golden: &Golden, name: &str) -> ([f64; 6], RunLength, Vec<f64>) {
    let given = golden.f64s(&format!("in.{name}.base_final_epochs_iters_warmupepochs_start"));
    let given: [f64; 6] = given.try_into().expect("six numbers");
    let epochs = given[2] as usize;
    let run = RunLength { steps: epochs * given[3] as usize, epochs: given[2] };
    let expected = golden.f64s(&format!("out.{name}"));
    assert_eq!(expected.len(), run.steps);
    (given, run, expected)
}

/// The three courses of DINO and iBOT: rate, weight decay and momentum.
#[test]
fn ssl_schedules() {
    let golden = Golden::load("ssl_schedules");

    let ([base, floor, _, _, warmup, start], run, expected) = cosine(&golden, "lr");
    let spec = ScheduleSpec::DinoCosine(DinoCosine { warmup: Duration::Epochs(warmup), start, floor });
    let ours: Vec<f64> = (0..run.steps).map(|step| learning_rate(&spec, base, 1.0, step, run)).collect();
    assert!(max_abs(&ours, &expected) <= SSL, "rate");

    let ([base, end, _, _, warmup, _], run, expected) = cosine(&golden, "wd");
    assert!(warmup.abs() < 1e-12, "our courses of decay and momentum have no warm-up");
    let decay_course = DecayCourse::Cosine(CosineDecay { end });
    let optim = OptimSpec::Adamw(AdamwSpec { weight_decay: base, decay_course, ..AdamwSpec::default() });
    let ours: Vec<f64> = (0..run.steps).map(|step| weight_decay(&optim, base, step, run)).collect();
    assert!(max_abs(&ours, &expected) <= SSL, "weight decay");

    let ([start, end, _, _, warmup, _], run, expected) = cosine(&golden, "mom");
    assert!(warmup.abs() < 1e-12, "our courses of decay and momentum have no warm-up");
    let momentum = Momentum::Cosine(CosineMomentum { start, end });
    let ours: Vec<f64> = (0..run.steps).map(|step| teacher_momentum(momentum, step, run)).collect();
    assert!(max_abs(&ours, &expected) <= SSL, "momentum");
}

/// MAE's and MoCo v3's rate, and MoCo v3's momentum, at fractions of an epoch.
#[test]
fn ssl_schedules_by_epoch() {
    let golden = Golden::load("ssl_schedules");
    let at = golden.f64s("in.epochs_real");
    let per_epoch = (1.0 / (at[1] - at[0])).round() as usize;
    let run = |total: f64| RunLength { steps: per_epoch * total as usize, epochs: total };
    let rates = |base: f64, floor: f64, warmup: f64, total: f64| -> Vec<f64> {
        let course = WarmupCosine { warmup: Duration::Epochs(warmup), floor: floor / base };
        let spec = ScheduleSpec::WarmupCosine(course);
        (0..at.len()).map(|step| learning_rate(&spec, base, 1.0, step, run(total))).collect()
    };
    let [base, floor, warmup, total] = golden.f64s("in.mae.lr_min_warm_total").try_into().expect("four numbers");
    assert!(max_abs(&rates(base, floor, warmup, total), &golden.f64s("out.mae_lr")) <= SSL, "MAE");

    let [base, warmup, total, start] = golden.f64s("in.mocov3.lr_warm_total_m").try_into().expect("four numbers");
    assert!(max_abs(&rates(base, 0.0, warmup, total), &golden.f64s("out.mocov3_lr")) <= SSL, "MoCo v3");
    let momentum = Momentum::Cosine(CosineMomentum { start, end: 1.0 });
    let ours: Vec<f64> = (0..at.len()).map(|step| teacher_momentum(momentum, step, run(total))).collect();
    assert!(max_abs(&ours, &golden.f64s("out.mocov3_momentum")) <= SSL, "MoCo v3's momentum");
}

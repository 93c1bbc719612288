//! Golden: learning rates by epoch.

use reid_objectives::math::schedule::{RunLength, learning_rate};
use reid_objectives::spec::{Duration, ScheduleSpec, TransreidCosine};
use reid_tests::Golden;
use reid_tests::golden::max_abs;

/// Learning rates, f64, absolute.
const F64_RATE: f64 = 1e-12;

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
    let spec = ScheduleSpec::TransreidCosine(TransreidCosine { warmup, warmup_start: 0.01, floor: 0.002 });
    let [rows, groups] = golden.shape("out.cosine")[..] else { panic!("out.cosine is no matrix") };
    assert_eq!(groups, multipliers.len());
    // Epochs of one step and of several, at their first and last step.
    for steps_per_epoch in [1, 7] {
        let run = RunLength { steps: epochs * steps_per_epoch, epochs: epochs as f64 };
        for within in [0, steps_per_epoch - 1] {
            let rates = |epoch: usize| {
                let step = epoch * steps_per_epoch + within;
                multipliers.iter().map(move |&factor| learning_rate(&spec, base, factor, step, run))
            };
            let course: Vec<f64> = (0..rows).flat_map(rates).collect();
            let worst = max_abs(&course, &golden.f64s("out.cosine"));
            assert!(worst <= F64_RATE, "{steps_per_epoch} steps per epoch: {worst:e}");
            let first: Vec<f64> = rates(0).collect();
            assert!(max_abs(&first, &golden.f64s("out.initial")) <= F64_RATE, "the first epoch's rates");
        }
    }
}

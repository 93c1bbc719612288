//! What every point of a sweep tries, and how it chooses; limits by a run's length.

use reid_experiments::limits::{
    BATCH, HALF_LIFE, LIMITS, PROTOTYPES, QUEUE, RAMP, Rule, WARMUP, Whole, half_life_steps,
};
use reid_experiments::spec::Seeds;
use reid_experiments::tune::Tuning;
use reid_objectives::metric::MetricKey;
use reid_objectives::spec::ObjectiveSpec;

use super::{BASE, load_text, valid};

fn tuning() -> Tuning {
    valid("tune.yaml").tuning.expect("a tuning")
}

#[test]
fn fields_that_do_not_concern_a_point_are_left_out() {
    let tuning = tuning();
    let found: Vec<(&str, usize, Vec<&str>)> = tuning
        .points
        .iter()
        .map(|point| {
            (point.label.as_str(), point.trials(), point.fields.iter().map(|(path, _)| path.as_str()).collect())
        })
        .collect();
    let (pretrain, mask, train) =
        ("pretrain.train.lr", "pretrain.objective.person_mae.mask_ratio", "protocol.supervised.train.lr");
    let expected = [
        ("untrained", 0, vec![]),
        ("none", 4, vec![train]),
        // A preset's fields go by the preset's name.
        ("mae", 4, vec![pretrain, train]),
        ("person_mae", 8, vec![pretrain, mask, train]),
    ];
    assert_eq!(found, expected);
    assert_eq!(tuning.by, MetricKey::Rank1);
    assert_eq!(tuning.seeds, [Seeds { pretrain: 10, downstream: 10 }, Seeds { pretrain: 10, downstream: 11 }]);

    // The first field changes slowest, and nothing else of the point changes.
    let rates: Vec<(f64, f64)> = tuning.points[2]
        .candidates
        .iter()
        .map(|candidate| (candidate.values[pretrain].as_f64().unwrap(), candidate.values[train].as_f64().unwrap()))
        .collect();
    assert_eq!(rates, [(5e-4, 4e-4), (5e-4, 1e-3), (1e-3, 4e-4), (1e-3, 1e-3)]);
    let mut specs: Vec<_> = tuning.points[2].candidates.iter().map(|candidate| candidate.spec.clone()).collect();
    assert!(specs.iter().zip(&rates).all(|(spec, (rate, _))| spec.pretrain.train.lr == *rate));
    for spec in &mut specs {
        spec.pretrain.train.lr = 0.0;
        let reid_objectives::spec::ProtocolSpec::Supervised(protocol) = &mut spec.protocol else { unreachable!() };
        protocol.train.lr = 0.0;
    }
    assert!(specs.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(matches!(&specs[0].pretrain.objective, ObjectiveSpec::PersonMae(spec) if spec.mask_ratio == 0.75), "mae");
}

#[test]
fn trials_and_runs_are_made_of_the_choice() {
    let experiment = valid("tune.yaml");
    assert_eq!(experiment.runs.len(), 4 * 3);
    let trials = experiment.trials().expect("trials").runs;
    assert_eq!(trials.len(), (4 + 4 + 8) * 2);
    assert!(trials.iter().all(|run| run.trial.is_some() && !run.tuned.is_empty() && run.marks.is_empty()));
    let chosen = experiment.with_choice(&[Some(0), Some(3), None, Some(1)]).runs;
    assert_eq!(chosen.iter().map(|run| run.label.as_str()).collect::<Vec<_>>(), {
        [["untrained"; 3], ["none"; 3], ["person_mae"; 3]].concat()
    });
    assert!(chosen.iter().all(|run| run.trial.is_none()));
    assert_eq!(chosen[3].marks, ["tuned `protocol.supervised.train.lr`: 0.001 is the largest value of its grid"]);
    assert_eq!(chosen[6].tuned["protocol.supervised.train.lr"], 1e-3);
    assert_eq!(chosen[6].marks.len(), 3, "{:?}", chosen[6].marks);
    assert!(load_text(BASE, &[]).unwrap().trials().is_none());
    assert_eq!(load_text(BASE, &[]).unwrap().with_choice(&[]).runs.len(), 1);
}

#[test]
fn the_best_mean_is_chosen_and_of_equals_the_first() {
    let tuning = tuning();
    let score = |table: [[f64; 2]; 4]| {
        move |point: usize, candidate: usize, seeds: Seeds| {
            let of_seed = table.get(candidate)?[usize::from(seeds.downstream == 11)];
            (point == 1 && of_seed >= 0.0).then_some(of_seed)
        }
    };
    let choice = |table| tuning.choose(score(table));
    // Points without any score have no choice; where there is nothing to choose, none is needed.
    assert_eq!(choice([[0.1, 0.1], [0.2, 0.4], [0.3, 0.1], [0.0, 0.5]]), [Some(0), Some(1), None, None]);
    assert_eq!(choice([[0.1, 0.1], [0.25, 0.25], [0.5, 0.0], [0.0, 0.5]])[1], Some(1), "a tie");
    // A seed without a result, or with an undefined one, rules a candidate out.
    assert_eq!(choice([[0.1, 0.1], [0.9, -1.0], [f64::NAN, 0.9], [0.0, 0.1]])[1], Some(0));
    assert_eq!(choice([[-1.0, 0.1]; 4])[1], None);
}

#[test]
fn values_in_the_middle_of_a_grid_and_lone_ones_are_no_edges() {
    let points = tuning().points;
    assert!(points[0].edges(0).is_empty());
    assert!(points[1].edges(1).is_empty() && points[1].edges(2).is_empty());
    assert!(!points[1].edges(0)[0].is_largest && points[1].edges(3)[0].is_largest);
    let text = format!(
        "{BASE}tune: {{over: {{pretrain.train.lr: [1e-3], pretrain.train.clip: [1, 3, 2], \
                        pretrain.train.clip_scope: [all, tensor]}}}}"
    );
    let tuning = load_text(&text, &[]).unwrap().tuning.unwrap();
    let edges = |at: usize| tuning.points[0].edges(at).iter().map(|edge| edge.value).collect::<Vec<_>>();
    assert_eq!(tuning.points[0].trials(), 6);
    // The order written is not that of the numbers, and choices have no order.
    assert_eq!((edges(0), edges(2), edges(4)), (vec![1.0], vec![3.0], vec![]));
}

#[test]
fn tuned_lists_can_be_overridden() {
    let experiment = super::valid_with("tune.yaml", &["tune.over.pretrain.train.lr=[1e-4, 2e-4, 3e-4]"]);
    assert_eq!(experiment.tuning.unwrap().points[2].trials(), 6);
    let experiment = super::valid_with("tune.yaml", &["tune.for.none.protocol.supervised.train.lr=[1e-4]"]);
    assert_eq!(experiment.tuning.unwrap().points[1].trials(), 0);
    assert!(super::valid_with("tune.yaml", &["~tune"]).tuning.is_none());
}

#[test]
fn rules_hold_up_to_their_share() {
    let cases =
        [(HALF_LIFE, 0.1), (WARMUP, 1.0 / 3.0), (RAMP, 1.0 / 3.0), (QUEUE, 0.25), (PROTOTYPES, 1.0), (BATCH, 1.0)];
    for (rule, most) in cases {
        assert!(!rule.is_broken(most) && !rule.is_broken(0.0) && rule.is_broken(most * 1.01), "{}", rule.code);
    }
    // 4096 samples of a queue take a pool of four times as many.
    assert!(!QUEUE.is_broken(4096.0 / 16_384.0) && QUEUE.is_broken(4096.0 / 16_383.0));
    assert!(!PROTOTYPES.is_broken(5120.0 / 5120.0) && PROTOTYPES.is_broken(5121.0 / 5120.0));
    assert!((half_life_steps(0.5) - 1.0).abs() < 1e-15 && (half_life_steps(0.996) - 172.94).abs() < 0.01);
    assert!(half_life_steps(0.0) == 0.0 && half_life_steps(1.0) == f64::INFINITY);
    let of_pool = |rule: &Rule| rule.whole == Whole::Pool;
    assert!(of_pool(&QUEUE) && of_pool(&PROTOTYPES) && !of_pool(&HALF_LIFE));
}

/// A limit whose field does not exist would never warn.
#[test]
fn limits_name_fields_that_exist() {
    let schema = reid_experiments::schema();
    let settings = schema.pointer("/$defs/Axes/properties").unwrap();
    for limit in LIMITS {
        assert!(settings.get(limit.field).is_some(), "there is no field {}", limit.field);
    }
}

//! A resolved run, written and read again, is the same run.

use proptest::prelude::*;
use reid_experiments::spec::RunSpec;

use super::{BASE, load_text, run_of, valid};

fn assert_round_trip(spec: &RunSpec, yaml: &str) {
    let again = run_of(yaml);
    assert_eq!(&again.spec, spec, "{yaml}");
    assert_eq!(again.to_yaml(), yaml);
}

#[test]
fn fixtures_round_trip() {
    for name in ["base.yaml", "bare_names.yaml", "child.yaml", "market.yaml", "ablation.yaml", "product.yaml"] {
        for run in valid(name).runs {
            let yaml = run.to_yaml();
            assert!(!yaml.contains('!'), "{yaml}");
            assert_round_trip(&run.spec, &yaml);
            assert_eq!(run_of(&yaml).seeds, run.seeds);
        }
    }
}

#[test]
fn text_that_looks_like_something_else_round_trips() {
    for root in ["no", "0x10", "a: b", "~", "-", "ünï # x"] {
        let data = format!("data: {{market1501: {{root: {}}}}}", serde_json::json!(format!("/{root}")));
        let run = run_of(&BASE.replace("data: {synthetic: {}}", &data));
        assert_round_trip(&run.spec, &run.to_yaml());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn numbers_round_trip(
        ratio in 0.0..0.9_f64,
        lr in prop_oneof![0.0..1.0_f64, 1e-12..1e-6_f64],
        eps in prop_oneof![Just(1e-8), Just(0.0), 0.0..1.0_f64],
        seed in any::<u64>(),
        steps in 1.0..1e9_f64,
    ) {
        let overrides = [
            format!("pretrain.objective.person_mae.mask_ratio={ratio:?}"),
            format!("pretrain.train.lr={lr:?}"),
            format!("pretrain.train.optim.adamw.eps={eps:?}"),
            format!("data.synthetic.seed={seed}"),
            format!("pretrain.train.checkpoint_every={{steps: {steps:?}}}"),
            format!("seeds={{pretrain: [{seed}], downstream: [3]}}"),
        ];
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        let experiment = load_text(BASE, &overrides).unwrap();
        let run = &experiment.runs[0];
        prop_assert_eq!(run.seeds.pretrain, seed);
        assert_round_trip(&run.spec, &run.to_yaml());
    }

    #[test]
    fn no_text_panics(text in "[ -~\n\u{e9}]{0,120}", edit in any::<prop::sample::Index>()) {
        let _ = load_text(&text, &[&text]);
        let at = edit.index(BASE.len());
        let spliced = format!("{}{text}{}", &BASE[..at], &BASE[at..]);
        if let Err(issues) = load_text(&spliced, &[]) {
            prop_assert!(!issues.render(true).is_empty());
        }
    }
}

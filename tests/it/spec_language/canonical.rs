//! Equal meaning, equal hash.

use proptest::prelude::*;
use reid_experiments::neutral::Neutral;
use reid_experiments::{canonical, stage_hash, stage_hash_without};
use serde_json::{Value, json};

use super::{BASE, run_of};

fn hash_of(text: &str) -> String {
    stage_hash(&serde_json::to_value(run_of(text).spec).unwrap())
}

#[test]
fn canonical_form_is_fixed() {
    let value =
        json!({"b": [1.0, -0.0, 0.5, 1e21, 1e-7, 1.25e-5, 1u64 << 60, -3], "a": {"y": null, "x": "\"é\n"}, "c": true});
    let text = r#"{"a":{"x":"\"é\n","y":null},"b":[1,0,0.5,1e21,1e-7,0.0000125,1152921504606846976,-3],"c":true}"#;
    assert_eq!(canonical(&value), text);
    assert_eq!(canonical(&json!(1_152_921_504_606_846_976_f64)), canonical(&json!(1u64 << 60)));
    assert_eq!(canonical(&json!(u64::MAX)), "18446744073709551615");
    assert_eq!(stage_hash(&json!({})), blake3::hash(b"{}").to_hex().to_string());
}

#[test]
fn writing_does_not_matter() {
    let other = "
# a comment
protocol:
  supervised:
    train: {epochs: 6.0e1}

pretrain:
  train: {batch: 0x40, epochs: 50.0}
  objective:
    person_mae:
      mask_ratio: 5e-1
      feature_weight: 1
backbone: {vit: {patch: 8, image: [64, 32], size: 'micro'}}
data: synthetic
";
    assert_eq!(hash_of(BASE), hash_of(other));
}

#[test]
fn science_does_matter() {
    let known = hash_of(BASE);
    for (from, to) in [
        ("mask_ratio: 0.5", "mask_ratio: 0.51"),
        ("epochs: 50", "epochs: 51"),
        ("size: micro", "size: tiny"),
        ("{synthetic: {}}", "{synthetic: {seed: 1}}"),
        ("{person_mae: {mask_ratio: 0.5}}", "none"),
    ] {
        assert_ne!(known, hash_of(&BASE.replace(from, to)), "{to}");
    }
}

#[test]
fn fields_at_their_neutral_value_are_left_out() {
    let neutral = [Neutral { suffix: "person_mae.symmetric", value: "false" }, Neutral { suffix: "gain", value: "1" }];
    let hash = |value: &Value| stage_hash_without(value, &neutral);
    let old = json!({"objective": {"person_mae": {"flip": 0.5}}});
    let new = json!({"objective": {"person_mae": {"flip": 0.5, "symmetric": false, "gain": 1.0}}});
    let changed = json!({"objective": {"person_mae": {"flip": 0.5, "symmetric": true, "gain": 1.0}}});
    let elsewhere = json!({"objective": {"person_mae": {"flip": 0.5}}, "symmetric": false});
    assert_eq!(hash(&old), hash(&new));
    assert_eq!(hash(&old), stage_hash(&old), "nothing to leave out");
    assert_ne!(hash(&old), hash(&changed));
    assert_ne!(hash(&old), hash(&elsewhere));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "[a-z\"\\\\é]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_reads_back_and_is_stable(value in json_value()) {
        let text = canonical(&value);
        let back: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(canonical(&back), text);
    }

    #[test]
    fn numbers_of_one_value_are_one(int in -(1_i64 << 53)..(1_i64 << 53)) {
        prop_assert_eq!(canonical(&json!(int)), canonical(&json!(int as f64)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn key_order_comments_and_number_forms_do_not_change_the_hash(
        order in Just(["data", "backbone", "pretrain", "protocol"]).prop_shuffle(),
        inner in Just(["epochs", "batch", "lr"]).prop_shuffle(),
        comment in "[ -~]{0,20}",
        (epochs, batch) in (20_u32..500, 1_u32..100),
        as_float in any::<bool>(),
    ) {
        let number = |n: u32, key: &str| if as_float && key != "lr" { format!("{n}.0") } else { n.to_string() };
        let train = |keys: &[&str], number: &dyn Fn(u32, &str) -> String| {
            let field = |key: &&str| match *key {
                "epochs" => format!("epochs: {}", number(epochs, "epochs")),
                "batch" => format!("batch: {}", number(batch, "batch")),
                _ => "lr: 0.001".to_owned(),
            };
            keys.iter().map(field).collect::<Vec<_>>().join(", ")
        };
        let text = |keys: &[&str], inner: &[&str], comment: &str, number: &dyn Fn(u32, &str) -> String| {
            let field = |key: &&str| match *key {
                "data" => format!("data: {{synthetic: {{}}}} # {comment}\n"),
                "backbone" => "backbone: {vit: {size: micro, image: [64, 32], patch: 8}}\n".to_owned(),
                "pretrain" => format!("pretrain: {{objective: mae, train: {{{}}}}}\n", train(inner, number)),
                _ => "protocol: transreid_ssl\n".to_owned(),
            };
            keys.iter().map(field).collect::<String>()
        };
        let plain = text(&["data", "backbone", "pretrain", "protocol"], &["epochs", "batch", "lr"], "", &|n, _| n.to_string());
        let shuffled = text(&order, &inner, &comment, &number);
        prop_assert_eq!(hash_of(&plain), hash_of(&shuffled));
        let other = plain.replace("lr: 0.001", "lr: 0.002");
        prop_assert_ne!(hash_of(&plain), hash_of(&other));
    }
}

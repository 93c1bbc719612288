//! Fields that were added after results existed.
//!
//! A field that is new must not give old experiments new keys: at the value that means "as before" it is
//! left out of the hash. The list only ever grows.

use serde_json::Value as Json;

/// A field and the value at which it changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Neutral {
    /// End of the field's dotted path, such as `person_mae.symmetric`.
    pub suffix: &'static str,
    /// That value as JSON.
    pub value: &'static str,
}

/// All such fields.
pub const NEUTRAL: &[Neutral] = &[
    Neutral { suffix: "train.evaluate_every", value: r#"{"never":{}}"# },
    Neutral { suffix: "train.clip_scope", value: r#""all""# },
    Neutral { suffix: "adamw.decay_course", value: r#"{"constant":{}}"# },
    Neutral { suffix: "erasing.fill", value: r#""noise""# },
    Neutral { suffix: "erasing.law", value: r#""timm""# },
    Neutral { suffix: "usl.neck_batch", value: r#""whole""# },
    Neutral { suffix: "usl.drop_path", value: r#""backbone""# },
    Neutral { suffix: "supervised.labels", value: r#"{"identities":1,"images_per_identity":0}"# },
    Neutral { suffix: "evaluation.pooling", value: r#""cls""# },
    Neutral { suffix: "vit.stride", value: r#""patch""# },
    Neutral { suffix: "pretrain.image", value: r#""backbone""# },
    Neutral { suffix: "vit.stem", value: r#""patch""# },
    Neutral { suffix: "vit.part_tokens", value: "0" },
    Neutral { suffix: "person_mae.teacher", value: r#"{"ema":{}}"# },
    Neutral { suffix: "pretrain.budget", value: r#"{"train_epochs":{}}"# },
    Neutral { suffix: "supervised.sampler", value: r#""pk""# },
    Neutral { suffix: "train_with", value: "[]" },
    Neutral { suffix: "decode", value: r#""full""# },
    Neutral { suffix: "test_on", value: r#""same""# },
    Neutral { suffix: "market1501.distractors", value: "false" },
    Neutral { suffix: "cuhk03.protocol", value: r#""new""# },
    Neutral { suffix: "occluded_duke.lists", value: r#""folders""# },
    Neutral { suffix: "transreid_cosine.step_at", value: r#""end""# },
    Neutral { suffix: "supervised.pooling", value: r#""cls""# },
    Neutral { suffix: "supervised.side", value: r#"{"none":{}}"# },
    Neutral { suffix: "supervised.local", value: r#"{"none":{}}"# },
    Neutral { suffix: "supervised.neck_bias", value: r#""zero""# },
    Neutral { suffix: "supervised.id_head", value: r#"{"linear":{}}"# },
    Neutral { suffix: "supervised.smoothing", value: r#""all""# },
    Neutral { suffix: "supervised.triplet_mining", value: r#""batch_hard""# },
    Neutral { suffix: "usl.pooling", value: r#""cls""# },
    Neutral { suffix: "evaluation.flip_test", value: "false" },
    Neutral { suffix: "evaluation.same_camera", value: r#""removed""# },
    Neutral { suffix: "evaluation.average_precision", value: r#""steps""# },
    Neutral { suffix: "evaluation.cmc", value: r#""all""# },
    Neutral { suffix: "evaluation.expansion", value: r#"{"none":{}}"# },
    Neutral { suffix: "evaluation.verification", value: "false" },
    Neutral { suffix: "evaluation.reranking", value: r#"{"none":{}}"# },
];

/// The value without fields that are at their neutral value.
pub fn drop_neutral(mut value: Json, neutral: &[Neutral]) -> Json {
    if !neutral.is_empty() {
        drop_below(&mut value, &mut Vec::new(), neutral);
    }
    value
}

fn drop_below(value: &mut Json, path: &mut Vec<String>, neutral: &[Neutral]) {
    match value {
        Json::Object(fields) => {
            fields.retain(|key, value| {
                path.push(key.clone());
                drop_below(value, path, neutral);
                let is_neutral =
                    neutral.iter().any(|field| ends_with(path, field.suffix) && equals(value, field.value));
                path.pop();
                !is_neutral
            });
        }
        Json::Array(items) => {
            for item in items {
                drop_below(item, path, neutral);
            }
        }
        _ => {}
    }
}

fn ends_with(path: &[String], suffix: &str) -> bool {
    let keys: Vec<&str> = suffix.split('.').collect();
    path.len() >= keys.len() && path[path.len() - keys.len()..].iter().zip(&keys).all(|(a, b)| a == b)
}

fn equals(value: &Json, neutral: &str) -> bool {
    serde_json::from_str::<Json>(neutral).is_ok_and(|neutral| crate::canonical(&neutral) == crate::canonical(value))
}

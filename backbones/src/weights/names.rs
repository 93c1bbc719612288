//! From the names of other projects to timm's.

use std::collections::{BTreeMap, BTreeSet};

/// Wrappers around an encoder, in the order in which they are tried: what training scripts save, then the better
/// of two networks, then the part of a model.
const WRAPPERS: [&str; 12] = [
    "model",
    "state_dict",
    "module",
    "teacher",
    "target_encoder",
    "backbone",
    "base",
    "base_encoder",
    "vit",
    "dinov2",
    "beit",
    "encoder",
];

/// A name that every ViT has, in timm's words and in Hugging Face's.
const MARKS: [&str; 2] = ["patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"];

/// First words of names, up to a dot, of what is no part of an encoder: heads, decoders, mask tokens.
const NO_ENCODER: [&str; 15] = [
    "head",
    "heads",
    "head_dist",
    "fc",
    "pre_logits",
    "masked_embed",
    "mask_token",
    "lm_head",
    "classifier",
    "bottleneck",
    "pooler",
    "decoder",
    "norm_pre_head",
    "projector",
    "predictor",
];
/// Beginnings of such names: MAE's and BootMAE's decoders, TransReID's further classifiers, PASS's heads.
const NO_ENCODER_STARTS: [&str; 8] =
    ["decoder_", "decode_", "mask_token", "classifier_", "bottleneck_", "mlp_cls", "mlp_part", "down"];
/// Last words of names of what only counts.
const COUNTERS: [&str; 1] = ["num_batches_tracked"];

/// Hugging Face's names, with `#` for the number of the block.
const HUGGING_FACE: [(&str, &str); 20] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("layernorm", "norm"),
    ("encoder.layer.#.layernorm_before", "blocks.#.norm1"),
    ("encoder.layer.#.layernorm_after", "blocks.#.norm2"),
    ("encoder.layer.#.norm1", "blocks.#.norm1"),
    ("encoder.layer.#.norm2", "blocks.#.norm2"),
    (
        "encoder.layer.#.attention.attention.relative_position_bias.relative_position_bias_table",
        "blocks.#.attn.relative_position_bias_table",
    ),
    ("encoder.layer.#.attention.attention", "blocks.#.attn"),
    ("encoder.layer.#.attention.output.dense", "blocks.#.attn.proj"),
    ("encoder.layer.#.intermediate.dense", "blocks.#.mlp.fc1"),
    ("encoder.layer.#.output.dense", "blocks.#.mlp.fc2"),
    ("encoder.layer.#.mlp", "blocks.#.mlp"),
    ("encoder.layer.#.layer_scale1.lambda1", "blocks.#.ls1.gamma"),
    ("encoder.layer.#.layer_scale2.lambda1", "blocks.#.ls2.gamma"),
    ("encoder.layer.#.lambda_1", "blocks.#.ls1.gamma"),
    ("encoder.layer.#.lambda_2", "blocks.#.ls2.gamma"),
    ("encoder.relative_position_bias", "rel_pos_bias"),
];

/// What one of our tensors is made of: names in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// One tensor.
    Whole(String),
    /// Query's, key's and value's, one above the other; zeros where there is none.
    Stacked([Option<String>; 3]),
}

impl Source {
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Whole(name) => vec![name],
            Self::Stacked(parts) => parts.iter().flatten().map(String::as_str).collect(),
        }
    }
}

/// A file's tensors in timm's words.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    /// The encoder's, by timm's name.
    pub(super) encoder: BTreeMap<String, Source>,
    /// Of heads, decoders and counters.
    pub(super) left_out: Vec<String>,
    /// Number of tensors outside the part that was chosen.
    pub(super) elsewhere: usize,
}

/// The prefix, with its dot, of the encoder among these names; the wanted part comes first.
/// None if there is no ViT.
pub(super) fn locate(names: &BTreeSet<&str>, part: &str) -> Option<String> {
    let mut prefix = if part.is_empty() { String::new() } else { format!("{part}.") };
    let has = |prefix: &str, name: &str| names.contains(format!("{prefix}{name}").as_str());
    // Every round makes the prefix longer, and no name is endless.
    loop {
        if MARKS.iter().any(|mark| has(&prefix, mark)) {
            return Some(prefix);
        }
        let inside = |wrapper: &&&str| {
            let longer = format!("{prefix}{wrapper}.");
            let mut below = names.range(longer.as_str()..).take_while(|name| name.starts_with(&longer));
            below.any(|name| MARKS.iter().any(|mark| name.ends_with(mark)))
        };
        let wrapper = WRAPPERS.iter().find(inside)?;
        prefix = format!("{prefix}{wrapper}.");
    }
}

/// Sorts a file's names; `prefix` is what [`locate`] found.
pub(super) fn read<'a>(names: impl Iterator<Item = &'a str>, prefix: &str) -> Named {
    let mut named = Named::default();
    let mut parts: BTreeMap<(String, &'static str), [Option<String>; 3]> = BTreeMap::new();
    for full in names {
        let Some(name) = full.strip_prefix(prefix) else {
            named.elsewhere += 1;
            continue;
        };
        let name = of_hugging_face(name);
        if is_no_encoder(&name) {
            named.left_out.push(name);
        } else if let Some((block, kind, third)) = third_of_qkv(&name) {
            parts.entry((block, kind)).or_default()[third] = Some(full.to_owned());
        } else {
            named.encoder.insert(name, Source::Whole(full.to_owned()));
        }
    }
    for ((block, kind), thirds) in parts {
        let missing = thirds.iter().filter(|third| third.is_none()).count();
        // BEiT's attention has no bias of keys, which changes no softmax.
        let is_whole = missing == 0 || (kind == "bias" && missing == 1 && thirds[1].is_none());
        if is_whole {
            named.encoder.insert(format!("{block}qkv.{kind}"), Source::Stacked(thirds));
        } else {
            for (third, name) in ["q", "k", "v"].iter().zip(thirds) {
                named.encoder.extend(name.map(|name| (format!("{block}{third}.{kind}"), Source::Whole(name))));
            }
        }
    }
    named
}

/// A block's attention, `weight` or `bias`, and which third of the stacked tensor a name stands for.
fn third_of_qkv(name: &str) -> Option<(String, &'static str, usize)> {
    const THIRDS: [(&str, &str, usize); 8] = [
        ("query.weight", "weight", 0),
        ("key.weight", "weight", 1),
        ("value.weight", "weight", 2),
        ("query.bias", "bias", 0),
        ("key.bias", "bias", 1),
        ("value.bias", "bias", 2),
        ("q_bias", "bias", 0),
        ("v_bias", "bias", 2),
    ];
    let of = |(ending, kind, third): &(&str, &'static str, usize)| {
        let attention = name.strip_suffix(ending)?;
        attention.ends_with(".attn.").then(|| (attention.to_owned(), *kind, *third))
    };
    THIRDS.iter().find_map(of)
}

fn is_no_encoder(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    NO_ENCODER.contains(&first)
        || NO_ENCODER_STARTS.iter().any(|start| first.starts_with(start))
        || COUNTERS.contains(&last)
}

/// Hugging Face's name as timm's; any other as it is.
fn of_hugging_face(name: &str) -> String {
    let block = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next());
    for (theirs, ours) in HUGGING_FACE {
        let theirs = theirs.replace('#', block.unwrap_or("#"));
        if let Some(rest) = name.strip_prefix(&theirs)
            && (rest.is_empty() || rest.starts_with('.'))
        {
            return format!("{}{rest}", ours.replace('#', block.unwrap_or("#")));
        }
    }
    name.to_owned()
}

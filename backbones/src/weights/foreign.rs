//! Weights for architectures that are not ours: every wanted tensor by timm's name, or a report of what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::import::{no_encoder, read_source, shape_of};
use super::names::{self, Source};
use super::report::Report;
use crate::error::{BackboneError, Result};

/// BEiT's layer scale in Microsoft's and timm's words, and in DINOv2's.
const LAYER_SCALES: [(&str, &str); 2] = [("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma")];
/// BEiT's table of relative positions where all blocks share one, and where each has its own.
const SHARED_TABLE: &str = "rel_pos_bias.relative_position_bias_table";
const OWN_TABLE: &str = "attn.relative_position_bias_table";
/// Norms after the last block, which its features do not pass.
const FINAL_NORMS: [&str; 2] = ["norm.", "fc_norm."];

/// Reads the wanted tensors, by timm's names and with these shapes, from a file.
///
/// # Errors
/// If the file cannot be read or holds no ViT, or if a tensor is missing, unfit, or left over.
pub fn foreign(path: &str, wanted: &BTreeMap<String, Vec<usize>>) -> Result<(BTreeMap<String, Tensor>, Report)> {
    let checkpoint = Checkpoint::open(Path::new(path))?;
    let all: BTreeSet<&str> = checkpoint.names().collect();
    let found = names::locate(&all, "").ok_or_else(|| no_encoder(&all, "", Path::new(path)))?;
    let named = names::read(all.iter().copied(), &found);
    let mut report = Report {
        format: checkpoint.format(),
        part: found.trim_end_matches('.').to_owned(),
        elsewhere: named.elsewhere,
        left_out: named.left_out,
        ..Report::default()
    };
    let mut encoder: BTreeMap<String, Source> =
        named.encoder.into_iter().map(|(name, source)| (layer_scale(&name), source)).collect();
    let norms: Vec<String> =
        encoder.keys().filter(|name| FINAL_NORMS.iter().any(|norm| name.starts_with(norm))).cloned().collect();
    encoder.retain(|name, _| !norms.contains(name));
    report.left_out.extend(norms);
    report.left_out.sort();
    let shared = encoder.remove(SHARED_TABLE);

    let mut sources = BTreeMap::new();
    for (name, shape) in wanted {
        let own = encoder.remove(name);
        let source = own.or_else(|| if name.ends_with(OWN_TABLE) { shared.clone() } else { None });
        let Some(source) = source else {
            report.missing.push(name.clone());
            continue;
        };
        let found = shape_of(&checkpoint, &source);
        if found == *shape {
            report.used.push(name.clone());
            sources.insert(name.clone(), source);
        } else {
            report.unfit.push((name.clone(), format!("{found:?}, wanted {shape:?}")));
        }
    }
    report.unused.extend(encoder.into_keys());
    if !report.is_complete() {
        report.help = help(&report);
        return Err(BackboneError::Import { report: Box::new(report), path: path.to_owned() });
    }
    let read = |(name, source): (String, Source)| Ok((name, read_source(&checkpoint, &source)?));
    Ok((sources.into_iter().map(read).collect::<Result<_>>()?, report))
}

fn layer_scale(name: &str) -> String {
    let named = LAYER_SCALES.iter().find_map(|(theirs, ours)| Some(format!("{}{ours}", name.strip_suffix(theirs)?)));
    named.unwrap_or_else(|| name.to_owned())
}

fn help(report: &Report) -> Vec<String> {
    let has = |names: &[String], part: &str| names.iter().any(|name| name.contains(part));
    let unfit = |part: &str| report.unfit.iter().any(|(name, _)| name.contains(part));
    let mut help = Vec::new();
    if has(&report.unused, "register_tokens") {
        help.push("it has registers; take DINOv2's weights without them".to_owned());
    }
    if has(&report.missing, "ls1.gamma") {
        help.push("it has no layer scale, which DINOv2 and BEiT have; a plain ViT is `frozen: {vit: ..}`".to_owned());
    }
    if has(&report.missing, OWN_TABLE) {
        help.push("it has no relative positions; is it DINOv2's? `frozen: {dinov2: ..}`".to_owned());
    } else if has(&report.unused, OWN_TABLE) {
        help.push("it has relative positions; is it BEiT's? `frozen: {beit: ..}`".to_owned());
    }
    if unfit("norm1") || has(&report.unused, "blocks.") || has(&report.missing, "blocks.0.norm1") {
        help.push("it is of another `size`".to_owned());
    } else if unfit(OWN_TABLE) || unfit("pos_embed") {
        help.push("it was trained on pictures of another size: BEiT is read at 384, DINOv2 at 518 pixels".to_owned());
    }
    help
}

//! A decoder's width divides into its heads.

use reid_objectives::person_mae::spec::Target;

use super::{Finding, PERSON_MAE, person_mae, vit};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = person_mae(run) else { return Vec::new() };
    let dims = vit(run).size.dims();
    // Heads that the program chooses are as wide as the encoder's.
    let (encoder, auto_head) = (dims.width, dims.width / dims.heads);
    let mut found = Vec::new();
    let decoders = [
        ("pixel_decoder", spec.pixel_decoder, spec.target != Target::Feature),
        ("feature_decoder", spec.feature_decoder, spec.target != Target::Pixel),
    ];
    for (name, decoder, is_used) in decoders {
        let (width, source) = if decoder.width == 0 { (encoder, " (the encoder's)") } else { (decoder.width, "") };
        let path = |field: &str| format!("{PERSON_MAE}.{name}.{field}");
        if !is_used {
            continue;
        }
        if decoder.heads == 0 && width % auto_head != 0 {
            let message = format!("a decoder of width {width} does not divide into heads of {auto_head} channels");
            let finding = Finding::error("spec::decoder-heads", message)
                .at(path("width"), format!("not a multiple of {auto_head}"));
            let nearest = ((width + auto_head / 2) / auto_head).max(1) * auto_head;
            found.push(finding.help(format!("use `width: {nearest}`, or set `heads`")));
        } else if decoder.heads != 0 && width % decoder.heads != 0 {
            let heads = decoder.heads;
            let message = format!("a decoder of width {width}{source} does not divide into {heads} heads");
            let finding = Finding::error("spec::decoder-heads", message)
                .at(path("heads"), format!("does not divide {width}"))
                .at(path("width"), format!("width {width}{source}"));
            found.push(finding.help("make the width a multiple of the heads, or set `heads: 0`"));
        } else if width % 4 != 0 {
            let message = format!("a decoder of width {width} is no multiple of 4, which sine positions need");
            let finding = Finding::error("spec::decoder-width", message).at(path("width"), "not a multiple of 4");
            found.push(finding.help(format!("use `width: {}`", width.div_ceil(4) * 4)));
        }
    }
    found
}

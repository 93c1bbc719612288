//! What PersonMAE costs for each picture.

use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_backbones::spec::VitSpec;

use super::spec::{DecoderKind, DecoderSpec, PersonMaeSpec, Target};
use crate::cost::{Cost, attention, block, encoder, linear, mlp, patches, trained};
use crate::math::mask::hidden_count;

/// Cost of one drawn picture: the encoder sees RegionA's visible patches, each decoder predicts RegionB, the
/// teacher sees all of RegionB.
pub fn cost(spec: &PersonMaeSpec, vit: &VitSpec) -> Cost {
    let all = patches(vit);
    let visible = all.saturating_sub(hidden_count(all, spec.mask_ratio));
    let width = vit.size.dims().width;
    let of = |decoder: &DecoderSpec, outputs| decoder_forward(decoder, width, (visible, all), outputs);
    let pixels = of(&spec.pixel_decoder, 3 * vit.patch * vit.patch);
    let frozen = spec.frozen_teacher().map(FrozenEncoderSpec::geometry);
    let teacher = frozen.as_ref().unwrap_or(vit);
    let features = of(&spec.feature_decoder, teacher.size.dims().width);
    let seen = encoder(teacher, patches(teacher));
    let (decoders, teacher) = match spec.target {
        Target::Pixel => (pixels, 0.0),
        Target::Feature => (features, seen),
        Target::Both => (pixels + features, seen),
    };
    Cost { encoder_tokens: 1 + visible, flops: trained(encoder(vit, visible) + decoders) + teacher }
}

/// Operations of a decoder's forward pass from `visible` patches and a class token to `all` cells.
fn decoder_forward(spec: &DecoderSpec, encoder_width: usize, (visible, all): (usize, usize), outputs: usize) -> f64 {
    let width = if spec.width == 0 { encoder_width } else { spec.width };
    let memory = 1 + visible;
    let of_block = match spec.kind {
        DecoderKind::Joint => block(memory + all, width),
        DecoderKind::Unshuffle => block(1 + all, width),
        DecoderKind::Cross => {
            let own = linear(all, width, 4 * width) + attention(all, all, width);
            let query = linear(all, width, 2 * width) + attention(all, memory, width);
            own + query + linear(memory, width, 2 * width) + mlp(all, width)
        }
    };
    linear(memory, encoder_width, width) + spec.depth as f64 * of_block + linear(all, width, outputs)
}

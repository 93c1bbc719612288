//! What a picture costs.

use reid_backbones::spec::VitSpec;

use super::spec::{ContrastVariant, UpReidSpec};
use crate::cost::{Cost, encoder, linear, patches, trained};

/// Cost of one drawn picture. Similarities with a queue are counted, with a backward pass to the query alone; those
/// within a batch depend on its size and are left out.
pub fn cost(spec: &UpReidSpec, vit: &VitSpec) -> Cost {
    let (width, cells) = (vit.size.dims().width, patches(vit));
    let or_width = |hidden| if hidden == 0 { width } else { hidden };
    let mlp = |hidden| linear(1, width, hidden) + linear(1, hidden, spec.dim);
    let whole = encoder(vit, cells);
    let consistent = f64::from(u8::from(spec.consistency.weight > 0.0));
    let (mut encoder_tokens, mut flops) = match spec.variant {
        ContrastVariant::Queue(queue) => {
            let pass = whole + mlp(or_width(queue.hidden));
            let similarities = linear(1, spec.dim, queue.size);
            (1 + cells, trained(pass) + (1.0 + consistent) * pass + (2.0 + consistent) * similarities)
        }
        ContrastVariant::InBatch(in_batch) => {
            let hidden = or_width(in_batch.hidden);
            let projector = linear(1, width, hidden) + linear(1, hidden, hidden) + linear(1, hidden, spec.dim);
            let predictor = linear(1, spec.dim, hidden) + linear(1, hidden, spec.dim);
            let pass = whole + projector;
            (2 * (1 + cells), 2.0 * trained(pass + predictor) + (2.0 + consistent) * pass)
        }
    };
    if spec.strips.weight > 0.0 {
        let count = spec.strips.count;
        let pass = count as f64 * (encoder(vit, cells / count) + mlp(width));
        let views = 1.0 + f64::from(u8::from(spec.strips.original));
        encoder_tokens += count + cells;
        flops += trained(pass) + views * pass;
    }
    Cost { encoder_tokens, flops }
}

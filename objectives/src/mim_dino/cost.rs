//! What a drawn picture costs.

use reid_backbones::spec::VitSpec;

use super::GLOBALS;
use super::spec::{Balance, DinoHeadSpec, MimDinoSpec};
use crate::cost::{Cost, encoder, linear, patches, trained};

/// Cost of a drawn picture, whose number of masked patches is taken at its mean.
pub fn cost(spec: &MimDinoSpec, vit: &VitSpec) -> Cost {
    let cells = patches(vit);
    let [height, width] = spec.views.local_size(vit.image);
    let (locals, local_cells) = (spec.used_locals(), (height / vit.patch) * (width / vit.patch));
    let student = GLOBALS as f64 * encoder(vit, cells) + locals as f64 * encoder(vit, local_cells);
    let teacher = GLOBALS as f64 * encoder(vit, cells);
    let flops = trained(student) + teacher + heads(spec, vit, GLOBALS * cells, locals);
    Cost { encoder_tokens: GLOBALS * (1 + cells) + locals * (1 + local_cells), flops }
}

/// Operations of both heads on class tokens and on the patches of the global views.
fn heads(spec: &MimDinoSpec, vit: &VitSpec, patches: usize, locals: usize) -> f64 {
    let head = &spec.head;
    let own = if head.patch_prototypes == 0 { head.prototypes } else { head.patch_prototypes };
    let class = mlp(head, vit) + linear(1, head.bottleneck, head.prototypes);
    let mut flops = GLOBALS as f64 * class;
    if spec.dino_weight > 0.0 {
        flops += trained((GLOBALS + locals) as f64 * class);
    }
    if spec.mim_weight > 0.0 {
        let ratios = &spec.mask.ratios;
        let share = ratios.iter().map(|ratio| ratio.mean).sum::<f64>() / ratios.len().max(1) as f64;
        let masked = share * patches as f64;
        let last = linear(1, head.bottleneck, own);
        // The mean of all of the teacher's patches is centered on.
        let seen = if matches!(spec.balance, Balance::Centering(_)) { patches as f64 } else { masked };
        flops += trained(masked * (mlp(head, vit) + last)) + seen * mlp(head, vit) + masked * last;
    }
    flops
}

/// Operations of a head's perceptron on one token.
fn mlp(head: &DinoHeadSpec, vit: &VitSpec) -> f64 {
    linear(1, vit.size.dims().width, head.hidden)
        + linear(1, head.hidden, head.hidden)
        + linear(1, head.hidden, head.bottleneck)
}

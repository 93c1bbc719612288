//! Downstream protocols: what is trained, and what is evaluated.

pub mod evaluation;
pub mod frozen;
pub mod losses;
pub mod model;
pub mod neck;
pub mod spcl;
pub mod supervised;
pub mod usl;

use reid_backbones::spec::VitSpec;
use reid_data::spec::{PhotometricSpec, Size};
use reid_data::views::{Crop, ViewPlan, ViewSpec};

use crate::spec::SupervisedAugment;

/// Prefix of the encoder's parameters in every model.
pub const ENCODER: &str = "encoder.";
/// Prefix of the BNNeck's tensors.
pub const NECK: &str = "neck.";
/// Name of the identity classifier.
const CLASSIFIER: &str = "classifier";

/// The one view of each picture that a protocol trains on.
fn training_views(augment: &SupervisedAugment, backbone: &VitSpec) -> ViewPlan {
    let view = ViewSpec {
        size: Size(backbone.image[0], backbone.image[1]),
        crop: Crop::PadCrop { pad: augment.pad },
        filter: augment.filter,
        flip: augment.flip,
        photometric: PhotometricSpec::default(),
        normalisation: augment.normalisation,
        erasing: (augment.erasing.probability > 0.0).then_some(augment.erasing),
    };
    ViewPlan { views: vec![view], shared_flip: 0.0 }
}

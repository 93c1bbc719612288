//! Names for whole settings. They exist in what is written only: resolving replaces a preset by its
//! canonical variant with all fields, so that equal science has equal keys.

use reid_objectives::person_mae::spec::{
    DecoderKind, DecoderSpec, LossOn, MaskKind, PersonMaeSpec, PixelNorm, Region, Target,
};
use reid_objectives::spec::SupervisedSpec;
use serde_json::Value as Json;

/// A name for a variant with settings.
#[derive(Debug)]
pub struct Preset {
    /// The choice it belongs to, by the name of its type.
    pub choice: &'static str,
    /// What is written.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// The variant that it stands for.
    pub variant: &'static str,
    /// All fields of the variant.
    fields: fn() -> Json,
}

impl PartialEq for Preset {
    fn eq(&self, other: &Self) -> bool {
        (self.choice, self.name) == (other.choice, other.name)
    }
}

impl Preset {
    /// All fields of the variant that it stands for.
    pub fn fields(&self) -> Json {
        (self.fields)()
    }
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        choice: "ObjectiveSpec",
        name: "mae",
        doc: "Masked autoencoder (arXiv 2111.06377): `person_mae` with one region, a random mask of 0.75, normalised \
              pixels of the masked patches as target, and MAE's decoder.",
        variant: "person_mae",
        fields: || json(mae()),
    },
    Preset {
        choice: "ProtocolSpec",
        name: "transreid_ssl",
        doc: "The supervised recipe of TransReID-SSL: `supervised` as it comes.",
        variant: "supervised",
        fields: || json(SupervisedSpec::default()),
    },
];

/// MAE as a case of `person_mae`.
fn mae() -> PersonMaeSpec {
    let default = PersonMaeSpec::default();
    PersonMaeSpec {
        region: Region::Same,
        mask: MaskKind::Random,
        mask_ratio: 0.75,
        target: Target::Pixel,
        loss_on: LossOn::Masked,
        pixel_norm: PixelNorm::Patch,
        pixel_decoder: DecoderSpec { kind: DecoderKind::Unshuffle, ..default.pixel_decoder },
        ..default
    }
}

fn json<T: serde::Serialize>(fields: T) -> Json {
    serde_json::to_value(fields).expect("spec types have text keys and serialise without error")
}

//! Names for whole settings. They exist in what is written only: resolving replaces a preset by its
//! canonical variant with all fields, so that equal science has equal keys.

use reid_backbones::optim::spec::{AdamSpec, AdamwSpec, OptimSpec};
use reid_data::spec::{BlurSpec, ErasingFill, ErasingSpec, Filter, JitterSpec, Normalisation, PhotometricSpec};
use reid_objectives::mim_dino::spec::{DinoHeadSpec, MaskRatio, MimDinoSpec, MimMaskSpec, MultiCropSpec};
use reid_objectives::person_mae::spec::{
    DecoderKind, DecoderSpec, LossOn, MaskKind, PersonMaeSpec, PixelNorm, Region, Target,
};
use reid_objectives::spec::{
    CamerasSpec, CosineMomentum, Duration, EvaluationFeature, EvaluationSpec, Hard, JigsawSpec, LocalSpec, Momentum,
    ScheduleSpec, SideSpec, StepAt, SupervisedAugment, SupervisedSpec, TrainSpec, TransreidCosine, TripletMargin,
    WarmupCosine, WarmupSteps,
};
use reid_objectives::up_reid::spec::{
    ConsistencySpec, ContrastAugment, ContrastSpec, ContrastVariant, InBatchSpec, QueueSpec, StripsSpec, UpReidSpec,
};
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
        choice: "ObjectiveSpec",
        name: "dino",
        doc: "DINO (arXiv 2104.14294): `mim_dino` without masks, class tokens only, with DINO's crops and its 65536 \
              prototypes.",
        variant: "mim_dino",
        fields: || json(dino()),
    },
    Preset {
        choice: "ObjectiveSpec",
        name: "ibot",
        doc: "iBOT (arXiv 2111.07832): `mim_dino` with iBOT's crops for a ViT-S.",
        variant: "mim_dino",
        fields: || json(ibot()),
    },
    Preset {
        choice: "ObjectiveSpec",
        name: "personvit",
        doc: "PersonViT's pre-training (arXiv 2408.05398) as far as its run names tell: `mim_dino` as it comes.",
        variant: "mim_dino",
        fields: || json(MimDinoSpec::default()),
    },
    Preset {
        choice: "ObjectiveSpec",
        name: "moco_v2",
        doc: "MoCo v2 (arXiv 2003.04297): `up_reid` without consistency and strips, with a queue and the augmentation of \
              its authors.",
        variant: "up_reid",
        fields: || json(moco_v2()),
    },
    Preset {
        choice: "ObjectiveSpec",
        name: "moco_v3",
        doc: "MoCo v3 (arXiv 2104.02057): `up_reid` without consistency and strips, in the batch, with projector, \
              predictor, frozen patch embedding and the augmentation of its authors.",
        variant: "up_reid",
        fields: || json(moco_v3()),
    },
    Preset {
        choice: "ProtocolSpec",
        name: "transreid_ssl",
        doc: "The supervised recipe of TransReID-SSL: `supervised` as it comes.",
        variant: "supervised",
        fields: || json(SupervisedSpec::default()),
    },
    Preset {
        choice: "ProtocolSpec",
        name: "personvit",
        doc: "PersonViT's fine-tuning (its `run_batch.sh`), which is TransReID-SSL's: `supervised` as it comes.",
        variant: "supervised",
        fields: || json(SupervisedSpec::default()),
    },
    Preset {
        choice: "ProtocolSpec",
        name: "transreid",
        doc: "TransReID (arXiv 2102.04378): `supervised` with camera embeddings, jigsaw parts and its rate. Its overlapping \
              patches are a matter of the backbone: `stride: {pixels: 12}`, 11 on Occluded-Duke.",
        variant: "supervised",
        fields: || json(transreid()),
    },
    Preset {
        choice: "ProtocolSpec",
        name: "bot",
        doc: "The strong baseline, or bag of tricks (arXiv 1903.07071): `supervised` with Adam, warm-up and two drops, \
              smoothed labels, a margin of 0.3, the feature after the neck.",
        variant: "supervised",
        fields: || json(bot()),
    },
    Preset {
        choice: "ProtocolSpec",
        name: "hap",
        doc: "HAP's fine-tuning of encoders pre-trained by masking (arXiv 2310.20695): `supervised` with AdamW and a rate \
              that decays from layer to layer.",
        variant: "supervised",
        fields: || json(hap()),
    },
];

/// `TransReID`'s `vit_transreid.yml` as a case of `supervised`.
fn transreid() -> SupervisedSpec {
    let default = SupervisedSpec::default();
    SupervisedSpec {
        train: TrainSpec {
            lr: 8e-3,
            schedule: ScheduleSpec::TransreidCosine(TransreidCosine {
                warmup: Duration::Epochs(5.0),
                step_at: StepAt::Start,
                ..TransreidCosine::default()
            }),
            ..default.train
        },
        side: SideSpec::Cameras(CamerasSpec::default()),
        local: LocalSpec::Jigsaw(JigsawSpec::default()),
        ..default
    }
}

/// The strong baseline as a case of `supervised`. Its erasing fills with `ImageNet`'s mean, which is 0 once normalised.
fn bot() -> SupervisedSpec {
    let default = SupervisedSpec::default();
    SupervisedSpec {
        train: TrainSpec {
            lr: 3.5e-4,
            schedule: ScheduleSpec::WarmupSteps(WarmupSteps::default()),
            optim: OptimSpec::Adam(AdamSpec::default()),
            ..default.train
        },
        label_smoothing: 0.1,
        triplet_margin: TripletMargin::Hard(Hard { margin: 0.3 }),
        augment: SupervisedAugment {
            normalisation: Normalisation::Imagenet,
            filter: Filter::Bilinear,
            erasing: ErasingSpec {
                probability: 0.5,
                area: [0.02, 0.4],
                fill: ErasingFill::Zero,
                ..ErasingSpec::default()
            },
            ..default.augment
        },
        evaluation: EvaluationSpec { feature: EvaluationFeature::AfterNeck, ..default.evaluation },
        ..default
    }
}

/// HAP's `config_reid.py` as a case of `supervised`: eight pictures of each identity.
fn hap() -> SupervisedSpec {
    let default = SupervisedSpec::default();
    SupervisedSpec {
        train: TrainSpec {
            epochs: 100,
            lr: 8e-3,
            schedule: ScheduleSpec::WarmupCosine(WarmupCosine { warmup: Duration::Epochs(5.0), floor: 0.0 }),
            optim: OptimSpec::Adamw(AdamwSpec { betas: [0.9, 0.999], layer_decay: 0.4, ..AdamwSpec::default() }),
            ..default.train
        },
        identities_per_batch: 8,
        id_weight: 0.5,
        triplet_weight: 0.5,
        augment: SupervisedAugment { normalisation: Normalisation::Imagenet, ..default.augment },
        evaluation: EvaluationSpec { filter: Filter::Bicubic, ..default.evaluation },
        ..default
    }
}

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

/// Aspect of torchvision's crops, which DINO and iBOT leave as it is.
const SQUARE_RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// DINO as a case of `mim_dino`: the settings of its ViT-S command.
fn dino() -> MimDinoSpec {
    let default = MimDinoSpec::default();
    MimDinoSpec {
        mim_weight: 0.0,
        views: MultiCropSpec { local_scale: [0.05, 0.4], ratio: SQUARE_RATIO, ..default.views },
        mask: MimMaskSpec { ratios: vec![MaskRatio::default()], ..default.mask },
        head: DinoHeadSpec { prototypes: 65_536, ..default.head },
        ..default
    }
}

/// iBOT as a case of `mim_dino`: the settings of its ViT-S command.
fn ibot() -> MimDinoSpec {
    let default = MimDinoSpec::default();
    let views = MultiCropSpec {
        global_scale: [0.25, 1.0],
        locals: 10,
        local_scale: [0.05, 0.25],
        ratio: SQUARE_RATIO,
        ..default.views
    };
    MimDinoSpec { views, ..default }
}

/// Momentum contrast alone, with its temperature in both versions and without random erasing.
fn moco(photometric: PhotometricSpec, scale: [f64; 2]) -> UpReidSpec {
    let default = UpReidSpec::default();
    let erasing = ErasingSpec { probability: 0.0, ..ErasingSpec::default() };
    let view = ContrastAugment { scale, photometric, erasing, ..ContrastAugment::default() };
    UpReidSpec {
        contrast: ContrastSpec { temperature: 0.2, ..default.contrast },
        consistency: ConsistencySpec { weight: 0.0, ..default.consistency },
        strips: StripsSpec { weight: 0.0, ..default.strips },
        query: view,
        key: view,
        ..default
    }
}

/// MoCo v2 as a case of `up_reid` (its `main_moco.py` with `--mlp --aug-plus --moco-t 0.2`).
fn moco_v2() -> UpReidSpec {
    let photometric = PhotometricSpec {
        jitter: JitterSpec { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
        grayscale: 0.2,
        blur: BlurSpec { probability: 0.5, ..BlurSpec::default() },
        ..PhotometricSpec::default()
    };
    UpReidSpec { variant: ContrastVariant::Queue(QueueSpec::default()), ..moco(photometric, [0.2, 1.0]) }
}

/// MoCo v3 as a case of `up_reid` (its ViT recipe: `--moco-t 0.2 --stop-grad-conv1 --moco-m-cos --crop-min 0.08`).
fn moco_v3() -> UpReidSpec {
    let photometric = |blur, solarise| PhotometricSpec {
        jitter: JitterSpec { probability: 0.8, ..JitterSpec::default() },
        grayscale: 0.2,
        blur: BlurSpec { probability: blur, ..BlurSpec::default() },
        solarise,
        ..PhotometricSpec::default()
    };
    let base = moco(photometric(1.0, 0.0), [0.08, 1.0]);
    UpReidSpec {
        variant: ContrastVariant::InBatch(InBatchSpec::default()),
        dim: 256,
        momentum: Momentum::Cosine(CosineMomentum { start: 0.99, end: 1.0 }),
        freeze_patch_embed: true,
        key: ContrastAugment { photometric: photometric(0.1, 0.2), ..base.key },
        ..base
    }
}

fn json<T: serde::Serialize>(fields: T) -> Json {
    serde_json::to_value(fields).expect("spec types have text keys and serialise without error")
}

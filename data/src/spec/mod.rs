//! What a spec may say about data: plain serde types, no behaviour.

mod augment;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use augment::{BlurSpec, ErasingFill, ErasingLaw, ErasingSpec, Filter, JitterSpec, Normalisation, PhotometricSpec};

/// Image height and width in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Size(
    /// Height in pixels.
    #[schemars(range(min = 8, max = 4096))]
    pub usize,
    /// Width in pixels.
    #[schemars(range(min = 8, max = 4096))]
    pub usize,
);

/// Where images, identities and cameras come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataSpec {
    /// The built-in renderer: people in scenes, nothing to download.
    Synthetic(SyntheticSpec),
    /// A folder in Market-1501 layout.
    Market1501(Market1501Spec),
    /// DukeMTMC-reID, which its authors have withdrawn: a copy that you have.
    DukeMtmc(CopySpec),
    /// Occluded-Duke: every query is occluded.
    OccludedDuke(OccludedDukeSpec),
    /// MSMT17, either version, with its lists.
    Msmt17(Msmt17Spec),
    /// CUHK03, as its archive `cuhk-03.mat` or as the folder that re-ranking's authors have published.
    Cuhk03(Cuhk03Spec),
    /// `PersonX`: rendered people before six backgrounds.
    PersonX(CopySpec),
    /// Occluded-REID: nothing to train on; occluded queries against whole bodies.
    OccludedReid(CopySpec),
    /// Partial-REID: nothing to train on; partial queries against whole bodies.
    PartialReid(CopySpec),
    /// `RandPerson`: rendered people, to train on only.
    RandPerson(CopySpec),
    /// `UnrealPerson`: rendered people, to train on only.
    UnrealPerson(CopySpec),
    /// LUPerson or LUPerson-NL: people whom nobody has named; for pre-training only (`pretrain.data`).
    Luperson(LupersonSpec),
    /// Any pictures, listed in a CSV or Parquet file.
    Manifest(ManifestSpec),
    /// Any folder or LMDB database of pictures without names; for pre-training only (`pretrain.data`).
    Images(ImagesSpec),
}

/// What a data set is good for, as far as its kind tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Training and testing.
    Both,
    /// Training with names, but nothing to test on.
    Training,
    /// Testing, but nothing to train on.
    Testing,
    /// Pre-training: nobody is named.
    Pretraining,
}

impl DataSpec {
    /// What the set is good for; of a list, what it must be for a protocol to run.
    pub fn good_for(&self) -> Use {
        match self {
            Self::Synthetic(_)
            | Self::Market1501(_)
            | Self::DukeMtmc(_)
            | Self::OccludedDuke(_)
            | Self::Msmt17(_)
            | Self::Cuhk03(_)
            | Self::PersonX(_)
            | Self::Manifest(_) => Use::Both,
            Self::RandPerson(_) | Self::UnrealPerson(_) => Use::Training,
            Self::OccludedReid(_) | Self::PartialReid(_) => Use::Testing,
            Self::Luperson(_) | Self::Images(_) => Use::Pretraining,
        }
    }

    /// Its key in a spec, such as `market1501`.
    pub fn key(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.as_object().and_then(|fields| fields.keys().next().cloned()).unwrap_or_default()
    }
}

/// The built-in renderer's settings. Equal settings give equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticSpec {
    /// Seed of the rendered world. Seeds of runs never change it.
    pub seed: u64,
    /// Which world: the first domain, or the second, which shares no identity, camera or scene with it.
    pub domain: SyntheticDomain,
    /// Height and width of the rendered pictures in pixels.
    pub size: Size,
    /// Training identities.
    #[schemars(range(min = 2, max = 100_000))]
    pub train_identities: usize,
    /// Validation identities, disjoint from all others; 0 for none.
    #[schemars(range(max = 100_000))]
    pub validation_identities: usize,
    /// Test identities, disjoint from all others.
    #[schemars(range(min = 2, max = 100_000))]
    pub test_identities: usize,
    /// Pictures of each identity.
    #[schemars(range(min = 4, max = 1000))]
    pub images_per_identity: usize,
    /// Cameras of the labelled parts.
    #[schemars(range(min = 2, max = 99))]
    pub cameras: usize,
    /// Unlabelled pictures for each labelled training picture; at least ten, so that pre-training
    /// sees more than the protocol's training does.
    #[schemars(range(min = 10, max = 1000))]
    pub pool_factor: usize,
    /// Probability that a picture has an occluder.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub occlusion: f64,
}

impl Default for SyntheticSpec {
    fn default() -> Self {
        Self {
            seed: 0,
            domain: SyntheticDomain::First,
            size: Size(128, 64),
            train_identities: 64,
            validation_identities: 16,
            test_identities: 64,
            images_per_identity: 8,
            cameras: 6,
            pool_factor: 10,
            occlusion: 0.15,
        }
    }
}

/// A rendered world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyntheticDomain {
    /// The world that most specs use.
    First,
    /// Another world, for domain adaptation.
    Second,
}

/// A folder in Market-1501 layout: `bounding_box_train`, `bounding_box_test`, `query`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Market1501Spec {
    /// Folder that holds the three sub-folders, or the `Market-1501-v15.09.15` folder's parent.
    #[schemars(extend("format" = "path"))]
    pub root: String,
    /// Whether the published counts of Market-1501 must hold; `auto` checks them when the folder
    /// says it is the published set.
    #[serde(default)]
    pub counts: Counts,
    /// Whether the 500,000 distractors, which are published apart and lie in the sub-folder `images`, belong to the
    /// gallery (identity 0). Results with and without them are not comparable.
    #[serde(default)]
    pub distractors: bool,
}

/// A copy of a published data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopySpec {
    /// Folder that holds the set's sub-folders, or the folder above it.
    #[schemars(extend("format" = "path"))]
    pub root: String,
    /// Whether the published counts must hold; `auto` checks them.
    #[serde(default)]
    pub counts: Counts,
}

/// Occluded-Duke (Miao et al., ICCV 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OccludedDukeSpec {
    /// Folder that holds the set's sub-folders, or the folder above it. With lists, DukeMTMC-reID's.
    #[schemars(extend("format" = "path"))]
    pub root: String,
    /// How the set is told.
    #[serde(default)]
    pub lists: OccludedDukeLists,
    /// Whether the published counts must hold; `auto` checks them.
    #[serde(default)]
    pub counts: Counts,
}

/// How Occluded-Duke is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OccludedDukeLists {
    /// By folders of its own.
    #[default]
    Folders,
    /// By the authors' `train.list`, `query.list` and `gallery.list` in this folder, over the pictures of
    /// DukeMTMC-reID: a name stands for the picture in the sub-folder of the same part, or else in
    /// `bounding_box_test`.
    Lists(#[schemars(extend("format" = "path"))] String),
}

/// MSMT17 (Wei et al., CVPR 2018).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Msmt17Spec {
    /// Folder that holds the lists, or the folder above it.
    #[schemars(extend("format" = "path"))]
    pub root: String,
    /// What the pictures of `list_val.txt` are for. Results of the two kinds of training are not comparable.
    #[serde(default)]
    pub val: Msmt17Val,
    /// Whether the published counts must hold; `auto` checks them.
    #[serde(default)]
    pub counts: Counts,
}

/// What MSMT17's validation list is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Msmt17Val {
    /// To train on (`TransReID` and its descendants).
    #[default]
    Train,
    /// Nothing (torchreid and fast-reid). Its people are those of the training list, so that it validates nothing.
    Unused,
}

/// CUHK03 (Li et al., CVPR 2014), by the new protocol (Zhong et al., CVPR 2017) or a classic split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cuhk03Spec {
    /// Folder that holds `labeled` and `detected`, each in Market-1501 layout; or `cuhk-03.mat`, for the new protocol
    /// beside its authors' `cuhk03_new_protocol_config_labeled.mat` and `.._detected.mat`.
    #[schemars(extend("format" = "path"))]
    pub root: String,
    /// Who has drawn the boxes.
    #[serde(default)]
    pub boxes: Cuhk03Boxes,
    /// Who is trained on and who is tested.
    #[serde(default)]
    pub protocol: Cuhk03Protocol,
    /// Whether the published counts must hold; `auto` checks them.
    #[serde(default)]
    pub counts: Counts,
}

/// Who of CUHK03 is trained on and who is tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cuhk03Protocol {
    /// 767 people to train on, 700 to test.
    #[default]
    New,
    /// One of the archive's twenty splits, counted from 0: 1,367 people to train on, 100 to test, whose pictures are
    /// queries and gallery. Published results are single-gallery-shot and a mean over splits.
    Classic(#[schemars(range(max = 19))] usize),
}

/// Who has drawn CUHK03's boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cuhk03Boxes {
    /// People.
    #[default]
    Labeled,
    /// A detector.
    Detected,
}

/// A list of pictures with the columns `path`, `split`, `pid` and, if known, `camid`; others are not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestSpec {
    /// The list: `.csv` or `.parquet`. Its paths start from the folder that it lies in, and may not leave it.
    #[schemars(extend("format" = "path"))]
    pub file: String,
}

/// Pictures of people whom nobody has named: every JPEG, PNG or TIFF file of a folder and its sub-folders, or every
/// value of an LMDB database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesSpec {
    /// The folder, or one picture. A folder that holds `data.mdb`, or `lmdb/data.mdb`, is a database.
    #[schemars(extend("format" = "path"))]
    pub root: String,
}

/// LUPerson (Fu et al., CVPR 2021) or LUPerson-NL (Fu et al., CVPR 2022), whose noisy labels are not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LupersonSpec {
    /// Folder that holds `images`, or pictures, or the LMDB database.
    #[schemars(extend("format" = "path"))]
    pub root: String,
    /// Which pictures, and in what order `share` counts them.
    #[serde(default)]
    pub list: LupersonList,
    /// Share of the list that is taken, from its beginning (HAP: 0.5 of `CFS_list.pkl`, which begins with the pictures
    /// whose catastrophic forgetting score is best).
    #[serde(default = "whole")]
    #[schemars(range(min = 1e-6, max = 1.0))]
    pub share: f64,
    /// Whether LUPerson's published count, 4,180,243 pictures, must hold before the share is taken. `auto` only says
    /// what was found.
    #[serde(default)]
    pub counts: Counts,
}

fn whole() -> f64 {
    1.0
}

/// Which pictures of LUPerson.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LupersonList {
    /// All: of a database those that `keys.pkl` beside it names, if there is one.
    #[default]
    All,
    /// Those of a pickled list of paths or keys, such as `CFS_list.pkl` (nothing in it is ever executed), or of a text
    /// file with one in each line.
    File(#[schemars(extend("format" = "path"))] String),
}

/// Whether a data set's published counts are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Check, but of `market1501` only if the folder is named `Market-1501-v15.09.15` or `market1501`, as many sets
    /// have its layout.
    #[default]
    Auto,
    /// The published counts must hold.
    Published,
    /// Any counts.
    Any,
}

/// What to do with a picture that cannot be decoded. Either way it is found before training starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCorrupt {
    /// Stop and name it.
    #[default]
    Error,
    /// Leave it out; the count is part of the results, and no other picture's index moves.
    Skip,
}

/// How large JPEG pictures are decoded. Other formats have no choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecodeSpec {
    /// As large as they are.
    #[default]
    Full,
    /// At a half, a quarter or an eighth of it, whichever is the smallest that is still at least so high and so wide: the
    /// DCT's higher frequencies are left out, as libjpeg's scaled decoding leaves them. For pictures much larger than
    /// the encoder's, which cost less time to decode and to resize and less memory to keep. Views are cut from what is
    /// decoded, so the numbers change a little: the choice is part of the stages' keys. Colors stored at half the
    /// resolution, as most cameras store them, are blurred to half of what brightness keeps.
    AtLeast(Size),
}

impl DecodeSpec {
    /// The part of its height and width at which a JPEG picture of this size is decoded: 1, 2, 4 or 8.
    pub fn part(self, size: Size) -> usize {
        let Self::AtLeast(least) = self else { return 1 };
        let fits = |part: &usize| size.0.div_ceil(*part) >= least.0 && size.1.div_ceil(*part) >= least.1;
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }
}

/// What is made of a data set's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// What to do with those that cannot be decoded.
    pub on_corrupt: OnCorrupt,
    /// How large the others are decoded.
    pub decode: DecodeSpec,
}

/// How validation identities are held out of the training split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidationSpec {
    /// Share of the training identities that is held out, by a hash of the identity: the same
    /// ones for every seed. 0 keeps a data set's own validation split, if it has one.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub identities: f64,
}

impl Default for ValidationSpec {
    fn default() -> Self {
        Self { identities: 0.0 }
    }
}

/// Which labels of the training pictures a training may know. The choice depends on the data alone, never on a
/// seed, and more contains less: the identities of 0.1 are among those of 0.2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelsSpec {
    /// Share of the training identities, by a hash of the identity.
    #[schemars(range(min = 1e-4, max = 1.0))]
    pub identities: f64,
    /// Most pictures of an identity, by a hash of the picture's path; 0 for all.
    #[schemars(range(max = 100_000))]
    pub images_per_identity: usize,
}

impl Default for LabelsSpec {
    /// All labels.
    fn default() -> Self {
        Self { identities: 1.0, images_per_identity: 0 }
    }
}

/// How the batches of a labelled training are composed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplerSpec {
    /// P identities with K pictures each, any of theirs: every group of K pictures of an identity once an epoch
    /// (`TransReID` and its descendants).
    #[default]
    Pk,
    /// P identities with K pictures each, of different cameras where there are: every identity once an epoch
    /// (cluster contrast, fast-reid).
    MultiGallery(MultiGallerySpec),
    /// Any pictures: every one once an epoch. A batch then may hold no two pictures of an identity, and the triplet
    /// loss finds no positive but the picture itself.
    Shuffle,
}

/// Batches of different cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultiGallerySpec {
    /// What becomes of an identity of one picture.
    pub singleton: Singleton,
}

/// What becomes of an identity of one picture where several are to be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Singleton {
    /// It is drawn once, which moves all that follows within the batches (cluster contrast).
    #[default]
    Once,
    /// It is drawn K times (fast-reid).
    Repeated,
}

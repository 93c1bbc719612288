//! Which data set a file or folder is.

use std::path::Path;

use crate::datasets::market_like::FOLDERS;
use crate::datasets::{cuhk03, images, unreal_person};
use crate::spec::{
    CopySpec, Counts, Cuhk03Boxes, Cuhk03Protocol, Cuhk03Spec, DataSpec, ImagesSpec, ManifestSpec, Market1501Spec,
    Msmt17Spec, Msmt17Val,
};

/// What lies at a path: a picture, a list of pictures, or a folder in a layout that its content tells; any other folder is one
/// of pictures without names. Counts are not held to a published set's, as nobody has named one.
pub fn detect(path: &Path) -> DataSpec {
    let root = path.to_string_lossy().into_owned();
    let counts = Counts::Any;
    let has = |names: &[&str]| names.iter().any(|name| path.join(name).exists());
    if images::is_one(path) {
        DataSpec::Images(ImagesSpec { root })
    } else if path.is_file() {
        DataSpec::Manifest(ManifestSpec { file: root })
    } else if has(&["list_train.txt", "MSMT17_V1/list_train.txt", "MSMT17_V2/list_train.txt"]) {
        DataSpec::Msmt17(Msmt17Spec { root, val: Msmt17Val::Train, counts })
    } else if has(&cuhk03::ARCHIVES) {
        let (boxes, protocol) = (Cuhk03Boxes::default(), Cuhk03Protocol::default());
        DataSpec::Cuhk03(Cuhk03Spec { root, boxes, protocol, counts })
    } else if has(&unreal_person::LISTS) {
        DataSpec::UnrealPerson(CopySpec { root, counts })
    } else if has(&["occluded_body_images"]) {
        DataSpec::OccludedReid(CopySpec { root, counts })
    } else if has(&["partial_body_images"]) {
        DataSpec::PartialReid(CopySpec { root, counts })
    } else if has(&FOLDERS.map(|(folder, _)| folder)) || has(&["Market-1501-v15.09.15"]) {
        DataSpec::Market1501(Market1501Spec { root, counts, distractors: false })
    } else {
        DataSpec::Images(ImagesSpec { root })
    }
}

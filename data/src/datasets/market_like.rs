//! Sets in the layout of Market-1501 (Zheng et al., ICCV 2015): three folders of pictures whose names begin with the
//! identity and the camera.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::dataset::{Record, Split};
use crate::datasets::folder::{Naming, Scan};
use crate::datasets::{Found, Splits};
use crate::spec::{Counts, Market1501Spec};
use crate::{DataError, Result};

/// Sub-folders of the layout.
pub(crate) const FOLDERS: [(&str, Split); 3] =
    [("bounding_box_train", Split::Train), ("bounding_box_test", Split::Gallery), ("query", Split::Query)];

/// Sub-folder of Market-1501's distractors, as torchreid has it.
const DISTRACTORS: &str = "images";

/// A published set in this layout.
pub(crate) struct Layout {
    /// Name in tables.
    pub(crate) name: &'static str,
    /// Name in messages.
    title: &'static str,
    /// Folders that archives and other programs put the three into; the first that is there is taken.
    inner: &'static [&'static str],
    /// Pictures of each split, and identities where the source says them; junk left out, distractors (identity 0)
    /// counted as one identity.
    published: [(Split, usize, Option<usize>); 3],
    cameras: usize,
    /// Whether other sets have so often been put into this one's folders that only a folder of its name promises its
    /// counts.
    is_common: bool,
    /// Where it is to be had.
    source: &'static str,
}

/// The counts that `TransReID` and torchreid print.
pub(crate) const MARKET1501: Layout = Layout {
    name: "market1501",
    title: "Market-1501",
    inner: &["Market-1501-v15.09.15"],
    published: [
        (Split::Train, 12_936, Some(751)),
        (Split::Query, 3_368, Some(750)),
        (Split::Gallery, 15_913, Some(751)),
    ],
    cameras: 6,
    is_common: true,
    source: "the data come from their authors (Zheng et al., ICCV 2015)",
};

/// The counts of torchreid and fast-reid's log.
pub(crate) const DUKE_MTMC: Layout = Layout {
    name: "duke_mtmc",
    title: "DukeMTMC-reID",
    inner: &["DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmcreid"],
    published: [
        (Split::Train, 16_522, Some(702)),
        (Split::Query, 2_228, Some(702)),
        (Split::Gallery, 17_661, Some(1_110)),
    ],
    cameras: 8,
    is_common: false,
    source: "its authors have withdrawn it, so that only a copy which you have can be read",
};

/// Counted from the lists of Miao et al. (ICCV 2019); some loaders' comments have `DukeMTMC`'s instead.
pub(crate) const OCCLUDED_DUKE: Layout = Layout {
    name: "occluded_duke",
    title: "Occluded-Duke",
    inner: &["Occluded_Duke", "Occluded-Duke", "Occluded-DukeMTMC-Dataset/Occluded_Duke"],
    published: [
        (Split::Train, 15_618, Some(702)),
        (Split::Query, 2_210, Some(519)),
        (Split::Gallery, 17_661, Some(1_110)),
    ],
    cameras: 8,
    is_common: false,
    source: "the lists come from their authors (Miao et al., ICCV 2019), the pictures from your copy of DukeMTMC-reID",
};

/// The counts of cluster-contrast and `OpenUnReID`.
pub(crate) const PERSON_X: Layout = Layout {
    name: "person_x",
    title: "PersonX",
    inner: &["PersonX", "subset1"],
    published: [(Split::Train, 9_840, None), (Split::Query, 5_136, None), (Split::Gallery, 30_816, None)],
    cameras: 6,
    is_common: false,
    source: "the data come from their authors (Sun and Zheng, CVPR 2019)",
};

/// CUHK03's counts with boxes drawn by people (Zhong et al., CVPR 2017).
pub(crate) const CUHK03_LABELED: Layout = Layout {
    name: "cuhk03_labeled",
    title: "CUHK03 with labeled boxes, new protocol",
    inner: &["labeled", "cuhk03-np/labeled", "labelled"],
    published: [(Split::Train, 7_368, Some(767)), (Split::Query, 1_400, Some(700)), (Split::Gallery, 5_328, Some(700))],
    cameras: 2,
    is_common: false,
    source: "the folder `cuhk03-np` comes from the authors of re-ranking (Zhong et al., CVPR 2017)",
};

/// The same with a detector's boxes.
pub(crate) const CUHK03_DETECTED: Layout = Layout {
    name: "cuhk03_detected",
    title: "CUHK03 with detected boxes, new protocol",
    inner: &["detected", "cuhk03-np/detected"],
    published: [(Split::Train, 7_365, Some(767)), (Split::Query, 1_400, Some(700)), (Split::Gallery, 5_332, Some(700))],
    ..CUHK03_LABELED
};

/// Market-1501, with its distractors if they are asked for.
pub(crate) fn find_market(spec: &Market1501Spec, base: &Path) -> Result<Found> {
    let mut found = find(&MARKET1501, &spec.root, spec.counts, base)?;
    if !spec.distractors {
        return Ok(found);
    }
    let folder = found.root.join(DISTRACTORS);
    if !folder.is_dir() {
        return Err(DataError::Missing {
            what: format!("sub-folder {DISTRACTORS} with the distractors"),
            remedy: "unpack distractors_500k.zip, which Market-1501's authors publish apart, or set `distractors: \
                     false`"
                .to_owned(),
            path: folder,
        });
    }
    let mut scan = Scan::new(&found.root);
    scan.add(DISTRACTORS, Split::Gallery, Naming::Labelled)?;
    let (mut more, notes) = scan.finish(&[Split::Gallery])?;
    let more = more.remove(&Split::Gallery).unwrap_or_default();
    found.notes.push(format!("{} distractors from {DISTRACTORS}", more.len()));
    found.notes.extend(notes);
    let gallery = found.splits.entry(Split::Gallery).or_default();
    gallery.extend(more.into_iter().map(|record| Record { pid: 0, ..record }));
    gallery.sort_by(|a, b| a.path.cmp(&b.path));
    found.name.push_str("_500k");
    Ok(found)
}

/// Finds the three splits below `root`.
pub(crate) fn find(layout: &Layout, root: &str, counts: Counts, base: &Path) -> Result<Found> {
    let given = base.join(root);
    let root = layout.locate(&given)?;
    let mut scan = Scan::new(&root);
    for (folder, split) in FOLDERS {
        scan.add(folder, split, Naming::Labelled)?;
    }
    let (splits, notes) = scan.finish(&FOLDERS.map(|(_, split)| split))?;
    layout.found(splits, notes, counts, (given, root))
}

impl Layout {
    /// Holds the splits below `root` to the published counts.
    pub(crate) fn found(
        &self,
        splits: Splits,
        mut notes: Vec<String>,
        counts: Counts,
        (given, root): (PathBuf, PathBuf),
    ) -> Result<Found> {
        let differences = differences(&splits, &self.published, self.cameras);
        let is_named = [&given, &root].iter().any(|path| {
            path.file_name().is_some_and(|name| name == self.name || self.inner.iter().any(|inner| name == *inner))
        });
        let must_hold = counts == Counts::Published || counts == Counts::Auto && (!self.is_common || is_named);
        notes.extend(judge(self.title, &differences, must_hold, &root)?);
        let name = if differences.is_empty() || !self.is_common {
            self.name.to_owned()
        } else {
            let own = given.file_name().unwrap_or(given.as_os_str());
            own.to_string_lossy().into_owned()
        };
        Ok(Found::in_folder(&name, root, splits, notes))
    }

    /// The folder that holds the three sub-folders: the given one or one of the inner ones.
    pub(crate) fn locate(&self, given: &Path) -> Result<PathBuf> {
        let missing = |what: &str, path: &Path| DataError::Missing {
            what: what.to_owned(),
            remedy: format!(
                "the folder, or its sub-folder {}, must hold bounding_box_train, bounding_box_test and query with the \
                 pictures in them; {}, and are never downloaded by this program",
                self.inner[0], self.source
            ),
            path: path.to_path_buf(),
        };
        if !given.is_dir() {
            let of = if self.is_common { String::new() } else { format!(" of {}", self.title) };
            return Err(missing(&format!("folder{of} in Market-1501 layout"), given));
        }
        let is_root = |folder: &PathBuf| folder.join(FOLDERS[0].0).is_dir();
        let inner = self.inner.iter().map(|inner| given.join(inner));
        let whole = std::iter::once(given.to_path_buf()).chain(inner.clone()).find(is_root);
        let partial = || inner.clone().find(|folder| folder.is_dir());
        let root = whole.or_else(partial).unwrap_or_else(|| given.to_path_buf());
        let absent: Vec<&str> =
            FOLDERS.iter().map(|(folder, _)| *folder).filter(|folder| !root.join(folder).is_dir()).collect();
        if absent.is_empty() { Ok(root) } else { Err(missing(&format!("sub-folder {}", absent.join(", ")), &root)) }
    }
}

/// How the splits differ from published counts: pictures and, where they are known, identities of each, and cameras of
/// all.
pub(crate) fn differences(
    splits: &Splits,
    published: &[(Split, usize, Option<usize>)],
    published_cameras: usize,
) -> Vec<String> {
    let mut differences = Vec::new();
    let mut cameras = BTreeSet::new();
    for &(split, pictures, identities) in published {
        let records = splits.get(&split).map_or(&[][..], Vec::as_slice);
        let pids: BTreeSet<i64> = records.iter().map(|record| record.pid).collect();
        cameras.extend(records.iter().map(|record| record.camera));
        if records.len() != pictures || identities.is_some_and(|identities| pids.len() != identities) {
            let of = identities.map_or(String::new(), |identities| format!(" of {identities}"));
            differences.push(format!(
                "{} has {} pictures of {} identities instead of {pictures}{of}",
                split.name(),
                records.len(),
                pids.len()
            ));
        }
    }
    if cameras.len() != published_cameras {
        differences.push(format!("{} cameras instead of {published_cameras}", cameras.len()));
    }
    differences
}

/// What is said of differences from published counts: an error if they must hold.
pub(crate) fn judge(title: &str, differences: &[String], must_hold: bool, root: &Path) -> Result<Option<String>> {
    if differences.is_empty() {
        return Ok(Some(format!("the counts are those of the published {title}")));
    }
    if !must_hold {
        return Ok(None);
    }
    Err(DataError::Invalid {
        problem: format!("not the published {title}: {}", differences.join(", ")),
        remedy: "unpack the archive again, or set `counts: any` if the folder holds other data".to_owned(),
        path: root.to_path_buf(),
    })
}

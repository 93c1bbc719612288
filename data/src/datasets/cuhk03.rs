//! CUHK03 (Li et al., CVPR 2014): as its archive `cuhk-03.mat`, or as the folder that the authors of the new protocol
//! have exported.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hdf5_pure::{Dataset as Array, File, Object};

use crate::dataset::{Record, Split};
use crate::datasets::market_like::{self, CUHK03_DETECTED, CUHK03_LABELED};
use crate::datasets::mat5::{self, Value};
use crate::datasets::{Found, OpenSettings, Splits};
use crate::image::Image;
use crate::source::file_stamp;
use crate::spec::{Cuhk03Boxes, Cuhk03Protocol, Cuhk03Spec};
use crate::{DataError, Result};

/// Where archives put the pictures' file.
pub(crate) const ARCHIVES: [&str; 3] =
    ["cuhk-03.mat", "cuhk03_release/cuhk-03.mat", "cuhk03/cuhk03_release/cuhk-03.mat"];

/// Pictures of a person by the first of the two cameras of a pair come first.
const OF_FIRST_VIEW: usize = 5;

/// Present in a folder whose pictures are all there.
const DONE: &str = "unpacked";

/// Raised when pictures are unpacked otherwise.
const UNPACKING: u32 = 1;

/// People of a classic split whom it tests.
const CLASSIC_TESTED: usize = 100;

/// Finds the set below the spec's root: an archive if there is one, or else the exported folder.
pub(crate) fn find(spec: &Cuhk03Spec, settings: &OpenSettings) -> Result<Found> {
    let given = settings.base.join(&spec.root);
    let archive = ARCHIVES.map(|name| given.join(name)).into_iter().find(|file| file.is_file());
    let layout = match spec.boxes {
        Cuhk03Boxes::Labeled => &CUHK03_LABELED,
        Cuhk03Boxes::Detected => &CUHK03_DETECTED,
    };
    match (archive, &spec.protocol) {
        (Some(archive), protocol) => {
            let (root, people) = unpack(&archive, spec.boxes, settings)?;
            let (splits, list) = match protocol {
                Cuhk03Protocol::New => new_protocol(&archive, spec.boxes, &root)?,
                Cuhk03Protocol::Classic(split) => (classic(&archive, *split, &people)?, None),
            };
            let notes = vec![match protocol {
                Cuhk03Protocol::New => "new protocol".to_owned(),
                Cuhk03Protocol::Classic(split) => format!("classic protocol, split {split}; queries are the gallery"),
            }];
            let found = match protocol {
                Cuhk03Protocol::New => layout.found(splits, notes, spec.counts, (given, root))?,
                Cuhk03Protocol::Classic(_) => {
                    Found::in_folder(&format!("{}_classic", layout.name), root, splits, notes)
                }
            };
            Ok(Found { lists: std::iter::once(archive).chain(list).collect(), ..found })
        }
        (None, Cuhk03Protocol::New) => market_like::find(layout, &spec.root, spec.counts, &settings.base),
        (None, Cuhk03Protocol::Classic(_)) => Err(DataError::Missing {
            what: "cuhk-03.mat, which alone has the classic splits".to_owned(),
            remedy: "the folder, or cuhk03_release in it, must hold it; it comes from its authors (Li et al., CVPR \
                     2014) and is never downloaded by this program"
                .to_owned(),
            path: given,
        }),
    }
}

/// A picture of the archive by its name, `PAIR_PERSON_VIEW_IMAGE.png`, as other programs unpack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shot {
    /// Pair of cameras and person within it, from 1.
    person: (usize, usize),
    /// Camera of the pair and place among the ten, from 1.
    view: usize,
    image: usize,
}

impl Shot {
    fn name(&self) -> String {
        let (pair, person) = self.person;
        format!("{pair}_{person:03}_{}_{:02}.png", self.view, self.image)
    }

    fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".png")?.split('_').map(|part| part.parse::<usize>().ok());
        let mut part = || parts.next().flatten();
        Some(Self { person: (part()?, part()?), view: part()?, image: part()? })
    }
}

/// The folder below the cache that holds the archive's pictures, unpacked unless it is there, and their names.
fn unpack(archive: &Path, boxes: Cuhk03Boxes, settings: &OpenSettings) -> Result<(PathBuf, Vec<Shot>)> {
    let io = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| DataError::Io { action, source, path }
    };
    let boxes = match boxes {
        Cuhk03Boxes::Labeled => "labeled",
        Cuhk03Boxes::Detected => "detected",
    };
    let facts = std::fs::metadata(archive).map_err(io("asking after an archive", archive))?;
    let key = format!("{UNPACKING}-{:016x}-{boxes}", file_stamp(&facts));
    let place = settings.cache.join("cuhk03").join(key);
    if !place.join(DONE).is_file() {
        let draft = place.with_extension(format!("part-{}", std::process::id()));
        std::fs::create_dir_all(&draft).map_err(io("unpacking an archive", &draft))?;
        write_pictures(archive, boxes, &draft, settings)?;
        std::fs::write(draft.join(DONE), archive.as_os_str().as_encoded_bytes())
            .map_err(io("unpacking an archive", &draft))?;
        // Another process may have been faster; its pictures are the same.
        if std::fs::rename(&draft, &place).is_err() && !place.join(DONE).is_file() {
            let source = std::io::Error::other("the folder cannot be moved to its place");
            return Err(DataError::Io { action: "unpacking an archive", source, path: place });
        }
        drop(std::fs::remove_dir_all(&draft));
    }
    let entries = std::fs::read_dir(&place).map_err(io("listing unpacked pictures", &place))?;
    let names = entries.flatten().filter_map(|entry| Shot::of(entry.file_name().to_str()?));
    let mut shots: Vec<Shot> = names.collect();
    shots.sort_unstable();
    Ok((place, shots))
}

/// Writes every picture of a kind of boxes as a PNG file.
fn write_pictures(archive: &Path, boxes: &str, place: &Path, settings: &OpenSettings) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| unreadable(archive, error);
    let file = File::open_streaming(archive).map_err(|error| broken(&error))?;
    let pairs = cells(&file.dataset(boxes).map_err(|error| broken(&error))?, archive)?;
    for (pair, cell) in pairs.iter().enumerate() {
        // MATLAB's people x 10 comes with its dimensions in reverse.
        let people = cell.shape().map_err(|error| broken(&error))?.get(1).copied().unwrap_or(0) as usize;
        let pictures = cells(cell, archive)?;
        for (at, picture) in pictures.iter().enumerate() {
            if at % 64 == 0 {
                (settings.progress)(&format!("unpacking pair {}", pair + 1), at, pictures.len());
            }
            let shape = picture.shape().map_err(|error| broken(&error))?;
            // People have fewer than ten pictures; the other cells are empty.
            let &[3, width, height] = shape.as_slice() else { continue };
            let (image, person) = (at / people, at % people);
            let view = if image < OF_FIRST_VIEW { 1 } else { 2 };
            let shot = Shot { person: (pair + 1, person + 1), view, image: image + 1 };
            let planes = picture.read_u8().map_err(|error| broken(&error))?;
            let (height, width) = (height as usize, width as usize);
            let value = |(y, x, channel): (usize, usize, usize)| planes[(channel * width + x) * height + y];
            let places = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c))));
            let png = Image::new(height, width, places.map(value).collect()).to_png();
            let path = place.join(shot.name());
            std::fs::write(&path, png).map_err(|source| DataError::Io {
                action: "unpacking an archive",
                source,
                path,
            })?;
        }
    }
    Ok(())
}

/// The arrays that a cell array refers to.
fn cells(array: &Array, archive: &Path) -> Result<Vec<Array>> {
    let objects = array.dereference().map_err(|error| unreadable(archive, &error))?;
    let arrays = objects.into_iter().map(|object| match object {
        Object::Dataset(array) => Ok(*array),
        _ => Err(unreadable(archive, &"a cell holds no array")),
    });
    arrays.collect()
}

fn unreadable(archive: &Path, error: &dyn std::fmt::Display) -> DataError {
    DataError::Invalid {
        problem: format!("not the published cuhk-03.mat: {error}"),
        remedy: "copy the archive again".to_owned(),
        path: archive.to_path_buf(),
    }
}

/// The new protocol's splits (Zhong et al., CVPR 2017), by the file that its authors publish beside their code.
fn new_protocol(archive: &Path, boxes: Cuhk03Boxes, root: &Path) -> Result<(Splits, Option<PathBuf>)> {
    let name = match boxes {
        Cuhk03Boxes::Labeled => "cuhk03_new_protocol_config_labeled.mat",
        Cuhk03Boxes::Detected => "cuhk03_new_protocol_config_detected.mat",
    };
    let above = archive.ancestors().skip(1).take(3).map(|folder| folder.join(name));
    let file = above.into_iter().find(|file| file.is_file()).ok_or_else(|| DataError::Missing {
        what: name.to_owned(),
        remedy: "put the file of zhunzhong07/person-re-ranking beside cuhk-03.mat or above it; it is never downloaded \
                 by this program"
            .to_owned(),
        path: archive.to_path_buf(),
    })?;
    let invalid =
        |problem: String| DataError::Invalid { problem, remedy: "copy the file again".to_owned(), path: file.clone() };
    let bytes = std::fs::read(&file).map_err(|source| DataError::Io {
        action: "reading the new protocol",
        source,
        path: file.clone(),
    })?;
    let variables = mat5::read(&bytes).map_err(&invalid)?;
    let numbers = |name: &str| match variables.get(name) {
        Some(Value::Numbers(values)) => Ok(values),
        _ => Err(invalid(format!("no numbers by the name {name}"))),
    };
    let Some(Value::Cells(names)) = variables.get("filelist") else {
        return Err(invalid("no list of texts by the name filelist".to_owned()));
    };
    let labels = numbers("labels")?;
    let mut splits = Splits::new();
    for (list, split) in [("train_idx", Split::Train), ("query_idx", Split::Query), ("gallery_idx", Split::Gallery)] {
        let record = |place: &f64| {
            let at = (*place as usize).wrapping_sub(1);
            let (Some(Value::Text(name)), Some(pid)) = (names.get(at), labels.get(at)) else {
                return Err(invalid(format!("{list} has {place}, but {} pictures are listed", names.len())));
            };
            let shot = Shot::of(name).filter(|shot| root.join(shot.name()).is_file());
            let shot = shot.ok_or_else(|| invalid(format!("{name} is not among the archive's pictures")))?;
            // 0 means something else elsewhere.
            Ok(Record::new(shot.name(), *pid as i64 + 1, shot.view as u32 - 1))
        };
        let mut records: Vec<Record> = numbers(list)?.iter().map(record).collect::<Result<_>>()?;
        records.sort_by(|a, b| a.path.cmp(&b.path));
        splits.insert(split, records);
    }
    Ok((splits, Some(file)))
}

/// One of the archive's twenty splits: a hundred people to test, all others to train on.
fn classic(archive: &Path, split: usize, shots: &[Shot]) -> Result<Splits> {
    let broken = |error: &dyn std::fmt::Display| unreadable(archive, error);
    let file = File::open_streaming(archive).map_err(|error| broken(&error))?;
    let all = cells(&file.dataset("testsets").map_err(|error| broken(&error))?, archive)?;
    let chosen = all.get(split).ok_or_else(|| broken(&format!("{} splits", all.len())))?;
    // Pair and person of each, columns of MATLAB's 100 x 2.
    let numbers = chosen.read_f64().map_err(|error| broken(&error))?;
    let (pairs, people) = numbers.split_at(numbers.len() / 2);
    let tested: BTreeSet<(usize, usize)> =
        pairs.iter().zip(people).map(|(pair, person)| (*pair as usize, *person as usize)).collect();
    if tested.len() * 2 != numbers.len() || tested.is_empty() {
        return Err(broken(&format!("split {split} has {} people instead of {CLASSIC_TESTED}", tested.len())));
    }
    let people: Vec<(usize, usize)> =
        shots.iter().map(|shot| shot.person).collect::<BTreeSet<_>>().into_iter().collect();
    let record = |shot: &Shot| {
        let pid = people.binary_search(&shot.person).unwrap_or(0) as i64 + 1;
        Record::new(shot.name(), pid, shot.view as u32 - 1)
    };
    let (test, train): (Vec<&Shot>, Vec<&Shot>) = shots.iter().partition(|shot| tested.contains(&shot.person));
    let test: Vec<Record> = test.into_iter().map(record).collect();
    let train: Vec<Record> = train.into_iter().map(record).collect();
    Ok(Splits::from([(Split::Train, train), (Split::Query, test.clone()), (Split::Gallery, test)]))
}

//! A thorough look at a data set: what would silently give wrong numbers, and what a reader of them should know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::Result;
use crate::dataset::{Dataset, Record, Split};
use crate::decode::{Facts, decode, facts};
use crate::image::Image;
use crate::pictures::pool;
use crate::source::Source;
use crate::spec::Size;

/// Bits in which the hashes of two pictures that look alike may differ, of 64.
const ALIKE: u32 = 3;

/// Pictures between two calls of the progress function.
const PROGRESS_STRIDE: usize = 64;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Makes results wrong or a run impossible.
    Error,
    /// May make results wrong.
    Warning,
    /// Worth knowing.
    Note,
}

/// One kind of thing that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in words.
    pub what: &'static str,
    /// Every place where it was found, in the order of splits and paths.
    pub places: Vec<String>,
}

/// What one picture's file says.
struct Seen {
    content: [u8; 32],
    outcome: std::result::Result<(Facts, u64), String>,
}

/// Reads every picture of a set, on `threads` threads, 0 for one per processor. Findings come worst first; each kind is
/// there once or not at all.
///
/// # Errors
/// [`crate::DataError::Io`] if the system gives no threads. Pictures that cannot be read are findings.
pub fn verify(
    dataset: &Dataset,
    threads: usize,
    progress: &(dyn Fn(&str, usize, usize) + Sync),
) -> Result<Vec<Finding>> {
    let pool = pool(threads, &dataset.root)?;
    let files = dataset.files();
    let done = AtomicUsize::new(0);
    let seen: Vec<Seen> = pool.install(|| {
        let look = |(_, record): &(Split, &Record)| {
            let seen = look(dataset.source(record), record);
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(PROGRESS_STRIDE) || count == files.len() {
                progress("verifying pictures", count, files.len());
            }
            seen
        };
        files.par_iter().map(look).collect()
    });
    let mut findings = of_pictures(&files, &seen);
    findings.extend(duplicates(&files, &seen));
    findings.extend(of_identities(dataset));
    findings.retain(|finding| !finding.places.is_empty());
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

fn look(source: &Source, record: &Record) -> Seen {
    match source.read(record) {
        Ok(Some(bytes)) => Seen {
            content: *blake3::hash(&bytes).as_bytes(),
            outcome: decode(&bytes).map(|image| (facts(&bytes), look_of(&image))),
        },
        Ok(None) => Seen { content: [0; 32], outcome: Err("changed while the set was read".to_owned()) },
        Err(error) => Seen { content: [0; 32], outcome: Err(format!("cannot be read: {error}")) },
    }
}

/// A hash of what a picture looks like: whether brightness rises from each of 8 x 8 cells to the next one
/// (Krawetz's difference hash, "Kind of Like That", 2013). Cells are means of at most eight of their rows, which costs
/// next to nothing beside decoding.
fn look_of(image: &Image) -> u64 {
    let span = |at: usize, cells: usize, length: usize| {
        let start = (at * length / cells).min(length - 1);
        start..((at + 1) * length / cells).max(start + 1)
    };
    let mean = |row: usize, column: usize| {
        let (rows, columns) = (span(row, 8, image.height), span(column, 9, image.width));
        let stride = rows.len().div_ceil(8);
        let rows = rows.step_by(stride);
        let count = (rows.len() * columns.len()) as u64;
        let line = |y: usize| -> u32 {
            let pixels = &image.data[(y * image.width + columns.start) * 3..(y * image.width + columns.end) * 3];
            pixels.iter().map(|&level| u32::from(level)).sum()
        };
        // In 1/256 of a level, so that small differences count in small pictures too.
        rows.map(|y| u64::from(line(y))).sum::<u64>() * 256 / count
    };
    let rises = (0..8).flat_map(|row| {
        let means: Vec<u64> = (0..9).map(|column| mean(row, column)).collect();
        (0..8).map(move |column| means[column] < means[column + 1])
    });
    rises.fold(0, |bits, rises| bits << 1 | u64::from(rises))
}

fn place((split, record): &(Split, &Record)) -> String {
    format!("{} {}", split.name(), record.path)
}

/// What single pictures' files say.
fn of_pictures(files: &[(Split, &Record)], seen: &[Seen]) -> Vec<Finding> {
    let of = |severity, what, has: &dyn Fn(&Facts) -> Option<String>| {
        let places = files.iter().zip(seen).filter_map(|(file, seen)| {
            let (facts, _) = seen.outcome.as_ref().ok()?;
            has(facts).map(|detail| format!("{}{detail}", place(file)))
        });
        Finding { severity, what, places: places.collect() }
    };
    let corrupt = files.iter().zip(seen).filter_map(|(file, seen)| {
        let reason = seen.outcome.as_ref().err()?;
        Some(format!("{}: {reason}", place(file)))
    });
    let tiny = |facts: &Facts| {
        let Size(height, width) = facts.size;
        (height < 16 || width < 8).then(|| format!(": {height}x{width}"))
    };
    let is = |has: bool| has.then(String::new);
    vec![
        Finding { severity: Severity::Error, what: "pictures that cannot be decoded", places: corrupt.collect() },
        of(Severity::Warning, "pictures that EXIF says to turn, which nobody's loader does", &|facts| {
            (facts.orientation > 1).then(|| format!(": orientation {}", facts.orientation))
        }),
        of(Severity::Warning, "pictures smaller than a patch", &tiny),
        of(Severity::Note, "CMYK pictures, converted to RGB", &|facts| is(facts.is_cmyk)),
        of(Severity::Note, "pictures of 16 bits, cut to 8", &|facts| is(facts.is_deep)),
    ]
}

/// Splits that are trained on.
fn is_trained(split: Split) -> bool {
    matches!(split, Split::Train | Split::Pool)
}

/// Pictures that are there twice, or nearly.
fn duplicates(files: &[(Split, &Record)], seen: &[Seen]) -> Vec<Finding> {
    let mut same: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    let mut looks: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, seen) in seen.iter().enumerate() {
        if let Ok((_, look)) = &seen.outcome {
            same.entry(seen.content).or_default().push(at);
            looks.entry(*look).or_default().push(at);
        }
    }
    let (mut leaked, mut named_twice, mut twice) = (Vec::new(), Vec::new(), Vec::new());
    for group in same.values().filter(|group| group.len() > 1) {
        for pair in group.windows(2) {
            let [a, b] = [&files[pair[0]], &files[pair[1]]];
            let text = format!("{} = {}", place(a), place(b));
            match (is_trained(a.0) == is_trained(b.0), a.1.pid == b.1.pid) {
                (false, _) => leaked.push(text),
                (true, false) => named_twice.push(text),
                (true, true) => twice.push(text),
            }
        }
    }
    // Frames of one track look alike by nature; what looks like a picture of the other side does not.
    let order: Vec<(u64, usize)> = looks.iter().flat_map(|(look, all)| all.iter().map(|&at| (*look, at))).collect();
    let mut alike = Vec::new();
    for band in 0..=ALIKE {
        // Of one band more than bits that differ, one is equal in both.
        let bits = 64 / (ALIKE + 1);
        let of_band = |look: u64| look >> (band * bits) & ((1 << bits) - 1);
        let mut bands: BTreeMap<u64, Vec<(u64, usize)>> = BTreeMap::new();
        for &(look, at) in &order {
            bands.entry(of_band(look)).or_default().push((look, at));
        }
        for group in bands.values() {
            let (trained, tested): (Vec<_>, Vec<_>) = group.iter().partition(|(_, at)| is_trained(files[*at].0));
            for &&(a, i) in &trained {
                for &&(b, j) in &tested {
                    if (a ^ b).count_ones() <= ALIKE && seen[i].content != seen[j].content {
                        alike.push((i, j));
                    }
                }
            }
        }
    }
    alike.sort_unstable();
    alike.dedup();
    let alike = alike.into_iter().map(|(i, j)| format!("{} ~ {}", place(&files[i]), place(&files[j])));
    vec![
        Finding { severity: Severity::Error, what: "pictures that are trained on and tested on", places: leaked },
        Finding { severity: Severity::Error, what: "pictures that have two identities", places: named_twice },
        Finding {
            severity: Severity::Warning,
            what: "training pictures that look like test pictures",
            places: alike.collect(),
        },
        Finding { severity: Severity::Note, what: "pictures that are there twice", places: twice },
    ]
}

/// What identities and cameras say.
fn of_identities(dataset: &Dataset) -> Vec<Finding> {
    let people = |split: Split| {
        let mut cameras: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
        for record in dataset.split(split).iter().filter(|record| record.usable) {
            cameras.entry(record.pid).or_default().insert(record.camera);
        }
        cameras
    };
    let (train, gallery) = (people(Split::Train), people(Split::Gallery));
    let tested: BTreeSet<i64> = dataset.identities(Split::Query).into_iter().collect();
    let shared = train.keys().filter(|pid| tested.contains(pid)).map(|pid| format!("identity {pid}"));
    let single = train.iter().filter(|(_, cameras)| cameras.len() == 1);
    let unmatched = [Split::Query, Split::OccludedQuery].into_iter().flat_map(|split| {
        let matches = |record: &&Record| {
            let cameras = gallery.get(&record.pid);
            cameras.is_some_and(|cameras| cameras.iter().any(|&camera| camera != record.camera))
        };
        let queries = dataset.split(split).iter().filter(|record| record.usable && !matches(record));
        queries.map(|record| place(&(split, record))).collect::<Vec<_>>()
    });
    let one_camera = train.len() > 1 && train.values().flatten().collect::<BTreeSet<_>>().len() == 1;
    vec![
        Finding {
            severity: Severity::Warning,
            what: "identities that are trained on and tested on",
            places: shared.collect(),
        },
        Finding {
            severity: Severity::Warning,
            what: "queries without a match by another camera, which are not scored",
            places: unmatched.collect(),
        },
        Finding {
            severity: Severity::Note,
            what: "training identities that one camera alone has seen",
            places: single.filter(|_| !one_camera).map(|(pid, _)| format!("identity {pid}")).collect(),
        },
    ]
}

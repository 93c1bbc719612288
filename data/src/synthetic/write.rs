//! From a world to a folder in Market-1501 layout.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use jpeg_encoder::{ColorType, Encoder};
use rayon::prelude::*;

use super::RENDERER_VERSION;
use super::audit::attribute_vector;
use super::world::{MOST_IDENTITIES, SPLITS, Shot, World, folder};
use crate::dataset::Split;
use crate::image::Image;
use crate::spec::SyntheticSpec;
use crate::{DataError, Result};

/// Called with what is being done, how much of it is done, and how much there is.
type Progress<'a> = &'a (dyn Fn(&str, usize, usize) + Sync);

/// Says which world a folder holds; its presence says that we wrote the folder.
const README: &str = "README.txt";

/// First line of that file.
const TITLE: &str = "Built-in synthetic data of reid-run; does not rank methods on real images.";

/// Most pictures of a world, a bound on a mistyped spec.
const MOST_PICTURES: usize = 20_000_000;

/// Folder of the spec's world below `cache`, rendered on `threads` threads unless it is there.
///
/// The folder appears by one rename, complete; if two processes render the same world, one of them
/// throws its copy away. A kill leaves a hidden `.part-*` folder beside it, which can be deleted.
///
/// # Errors
/// If the spec cannot be rendered, or the cache cannot be written.
pub fn materialise(spec: &SyntheticSpec, cache: &Path, threads: usize, progress: Progress<'_>) -> Result<PathBuf> {
    let place = cache.join("synthetic").join(world_key(spec));
    if !place.join(README).is_file() {
        render_into(spec, &place, threads, progress)?;
    }
    Ok(place)
}

/// Writes the spec's world to `out`, for use by other programs.
///
/// A folder that already holds this very world is left as it is.
///
/// # Errors
/// If the spec cannot be rendered, if `out` holds anything else, or if it cannot be written.
pub fn write_dataset(spec: &SyntheticSpec, out: &Path, threads: usize, progress: Progress<'_>) -> Result<()> {
    let written = fs::read_to_string(out.join(README)).unwrap_or_default();
    if written == readme(spec) {
        return Ok(());
    }
    let occupied = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(io("read output folder", out)(error)),
    };
    if occupied {
        let held = if written.starts_with(TITLE) { "another rendered world" } else { "files that are not ours" };
        return Err(DataError::Invalid {
            problem: format!("output folder holds {held}"),
            remedy: "name an empty or a new folder".to_owned(),
            path: out.to_owned(),
        });
    }
    render_into(spec, out, threads, progress)
}

/// Encodes a picture as the renderer does (baseline JPEG).
///
/// # Errors
/// If a side is 0 or above 65535 pixels.
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let side = |pixels: usize| u16::try_from(pixels).unwrap_or(0);
    Encoder::new(&mut bytes, quality)
        .encode(&image.data, side(image.width), side(image.height), ColorType::Rgb)
        .map_err(|error| io("encode picture", Path::new("<memory>"))(std::io::Error::other(error)))?;
    Ok(bytes)
}

/// A pool of `threads` threads, one at least.
pub(super) fn pool_of(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    pool.map_err(|error| io("start threads", Path::new("<renderer>"))(std::io::Error::other(error)))
}

/// Refuses specs that have no rendering. The spec language has told the user before; this guards
/// callers that build specs themselves.
fn check(spec: &SyntheticSpec, place: &Path) -> Result<()> {
    let parts = [spec.train_identities, spec.validation_identities, spec.test_identities];
    // The test identities are rendered twice; saturation keeps absurd numbers absurd.
    let pool = spec.pool_factor.saturating_mul(spec.train_identities);
    let people = parts.iter().chain(&[spec.test_identities, pool]).fold(0_usize, |sum, &part| sum.saturating_add(part));
    let faults = [
        (spec.cameras < 2 || spec.cameras > 99, "`cameras` must be in 2..=99"),
        (spec.images_per_identity < 4, "`images_per_identity` must be at least 4"),
        (spec.train_identities < 2 || spec.test_identities < 2, "train and test need two identities each"),
        (
            parts.iter().any(|&part| part as i64 > MOST_IDENTITIES),
            "no labelled part may have more than 100000 identities",
        ),
        (
            [spec.size.0, spec.size.1].iter().any(|side| !(8..=4096).contains(side)),
            "sides of `size` must be in 8..=4096",
        ),
        (!(0.0..=1.0).contains(&spec.occlusion), "`occlusion` must be in 0..=1"),
        (people.saturating_mul(spec.images_per_identity) > MOST_PICTURES, "more than 20 million pictures"),
    ];
    match faults.iter().find(|(broken, _)| *broken) {
        None => Ok(()),
        Some((_, rule)) => Err(DataError::Invalid {
            problem: format!("synthetic data cannot be rendered: {rule}"),
            remedy: "correct the data's spec".to_owned(),
            path: place.to_owned(),
        }),
    }
}

/// Name of a world: a hash of the renderer's version and the spec.
fn world_key(spec: &SyntheticSpec) -> String {
    blake3::hash(identification(spec).as_bytes()).to_hex()[..32].to_owned()
}

/// Version and spec as text. Serde writes a struct's fields in the order of their declaration.
fn identification(spec: &SyntheticSpec) -> String {
    let spec = serde_json::to_string(spec).expect("a struct of numbers and names serializes");
    format!("renderer version {RENDERER_VERSION}\nspec {spec}\n")
}

fn readme(spec: &SyntheticSpec) -> String {
    format!("{TITLE}\n{}", identification(spec))
}

/// Renders beside `place` and renames.
fn render_into(spec: &SyntheticSpec, place: &Path, threads: usize, progress: Progress<'_>) -> Result<()> {
    /// Tells apart what threads of this process write at the same time.
    static ATTEMPT: AtomicUsize = AtomicUsize::new(0);
    check(spec, place)?;
    let name = place.file_name().and_then(|name| name.to_str()).unwrap_or("synthetic");
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
    let part = parent.join(format!(".part-{name}-{}-{attempt}", std::process::id()));
    let rendered = render_all(spec, &part, threads, progress);
    let committed = rendered.and_then(|()| fs::rename(&part, place).map_err(io("rename rendered folder", place)));
    if committed.is_err() {
        // Best effort: the error that led here matters more than a left-over folder.
        let _ = fs::remove_dir_all(&part);
        // Somebody else was faster, with the same bytes.
        if fs::read_to_string(place.join(README)).is_ok_and(|text| text == readme(spec)) {
            return Ok(());
        }
    }
    committed
}

fn render_all(spec: &SyntheticSpec, root: &Path, threads: usize, progress: Progress<'_>) -> Result<()> {
    let world = World::new(spec);
    for split in SPLITS {
        let sub = root.join(folder(split));
        fs::create_dir_all(&sub).map_err(io("create folder", &sub))?;
    }
    let shots: Vec<Shot> = SPLITS.iter().flat_map(|&split| world.shots(split)).collect();
    let done = AtomicUsize::new(0);
    let write = |shot: &Shot| -> Result<f32> {
        let rendering = world.render(shot);
        let path = root.join(shot.path());
        fs::write(&path, encode_jpeg(&rendering.image, world.quality(shot))?).map_err(io("write picture", &path))?;
        progress("rendering", done.fetch_add(1, Ordering::Relaxed) + 1, shots.len());
        Ok(rendering.hidden)
    };
    let hidden: Vec<f32> = pool_of(threads)?.install(|| shots.par_iter().map(write).collect::<Result<_>>())?;

    let text = |name: &str, content: String| {
        let path = root.join(name);
        fs::write(&path, content).map_err(io("write file", &path))
    };
    text("hidden.csv", hidden_table(&shots, &hidden))?;
    text("attributes.csv", attribute_table(&world, &shots))?;
    text(README, readme(spec))
}

/// `path,share` of every labelled picture.
fn hidden_table(shots: &[Shot], hidden: &[f32]) -> String {
    let mut table = String::from("path,share\n");
    for (shot, share) in shots.iter().zip(hidden).filter(|(shot, _)| shot.split != Split::Pool) {
        let _ = writeln!(table, "{},{share}", shot.path());
    }
    table
}

/// `pid,a0,a1,...` of every labelled identity.
fn attribute_table(world: &World, shots: &[Shot]) -> String {
    let mut table = String::new();
    let mut last = -1;
    for shot in shots {
        // Splits are in order of their identities; those seen before, and the pool, add nothing.
        if shot.pid <= last {
            continue;
        }
        last = shot.pid;
        let vector = attribute_vector(&world.identity(shot));
        if table.is_empty() {
            let names: Vec<String> = (0..vector.len()).map(|at| format!("a{at}")).collect();
            let _ = writeln!(table, "pid,{}", names.join(","));
        }
        let values: Vec<String> = vector.iter().map(f32::to_string).collect();
        let _ = writeln!(table, "{},{}", shot.pid, values.join(","));
    }
    table
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io { action, source, path }
}

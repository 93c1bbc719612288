//! Weights of other projects into our encoder: MAE, DINO, iBOT, MSN, PersonViT, PASS, TransReID and
//! TransReID-SSL, HAP, BootMAE, `MoCo` v3, timm and Hugging Face.
//!
//! Names are brought to timm's ([`super::names`]), attention that is stored in thirds is stacked, and positions of
//! another grid are resampled. Nothing is left to chance: what is unused or missing is named, and fails a strict
//! import.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Tensor};

use super::checkpoint::Checkpoint;
use super::names::{self, Named, Source};
use super::report::Report;
use super::spec::{ImportedSpec, PartTokens, PositionsRatio};
use crate::encoder::Encoder;
use crate::error::{BackboneError, Result};
use crate::params::ParamStore;
use crate::vit::{Resampling, Vit, grid_of, resize_weights};

/// Raised whenever the same file gives other numbers.
pub const ALGORITHM_VERSION: u32 = 1;

/// Largest difference at which a table counts as our fixed one: what float32 leaves of sines.
const SAME_POSITIONS: f64 = 1e-5;
/// Height over width of the pictures of most person checkpoints.
const PERSON_RATIO: f64 = 2.0;
/// Groups named where no encoder is found.
const GROUPS: usize = 12;

const POSITIONS: &str = "pos_embed";
/// PASS keeps the class token's position apart from the patches'.
const CLASS_POSITION: &str = "cls_pos";

/// Reads a file into the parameters behind `prefix`.
///
/// # Errors
/// If the file cannot be read, holds no ViT, or, in a strict import, does not fit in every name and shape; then
/// nothing has been changed.
pub fn import(spec: &ImportedSpec, vit: &Vit, store: &ParamStore, prefix: &str) -> Result<Report> {
    let path = Path::new(&spec.path);
    let checkpoint = Checkpoint::open(path)?;
    let all: BTreeSet<&str> = checkpoint.names().collect();
    let found =
        names::locate(&all, spec.part.trim_end_matches('.')).ok_or_else(|| no_encoder(&all, &spec.part, path))?;
    let named = names::read(all.iter().copied(), &found);
    let mut import = Import { spec, vit, checkpoint: &checkpoint, report: Report::default(), work: BTreeMap::new() };
    import.report.format = checkpoint.format();
    found.trim_end_matches('.').clone_into(&mut import.report.part);
    import.report.elsewhere = named.elsewhere;
    let wanted: BTreeMap<String, Vec<usize>> = store
        .modules()
        .iter()
        .flat_map(|module| module.entries.iter())
        .filter_map(|entry| Some((entry.name.strip_prefix(prefix)?.to_owned(), entry.shape.clone())))
        .collect();
    import.assign(named, &wanted)?;
    if import.report.used.is_empty() || (spec.strict && !import.report.is_complete()) {
        import.help(&wanted);
        return Err(BackboneError::Import { report: Box::new(import.report), path: spec.path.clone() });
    }
    for (name, work) in &import.work {
        store.set(&format!("{prefix}{name}"), &import.value(work)?)?;
    }
    Ok(import.report)
}

/// A table of positions for another grid; the class token's, which comes first, stays.
///
/// # Shapes
/// - `table`: `[1, 1 + old rows * old cols, d]`; output: `[1, 1 + new rows * new cols, d]`
///
/// # Errors
/// If the table is not of the old grid.
pub fn resample_positions(
    table: &Tensor,
    old: (usize, usize),
    new: (usize, usize),
    rule: Resampling,
) -> Result<Tensor> {
    if old == new {
        return Ok(table.clone());
    }
    let class = table.narrow(1, 0, 1)?;
    let cells = table.narrow(1, 1, old.0 * old.1)?.squeeze(0)?.contiguous()?; // [n, d]
    let weights = Tensor::from_vec(resize_weights(rule, old, new), (new.0 * new.1, old.0 * old.1), table.device())?;
    Ok(Tensor::cat(&[&class, &weights.matmul(&cells)?.unsqueeze(0)?], 1)?)
}

/// No ViT among the names, under the wanted part if there is one.
pub(super) fn no_encoder(names: &BTreeSet<&str>, part: &str, path: &Path) -> BackboneError {
    let groups: BTreeSet<&str> = names.iter().filter_map(|name| name.split('.').next()).collect();
    let groups = groups.into_iter().take(GROUPS).collect::<Vec<_>>().join(", ");
    let is_resnet = names.iter().any(|name| name.ends_with("layer1.0.conv1.weight"));
    let (part, groups) = match (part, groups.as_str()) {
        ("", "") => (String::new(), "it holds no tensor".to_owned()),
        ("", groups) => (String::new(), format!("its names begin with {groups}")),
        (part, groups) => (format!(" under `{part}`"), format!("its names begin with {groups}")),
    };
    let kind = if is_resnet { "; it looks like a ResNet, and only ViTs are read" } else { "" };
    BackboneError::File {
        action: "cannot import weights",
        reason: format!("no Vision Transformer in the file{part}: no `patch_embed.proj.weight`; {groups}{kind}"),
        path: path.display().to_string(),
    }
}

/// How one of our tensors comes about.
enum Work {
    Copy(Source),
    Positions { table: String, class: Option<String>, old: (usize, usize) },
}

struct Import<'a> {
    spec: &'a ImportedSpec,
    vit: &'a Vit,
    checkpoint: &'a Checkpoint,
    report: Report,
    work: BTreeMap<String, Work>,
}

impl Import<'_> {
    /// Fills the report, and says how every tensor that fits comes about.
    fn assign(&mut self, named: Named, wanted: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        let Named { mut encoder, left_out, .. } = named;
        self.report.left_out = left_out;
        let dropped = |name: &str| {
            let is_part = name.starts_with("part_token") || (name.starts_with("part") && name.ends_with("_pos"));
            let below = |ignored: &String| {
                name.strip_prefix(ignored.trim_end_matches('.')).is_some_and(|r| r.is_empty() || r.starts_with('.'))
            };
            (is_part && self.spec.part_tokens == PartTokens::Drop) || self.spec.ignore.iter().any(below)
        };
        self.report.left_out.extend(encoder.keys().filter(|name| dropped(name)).cloned());
        encoder.retain(|name, _| !dropped(name));
        self.report.left_out.sort();
        self.positions(&mut encoder, wanted)?;
        for (name, shape) in wanted {
            if name == POSITIONS {
                continue;
            }
            let Some(source) = encoder.remove(name) else {
                self.report.missing.push(name.clone());
                continue;
            };
            let found = self.shape(&source);
            if found == *shape {
                if let Source::Stacked(thirds) = &source {
                    let text = if thirds.iter().all(Option::is_some) { "stacked" } else { "stacked, keys' bias 0" };
                    self.report.reshaped.push((name.clone(), text.to_owned()));
                }
                self.report.used.push(name.clone());
                self.work.insert(name.clone(), Work::Copy(source));
            } else {
                self.report.unfit.push((name.clone(), format!("{found:?}, ours {shape:?}")));
            }
        }
        self.report.unused.extend(encoder.into_keys());
        for names in [&mut self.report.used, &mut self.report.unused, &mut self.report.missing] {
            names.sort();
        }
        Ok(())
    }

    /// Takes the table of positions out of the file's names and decides what becomes of it.
    fn positions(
        &mut self,
        encoder: &mut BTreeMap<String, Source>,
        wanted: &BTreeMap<String, Vec<usize>>,
    ) -> Result<()> {
        let mut take = |name: &str| match encoder.remove(name) {
            Some(Source::Whole(name)) => Some(name),
            _ => None,
        };
        let (table, class) = (take(POSITIONS), take(CLASS_POSITION));
        let ours = wanted.get(POSITIONS);
        let Some(table) = table else {
            self.report.missing.extend(ours.map(|_| POSITIONS.to_owned()));
            self.report.unused.extend(class);
            return Ok(());
        };
        let shape = self.checkpoint.shape(&table).unwrap_or_default();
        let (rows, cols) = self.vit.grid();
        let width = self.vit.dims().width;
        let slots = usize::from(class.is_none());
        let cells = match shape {
            [1, n, d] if *d == width && *n > slots => n - slots,
            _ => {
                let ours = [1, 1 + rows * cols, width];
                self.report.unfit.push((POSITIONS.to_owned(), format!("{shape:?}, ours {ours:?}")));
                return Ok(());
            }
        };
        let old = match self.spec.positions_ratio {
            PositionsRatio::Ratio(ratio) => grid_of(cells, ratio),
            PositionsRatio::Auto if cells == rows * cols => Some((rows, cols)),
            PositionsRatio::Auto => grid_of(cells, 1.0).or_else(|| grid_of(cells, PERSON_RATIO)),
        };
        let Some(old) = old else {
            let text = format!("{cells} positions are no grid of that ratio; say `positions_ratio: {{ratio: ..}}`");
            self.report.unfit.push((POSITIONS.to_owned(), text));
            return Ok(());
        };
        let work = Work::Positions { table, class, old };
        if let Some(fixed) = self.vit.fixed_positions() {
            return self.compare(&work, &fixed.clone());
        }
        if old != (rows, cols) {
            let how = self.spec.positions_resize.rule();
            let text = format!("{} x {} -> {rows} x {cols}, {how:?}", old.0, old.1).to_lowercase();
            self.report.reshaped.push((POSITIONS.to_owned(), text));
        }
        self.report.used.push(POSITIONS.to_owned());
        self.work.insert(POSITIONS.to_owned(), work);
        Ok(())
    }

    /// An encoder with fixed positions takes none; a file with others is not its.
    fn compare(&mut self, work: &Work, fixed: &Tensor) -> Result<()> {
        let Work::Positions { old, .. } = work else { return Ok(()) };
        if *old == self.vit.grid() {
            let (theirs, ours) = (self.value(work)?, fixed.to_device(&candle_core::Device::Cpu)?);
            let difference = (theirs - ours)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            if difference <= SAME_POSITIONS {
                self.report.reshaped.push((POSITIONS.to_owned(), "equal to our fixed ones".to_owned()));
                return Ok(());
            }
        }
        self.report.unused.push(POSITIONS.to_owned());
        Ok(())
    }

    fn shape(&self, source: &Source) -> Vec<usize> {
        shape_of(self.checkpoint, source)
    }

    fn value(&self, work: &Work) -> Result<Tensor> {
        match work {
            Work::Copy(source) => read_source(self.checkpoint, source),
            Work::Positions { table, class, old } => {
                let table = self.checkpoint.read(table)?;
                let (_, n, width) = table.dims3()?;
                let slots = usize::from(class.is_none());
                let class = match class {
                    Some(name) => self.checkpoint.read(name)?.reshape((1, 1, width))?,
                    None => table.narrow(1, 0, 1)?,
                };
                let table = Tensor::cat(&[&class, &table.narrow(1, slots, n - slots)?], 1)?; // [1, 1 + n, d]
                resample_positions(&table, *old, self.vit.grid(), self.spec.positions_resize.rule())
            }
        }
    }

    /// What to change, as far as names and shapes tell.
    fn help(&mut self, wanted: &BTreeMap<String, Vec<usize>>) {
        let report = &self.report;
        let (unused, missing) = (&report.unused, &report.missing);
        let begins = |names: &[String], start: &str| names.iter().any(|name| name.starts_with(start));
        let mut help = Vec::new();
        let (theirs, ours) = (self.sizes(), sizes_of(wanted));
        if theirs != ours {
            let words = |(width, depth, patch): (usize, usize, usize)| {
                format!("width {width}, {depth} blocks and patches of {patch} px")
            };
            help.push(format!("the file's encoder has {}, ours {}; see `backbone.vit`", words(theirs), words(ours)));
        }
        if begins(unused, "patch_embed.conv") {
            help.push("it has the ICS stem: set `backbone.vit.stem: ics`".to_owned());
        } else if begins(missing, "patch_embed.conv") {
            help.push("it has no ICS stem: set `backbone.vit.stem: patch`".to_owned());
        }
        if begins(unused, "part_token") {
            help.push("it has part tokens: set `backbone.vit.part_tokens`, or `part_tokens: drop`".to_owned());
        }
        if unused.iter().any(|name| name == POSITIONS) {
            help.push("its positions are not our fixed ones: set `backbone.vit.positions: learned`".to_owned());
        }
        if begins(unused, "sie_embed") {
            help.push("its camera embedding takes no part here: add it to `ignore`".to_owned());
        }
        if unused.iter().any(|name| name.contains("gamma") || name.contains("relative_position")) {
            help.push(
                "it is another kind of ViT, with layer scale or relative positions, which we do not have".to_owned(),
            );
        }
        if help.is_empty() {
            help.push("list in `ignore` what may stay unused, or set `strict: false`".to_owned());
        }
        self.report.help = help;
    }

    /// Width, blocks and patch of the file's encoder.
    fn sizes(&self) -> (usize, usize, usize) {
        let part = if self.report.part.is_empty() { String::new() } else { format!("{}.", self.report.part) };
        let names = names::read(self.checkpoint.names(), &part).encoder;
        sizes_of(&names.iter().map(|(name, source)| (name.clone(), self.shape(source))).collect())
    }
}

/// Shape that a source gives; empty if its parts do not fit together.
pub(super) fn shape_of(checkpoint: &Checkpoint, source: &Source) -> Vec<usize> {
    let shape = |name: &str| checkpoint.shape(name).unwrap_or_default().to_vec();
    match source {
        Source::Whole(name) => shape(name),
        Source::Stacked(_) => {
            let parts: Vec<Vec<usize>> = source.names().into_iter().map(shape).collect();
            let mut whole = parts[0].clone();
            if parts.iter().any(|part| part != &whole) || whole.is_empty() {
                return Vec::new();
            }
            whole[0] = whole[0].saturating_mul(3);
            whole
        }
    }
}

/// The numbers of a source.
///
/// # Errors
/// If a tensor cannot be read.
pub(super) fn read_source(checkpoint: &Checkpoint, source: &Source) -> Result<Tensor> {
    let thirds = match source {
        Source::Whole(name) => return checkpoint.read(name),
        Source::Stacked(thirds) => thirds,
    };
    let read = |name: &Option<String>| name.as_ref().map(|name| checkpoint.read(name)).transpose();
    let read = thirds.iter().map(read).collect::<Result<Vec<Option<Tensor>>>>()?;
    let Some(some) = read.iter().flatten().next().cloned() else {
        unreachable!("a stacked tensor has a part in the file");
    };
    let parts: Vec<Tensor> =
        read.into_iter().map(|part| part.map_or_else(|| some.zeros_like(), Ok)).collect::<candle_core::Result<_>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// Width, number of blocks and side of a patch, as shapes tell.
fn sizes_of(shapes: &BTreeMap<String, Vec<usize>>) -> (usize, usize, usize) {
    let last = |name: &str| shapes.get(name).and_then(|shape| shape.last().copied()).unwrap_or(0);
    let block = |name: &String| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
    let depth = shapes.keys().filter_map(block).collect::<BTreeSet<usize>>().len();
    (last("norm.weight").max(last("cls_token")), depth, last("patch_embed.proj.weight"))
}

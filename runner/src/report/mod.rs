//! The pictures of a report: what models find, what encoders look at, what is predicted.
//!
//! Each setting is shown by its finished run of the lowest seed. Charts and the page itself are made of result rows
//! alone, by `reid_results::report`; here are the parts that take models and pictures.

mod cameras;
mod canvas;
mod encoder;
mod gallery;
mod reconstruction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reid_data::dataset::Split;
use reid_data::image::Image;
use reid_data::spec::Size;
use reid_data::synthetic::encode_jpeg;
use reid_objectives::math::ranking::RankSpec;
use reid_results::report::{Chart, Figure, Picture, PictureSection};
use reid_results::{Frames, QueryRow, RunRow, SettingRuns};

use crate::engine::{DataServices, Machine, OpenData, Plan, Pretrained, RunModel, RunPlan, StageKind};
use crate::exit::RunError;
use crate::progress::Progress;
use crate::signals::Interrupt;
use crate::store::Store;
use gallery::Ranked;

/// Settings that are shown at most, the best by test mAP; and the one that others are compared with.
const SETTINGS: usize = 6;
/// Digits of a commit.
const COMMIT: usize = 7;
/// The set of queries whose answers are shown.
const SPLIT: &str = "test";

/// What pictures are made of.
pub(crate) struct Materials<'a> {
    pub(crate) store: &'a Store,
    pub(crate) plan: &'a Plan,
    pub(crate) frames: &'a Frames,
    /// Settings of the table, in its order.
    pub(crate) settings: &'a [SettingRuns],
    /// Label of the setting that the others are compared with.
    pub(crate) against: Option<&'a str>,
    pub(crate) machine: &'a Machine,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) progress: &'a Progress,
}

/// Pictures, charts of features, and what could not be shown.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) sections: Vec<PictureSection>,
    pub(crate) charts: Vec<Chart>,
    pub(crate) notes: Vec<String>,
}

/// One setting that is shown.
struct Shown {
    /// Fit for file names.
    id: String,
    /// As the table names it.
    name: String,
    row: RunRow,
    model: RunModel,
    data: Arc<OpenData>,
    services: DataServices,
    /// What counts in a ranked gallery.
    ranking: RankSpec,
    scores: Vec<QueryRow>,
}

impl Shown {
    /// Run and number of queries behind a figure.
    fn basis(&self) -> String {
        format!("seed {}, n = {} queries, {}", self.row.seed_pretrain, self.scores.len(), self.commit())
    }

    /// Run behind a figure of the encoder.
    fn encoder_basis(&self) -> String {
        format!("seed {}, {}", self.row.seed_pretrain, self.commit())
    }

    fn commit(&self) -> String {
        let commit = self.row.computed_commit.as_ref().or(self.row.program_commit.as_ref());
        commit.map_or("commit unknown".to_owned(), |commit| {
            format!("commit {}", commit.chars().take(COMMIT).collect::<String>())
        })
    }
}

/// Makes all pictures.
///
/// # Errors
/// If a picture or weights cannot be read, or a signal asks to stop. A stage that is no longer in the store is noted.
pub(crate) fn make(of: &Materials) -> Result<Made, RunError> {
    let mut made = Made::default();
    let rows: BTreeMap<String, RunRow> = of.frames.rows()?.into_iter().map(|row| (row.run_id.clone(), row)).collect();
    let chosen = choose(of, &rows);
    let (mut galleries, mut attention, mut patches, mut regions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut compared: Vec<(Shown, Ranked)> = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, (setting, row, run)) in chosen.iter().enumerate() {
        if of.interrupt.requested() {
            return Err(RunError::Interrupted { cause: of.interrupt.cause().unwrap_or("a signal") });
        }
        of.progress.line(format_args!("pictures of {}", setting.name));
        let shown = shown(of, at, setting, row, run);
        let Some(shown) = noted(shown, &mut made.notes, &setting.name)? else { continue };
        if shown.scores.is_empty() {
            made.notes.push(format!("{}: no scores of its queries are kept, which choose what is shown", setting.name));
        }
        // Settings that share a pre-training show it once.
        let take = &run.run.spec.pretrain.take;
        let is_new = row.stage_pretrain.as_ref().is_some_and(|key| seen.insert((key.clone(), format!("{take:?}"))));
        let pretrained = if is_new { Pretrained::of_row(of.store, row, &of.machine.device) } else { Ok(None) };
        if let Some(pretrained) = noted(pretrained, &mut made.notes, &setting.name)?.flatten() {
            let [height, width] = pretrained.vit.image;
            let size = Size(height, width);
            attention.extend(encoder::attention(&shown, &pretrained.encoder, size, pretrained.normalisation)?);
            patches.extend(encoder::clusters(&shown, &pretrained.encoder, size, pretrained.normalisation)?);
            let stages = run.stages.iter().map(|&index| &of.plan.stages[index]);
            if let Some(task) = &pretrained.person_mae
                && let Some(stage) = stages.into_iter().find(|stage| stage.kind == StageKind::Pretrain)
            {
                let services = services(of, &stage.data);
                let (patch, normalisation) = (pretrained.vit.patch, pretrained.normalisation);
                regions.extend(reconstruction::figure(&shown, task, &services, normalisation, patch)?);
            }
        }
        let ranked = Ranked::of(&shown)?;
        galleries.extend(ranked.extremes(&shown, &shown.scores)?);
        made.charts.extend(cameras::chart(&shown, &ranked));
        made.charts.extend(cameras::plane(&shown, &ranked));
        compared.push((shown, ranked));
    }
    if let [first, .., last] = contrast_of(&compared, of.against).as_slice() {
        galleries.extend(gallery::contrast((&first.0, &first.1, &first.0.scores), (&last.0, &last.1, &last.0.scores))?);
    }
    made.sections.extend(gallery::section(galleries));
    made.sections.extend(section(
        "attention",
        "What encoders look at",
        "Self-attention of the class token after pre-training, before any label was seen.",
        attention,
    ));
    made.sections.extend(section(
        "patches",
        "Which patches look alike",
        "Patch tokens after pre-training, clustered: where one color stays on one part of the body, from person to person, \
         the encoder has learnt that part.",
        patches,
    ));
    made.sections.extend(section(
        "reconstructions",
        "What is predicted",
        "PersonMAE's decoder on pictures that it was trained on.",
        regions,
    ));
    Ok(made)
}

/// What there is; that a run or a stage is gone is a note and no error.
fn noted<T>(found: Result<T, RunError>, notes: &mut Vec<String>, name: &str) -> Result<Option<T>, RunError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(RunError::NothingSelected(why)) => {
            notes.push(format!("no pictures of {name}: {why}"));
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// A section, if there is something in it.
fn section(id: &str, title: &str, text: &str, figures: Vec<Figure>) -> Option<PictureSection> {
    (!figures.is_empty()).then(|| PictureSection {
        id: id.to_owned(),
        title: title.to_owned(),
        text: text.to_owned(),
        figures,
    })
}

/// The best setting and what it is compared with: the named one, or the second best.
fn contrast_of<'a>(shown: &'a [(Shown, Ranked)], against: Option<&str>) -> Vec<&'a (Shown, Ranked)> {
    let map = |(shown, _): &(Shown, Ranked)| shown.row.metrics.get("test.map").copied().unwrap_or(f64::NEG_INFINITY);
    // Only what was evaluated alike, on the same queries.
    let mut order: Vec<&(Shown, Ranked)> = shown.iter().collect();
    order.sort_by(|a, b| map(b).total_cmp(&map(a)));
    let Some(&first) = order.first() else { return Vec::new() };
    let alike = |other: &&(Shown, Ranked)| {
        other.0.row.protocol == first.0.row.protocol
            && other.0.row.dataset_fingerprint == first.0.row.dataset_fingerprint
    };
    let others: Vec<&(Shown, Ranked)> = order.into_iter().skip(1).filter(alike).collect();
    let named = others.iter().copied().find(|other| Some(other.0.row.label.as_str()) == against);
    std::iter::once(first).chain(named.or(others.first().copied())).collect()
}

/// The settings that are shown, each by its run of the lowest seed, in the order of the table.
fn choose<'a>(
    of: &Materials<'a>,
    rows: &'a BTreeMap<String, RunRow>,
) -> Vec<(&'a SettingRuns, &'a RunRow, &'a RunPlan)> {
    let plans: BTreeMap<&str, &RunPlan> = of.plan.runs.iter().map(|run| (run.id.as_str(), run)).collect();
    let first = |setting: &'a SettingRuns| {
        let known = setting.runs.iter().filter_map(|id| Some((rows.get(id)?, *plans.get(id.as_str())?)));
        let (row, run) = known.min_by_key(|(row, _)| (row.seed_pretrain, row.seed_downstream))?;
        Some((setting, row, run))
    };
    let all: Vec<_> = of.settings.iter().filter_map(first).collect();
    let map = |row: &RunRow| row.metrics.get("test.map").copied().unwrap_or(f64::NEG_INFINITY);
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| map(all[b].1).total_cmp(&map(all[a].1)));
    let mut kept: BTreeSet<usize> = order.into_iter().take(SETTINGS).collect();
    kept.extend((0..all.len()).find(|&at| Some(all[at].1.label.as_str()) == of.against));
    kept.into_iter().map(|at| all[at]).collect()
}

fn services(of: &Materials, data: &Arc<OpenData>) -> DataServices {
    DataServices {
        data: Arc::clone(data),
        workers: of.machine.workers,
        device: of.machine.device.clone(),
        interrupt: of.interrupt.clone(),
    }
}

fn shown(of: &Materials, at: usize, setting: &SettingRuns, row: &RunRow, run: &RunPlan) -> Result<Shown, RunError> {
    let data = Arc::clone(&run.data);
    if data.dataset.split(Split::Query).is_empty() {
        return Err(RunError::NothingSelected("its data have no test queries".to_owned()));
    }
    let model = RunModel::of_row(of.store, row, &data.dataset.fingerprint, &of.machine.device)?;
    Ok(Shown {
        id: format!("{:02}-{}", at + 1, slug(&setting.name)),
        name: setting.name.clone(),
        row: row.clone(),
        model,
        services: services(of, &data),
        data,
        ranking: run.run.spec.protocol.evaluation().rank(),
        scores: of.frames.query_scores(&row.run_id, SPLIT)?,
    })
}

/// A name's letters and digits, for file names.
fn slug(name: &str) -> String {
    let parts: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase().chars().take(40).collect()
}

/// A figure of exact pixels: maps.
fn figure(id: &str, image: &Image, alt: String, caption: String) -> Figure {
    Figure {
        id: id.to_owned(),
        picture: Picture::Png(image.to_png()),
        alt,
        caption,
        width: image.width as u32,
        height: image.height as u32,
    }
}

/// A figure of photographs.
fn photographs(id: &str, image: &Image, alt: String, caption: String) -> Result<Figure, RunError> {
    /// Of a JPEG, per cent.
    const QUALITY: u8 = 90;
    let picture = Picture::Jpeg(encode_jpeg(image, QUALITY)?);
    Ok(Figure { picture, ..figure(id, image, alt, caption) })
}

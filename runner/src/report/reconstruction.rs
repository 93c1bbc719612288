//! What PersonMAE predicts of one region from the visible part of another.

use std::sync::Arc;

use candle_core::Tensor;
use reid_data::dataset::Split;
use reid_data::image::Image;
use reid_data::loader::{Loader, LoaderSettings, Tail};
use reid_data::sampler;
use reid_data::spec::{Normalisation, Size};
use reid_objectives::person_mae::PersonMae;
use reid_objectives::task::{Clock, Services, Task, pretraining_split};
use reid_results::report::Figure;

use super::Shown;
use super::canvas::{Frame, Grid};
use crate::exit::RunError;

/// Pictures that are shown.
const PICTURES: usize = 6;
/// What is put over a hidden patch, 8 bits.
const HIDDEN: u8 = 128;

/// RegionA as the encoder sees it, RegionA, RegionB, and its prediction, for the first pictures of the pool that the
/// services have.
pub(super) fn figure(
    shown: &Shown,
    task: &PersonMae,
    services: &crate::engine::DataServices,
    normalisation: Normalisation,
    patch: usize,
) -> Result<Option<Figure>, RunError> {
    let split = pretraining_split(!services.records(Split::Pool).is_empty());
    let plan = Arc::new(sampler::sequential(services.records(split), PICTURES));
    let settings = LoaderSettings { seed: 0, epoch: 0, start: 0, tail: Tail::Keep, workers: 0, queue: 1 };
    let mut loader = Loader::new(services.data.pictures(split)?, plan, Arc::new(task.views()), settings)?;
    let Some(batch) = loader.next().transpose()? else { return Ok(None) };
    let clock = Clock { epoch: 0, epochs: 1.0, step: 0, steps: 1, seed: 0 };
    let fail = |error: reid_objectives::TaskError| RunError::Unexpected(error.to_string());
    let Some(known) = task.reconstruct(&batch, clock).map_err(fail)? else { return Ok(None) };
    let [a, b, predicted] = [&known.a, &known.b, &known.predicted].map(|images| pictures(images, normalisation));
    let (a, b, predicted) = (a?, b?, predicted?);
    let Some(first) = a.first() else { return Ok(None) };
    let mut grid = Grid::new(4, a.len(), Size(first.height, first.width));
    for (column, hidden) in known.hidden.iter().enumerate() {
        let masked = masked(&a[column], hidden, patch);
        for (row, image) in [&masked, &a[column], &b[column], &predicted[column]].into_iter().enumerate() {
            grid.put(row, column, image, Frame::None);
        }
    }
    let caption = format!(
        "{}: RegionA as the encoder sees it (hidden patches gray), RegionA, RegionB, and what is predicted of RegionB, of the \
         first pictures that it was trained on; the mean and deviation of predicted patches are RegionB's own where the loss leaves them \
         open. From {}.",
        shown.name,
        shown.encoder_basis()
    );
    let alt = format!("Regions of pictures and what {} predicts of them", shown.name);
    super::photographs(&format!("reconstruction-{}", shown.id), &grid.finish(), alt, caption).map(Some)
}

/// Normalised pixels as pictures.
fn pictures(images: &Tensor, normalisation: Normalisation) -> Result<Vec<Image>, RunError> {
    let unexpected = |error: candle_core::Error| RunError::Unexpected(error.to_string());
    let (_, _, height, width) = images.dims4().map_err(unexpected)?;
    let values: Vec<f32> = images.flatten_all().and_then(|all| all.to_vec1()).map_err(unexpected)?;
    let (mean, std) = normalisation.mean_std();
    let plane = height * width;
    let picture = |values: &[f32]| {
        let byte = |at: usize, channel: usize| {
            let value = values[channel * plane + at] * std[channel] + mean[channel];
            (value * 255.0).round().clamp(0.0, 255.0) as u8
        };
        Image::new(height, width, (0..plane).flat_map(|at| [byte(at, 0), byte(at, 1), byte(at, 2)]).collect())
    };
    Ok(values.chunks_exact(3 * plane).map(picture).collect())
}

/// The picture with its hidden patches gray.
fn masked(image: &Image, hidden: &[bool], patch: usize) -> Image {
    let columns = image.width / patch;
    let mut masked = image.clone();
    for (at, pixel) in masked.data.chunks_exact_mut(3).enumerate() {
        let (y, x) = (at / image.width, at % image.width);
        if hidden.get(y / patch * columns + x / patch).copied().unwrap_or(false) {
            pixel.fill(HIDDEN);
        }
    }
    masked
}

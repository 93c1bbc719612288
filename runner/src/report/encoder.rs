//! What pre-trained encoders look at, and which patches they take for alike.

use candle_core::Tensor;
use reid_data::dataset::Split;
use reid_data::image::Image;
use reid_data::rng::{Key, Rng, Stream};
use reid_data::spec::{Filter, Normalisation, Size};
use reid_data::transform::{Region, Resizer};
use reid_objectives::math::kmeans::kmeans;
use reid_objectives::protocols::model::{EncoderModel, Look};
use reid_results::report::Figure;

use super::Shown;
use super::canvas::{Frame, Grid, OKABE_ITO, viridis};
use crate::exit::RunError;

/// Pictures whose attention is shown.
const LOOKED_AT: usize = 6;
/// Pictures whose patches are clustered, all shown.
const CLUSTERED: usize = 12;
/// Clusters of patches: as many as there are colors to tell apart.
const CLUSTERS: usize = OKABE_ITO.len();

/// Pictures of different people of the gallery, from its start.
fn pictures(shown: &Shown, count: usize) -> Result<Vec<Image>, RunError> {
    let records = shown.data.dataset.split(Split::Gallery);
    let pictures = shown.data.pictures(Split::Gallery)?;
    let mut people = std::collections::BTreeSet::new();
    let mut chosen = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if chosen.len() < count && record.usable && record.pid > 0 && people.insert(record.pid) {
            chosen.push((*pictures.get(index)?).clone());
        }
    }
    Ok(chosen)
}

/// The encoder's look at pictures, resized to what it takes and normalised as in its pre-training.
fn look(encoder: &EncoderModel, images: &[Image], size: Size, normalisation: Normalisation) -> Result<Look, RunError> {
    let (mean, std) = normalisation.mean_std();
    let mut resizer = Resizer::new();
    let Size(height, width) = size;
    let mut values = Vec::with_capacity(images.len() * 3 * height * width);
    for image in images {
        let small = resizer.resize(image, Region::whole(image), size, Filter::Bilinear);
        for channel in 0..3 {
            let of = small.data.iter().skip(channel).step_by(3);
            values.extend(of.map(|&value| (f32::from(value) / 255.0 - mean[channel]) / std[channel]));
        }
    }
    let device = encoder.parts().1.device().clone();
    let images =
        Tensor::from_vec(values, (images.len(), 3, height, width), &device).map_err(|error| unexpected(&error))?;
    encoder.look(&images).map_err(|error| RunError::Unexpected(error.to_string()))
}

/// Attention of the class token in the last block, head by head.
pub(super) fn attention(
    shown: &Shown,
    encoder: &EncoderModel,
    size: Size,
    normalisation: Normalisation,
) -> Result<Option<Figure>, RunError> {
    let images = pictures(shown, LOOKED_AT)?;
    if images.is_empty() {
        return Ok(None);
    }
    let look = look(encoder, &images, size, normalisation)?;
    let (_, heads, _) = look.attention.dims3().map_err(|error| unexpected(&error))?;
    let attention: Vec<Vec<Vec<f32>>> = look.attention.to_vec3().map_err(|error| unexpected(&error))?;
    let mut grid = Grid::new(images.len(), heads + 2, size);
    for (row, (image, of_heads)) in images.iter().zip(&attention).enumerate() {
        grid.put(row, 0, image, Frame::None);
        for (head, shares) in of_heads.iter().enumerate() {
            grid.put_map(row, head + 1, &heat(shares, look.grid));
        }
        let mean: Vec<f32> = (0..of_heads[0].len())
            .map(|at| of_heads.iter().map(|shares| shares[at]).sum::<f32>() / heads as f32)
            .collect();
        grid.put_map(row, heads + 1, &heat(&mean, look.grid));
    }
    let caption = format!(
        "{}: the picture, the attention of the class token to the patches in the last block's {heads} heads, and their mean; \
         dark blue for least, yellow for most, each map by itself. From {}.",
        shown.name,
        shown.encoder_basis()
    );
    let alt = format!("Attention maps of the {heads} heads of {}", shown.name);
    Ok(Some(super::figure(&format!("attention-{}", shown.id), &grid.finish(), alt, caption)))
}

/// A map in colors, from its least to its greatest value.
fn heat(values: &[f32], (rows, cols): (usize, usize)) -> Image {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = (high - low).max(f32::MIN_POSITIVE);
    Image::new(rows, cols, values.iter().flat_map(|value| viridis((value - low) / range)).collect())
}

/// Clusters of patch tokens, in colors on the pictures' grid.
pub(super) fn clusters(
    shown: &Shown,
    encoder: &EncoderModel,
    size: Size,
    normalisation: Normalisation,
) -> Result<Option<Figure>, RunError> {
    let images = pictures(shown, CLUSTERED)?;
    if images.is_empty() {
        return Ok(None);
    }
    let look = look(encoder, &images, size, normalisation)?;
    let (_, n, width) = look.patches.dims3().map_err(|error| unexpected(&error))?;
    let tokens: Vec<f32> =
        look.patches.flatten_all().and_then(|all| all.to_vec1()).map_err(|error| unexpected(&error))?;
    let rng = Rng::new(Key { seed: 0, stream: Stream::Statistics, epoch: 0, draw: 0, view: 1 });
    let clusters = kmeans(&tokens, width, CLUSTERS, rng);
    let mut grid = Grid::new(2, images.len(), size);
    for (column, (image, of)) in images.iter().zip(clusters.chunks_exact(n)).enumerate() {
        grid.put(0, column, image, Frame::None);
        let colors = of.iter().flat_map(|&cluster| OKABE_ITO[cluster as usize % CLUSTERS]).collect();
        grid.put_map(1, column, &Image::new(look.grid.0, look.grid.1, colors));
    }
    let caption = format!(
        "{}: pictures of {} people above, below the cluster that each patch's token is in ({CLUSTERS} clusters by k-means, of \
         the tokens of all these pictures): one color for parts that look alike to the encoder. From {}.",
        shown.name,
        images.len(),
        shown.encoder_basis()
    );
    let alt = format!("Clusters of the patch tokens of {}", shown.name);
    Ok(Some(super::figure(&format!("patches-{}", shown.id), &grid.finish(), alt, caption)))
}

fn unexpected(error: &candle_core::Error) -> RunError {
    RunError::Unexpected(error.to_string())
}

//! What the loader makes of a draw: [`ViewPlan`] in, [`ViewBatch`] out.

use crate::spec::{ErasingSpec, Filter, Normalisation, PhotometricSpec, Size};

/// The views of one draw. Views of equal size form one group of the batch, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewPlan {
    /// One entry per view; with none, no picture is read, and a batch has indices and labels alone.
    pub views: Vec<ViewSpec>,
    /// Probability that the whole picture is mirrored before any view is cut, one decision for all
    /// views of a draw. Zero draws nothing.
    pub shared_flip: f64,
}

impl ViewPlan {
    /// The one view of evaluation: the whole picture, bilinear, nothing random (`TransReID`'s test
    /// transform).
    pub fn evaluation(size: Size, normalisation: Normalisation) -> Self {
        Self { views: vec![ViewSpec::whole(size, normalisation)], shared_flip: 0.0 }
    }

    /// Views of equal size, in order of the first of each: the groups of a batch.
    pub fn groups(&self) -> Vec<(Size, Vec<usize>)> {
        let mut groups: Vec<(Size, Vec<usize>)> = Vec::new();
        for (view, spec) in self.views.iter().enumerate() {
            match groups.iter_mut().find(|(size, _)| *size == spec.size) {
                Some((_, views)) => views.push(view),
                None => groups.push((spec.size, vec![view])),
            }
        }
        groups
    }
}

impl ViewSpec {
    /// The whole picture at a size, bilinear, nothing random.
    pub fn whole(size: Size, normalisation: Normalisation) -> Self {
        Self {
            size,
            crop: Crop::Full,
            filter: Filter::Bilinear,
            flip: 0.0,
            photometric: PhotometricSpec::default(),
            normalisation,
            erasing: None,
        }
    }
}

/// How one view is made of a picture: cut, resize, mirror, change colors and sharpness, normalise, erase,
/// in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    /// Height and width of the view.
    pub size: Size,
    /// Which part of the picture.
    pub crop: Crop,
    /// Resampling.
    pub filter: Filter,
    /// Probability that this view alone is mirrored.
    pub flip: f64,
    /// Changes of color and sharpness, this view's own.
    pub photometric: PhotometricSpec,
    /// Channel statistics.
    pub normalisation: Normalisation,
    /// Random erasing, if any.
    pub erasing: Option<ErasingSpec>,
}

/// Which part of a picture a view shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// All of it.
    Full,
    /// Resize to the view's size, pad with black on every side, cut a random window of the view's
    /// size (the supervised protocols' crop).
    PadCrop {
        /// Pixels on each side.
        pad: usize,
    },
    /// Random-resized crop as torchvision draws it: uniform area share, log-uniform aspect
    /// (width / height), ten tries, then a centred fall-back.
    RandomResized {
        /// Smallest and largest share of the picture's area.
        scale: [f64; 2],
        /// Smallest and largest width / height.
        ratio: [f64; 2],
    },
    /// The very window that an earlier view of the same draw shows, mirrored as that one is.
    SameAs {
        /// Index of that view in [`ViewPlan::views`].
        view: usize,
    },
}

/// Window of a view in the picture, in pixels of the picture (after the shared mirroring).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// First row.
    pub top: f32,
    /// First column.
    pub left: f32,
    /// Rows.
    pub height: f32,
    /// Columns.
    pub width: f32,
}

/// Views of equal size of all draws of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewGroup {
    /// Height and width.
    pub size: Size,
    /// Indices into [`ViewPlan::views`], in the order in which they lie in `pixels`.
    pub views: Vec<usize>,
    /// `[v, b, 3, h, w]`, normalised, view outermost.
    pub pixels: Vec<f32>,
    /// `[v, b]`, the window each view was cut from.
    pub windows: Vec<Window>,
}

/// One training or evaluation batch on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewBatch {
    /// Groups in order of their first view.
    pub groups: Vec<ViewGroup>,
    /// `[b]`, position of each sample in the epoch's plan; the key of its random numbers.
    pub draws: Vec<u32>,
    /// `[b]`, index of each picture in its split.
    pub images: Vec<u32>,
    /// `[b]`, training label of each sample; 0 where the plan has no labels.
    pub labels: Vec<u32>,
    /// `[b]`, camera of each sample.
    pub cameras: Vec<u32>,
}

impl ViewBatch {
    /// Samples in the batch.
    pub fn len(&self) -> usize {
        self.draws.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.draws.is_empty()
    }

    /// The group that holds a view, and the view's place in it.
    ///
    /// # Panics
    /// If no group holds it: the objective and its plan disagree, which is our bug.
    pub fn find(&self, view: usize) -> (&ViewGroup, usize) {
        self.groups
            .iter()
            .find_map(|group| group.views.iter().position(|&v| v == view).map(|at| (group, at)))
            .unwrap_or_else(|| panic!("view {view} is in no group of the batch"))
    }
}

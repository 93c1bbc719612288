//! The data as tasks and protocols see them.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use reid_data::dataset::{Record, Split};
use reid_data::loader::{Loader, LoaderSettings, Tail};
use reid_data::sampler;
use reid_data::spec::Size;
use reid_data::views::ViewPlan;
use reid_objectives::TaskError;
use reid_objectives::task::{Embed, Features, Services};

use super::OpenData;
use crate::signals::Interrupt;

/// Services over one opened data set.
pub struct DataServices {
    /// The data.
    pub data: Arc<OpenData>,
    /// Loader threads.
    pub workers: usize,
    /// Where features are computed.
    pub device: Device,
    /// Ends an extraction between two batches.
    pub interrupt: Interrupt,
}

impl DataServices {
    /// [`Services::extract`] of the first batches only.
    ///
    /// # Errors
    /// If a picture cannot be read or the model fails.
    pub fn extract_some(
        &self,
        split: Split,
        views: &ViewPlan,
        batch: usize,
        model: &dyn Embed,
        batches: usize,
    ) -> reid_objectives::Result<Features> {
        let plan = Arc::new(sampler::sequential(self.records(split), batch));
        let settings =
            LoaderSettings { seed: 0, epoch: 0, start: 0, tail: Tail::Keep, workers: self.workers, queue: 2 };
        let loader = Loader::new(self.data.pictures(split)?, plan, Arc::new(views.clone()), settings)?;
        let mut features = Features { values: Vec::new(), width: 0, records: Vec::new() };
        for batch in loader.into_iter().take(batches) {
            if self.interrupt.requested() {
                return Err(TaskError::Interrupted);
            }
            let batch = batch?;
            let group = &batch.groups[0];
            let Size(h, w) = group.size;
            let images = Tensor::from_slice(&group.pixels, (batch.len(), 3, h, w), &self.device)?;
            let embedded = model.embed(&images, &batch.cameras)?; // [b, d]
            if features.width == 0 {
                features.width = embedded.dim(1)?;
                let rows = self.records(split).len().min(batches.saturating_mul(batch.len()));
                features.values.reserve_exact(rows * features.width);
            }
            features.values.extend(embedded.flatten_all()?.to_vec1::<f32>()?);
            features.records.extend(&batch.images);
        }
        Ok(features)
    }
}

impl Services for DataServices {
    fn records(&self, split: Split) -> &[Record] {
        self.data.dataset.split(split)
    }

    fn extract(
        &self,
        split: Split,
        views: &ViewPlan,
        batch: usize,
        model: &dyn Embed,
    ) -> reid_objectives::Result<Features> {
        self.extract_some(split, views, batch, model, usize::MAX)
    }
}

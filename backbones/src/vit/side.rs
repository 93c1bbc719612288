//! Side information: an embedding of the camera or the view that a picture comes from, added to every token
//! (TransReID, He et al., arXiv 2102.04378, section 3.4).

use candle_core::Tensor;

use crate::error::Result;
use crate::init::{Init, InitSource};
use crate::params::{ModuleId, ParamDef, ParamStore, Params, Role};

/// What a row of the table stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// A camera.
    Cameras(usize),
    /// A view, such as the front.
    Views(usize),
    /// A camera and a view, in this order: the views of a camera follow each other.
    Both(usize, usize),
}

/// A row for each camera, each view, or each pair of them.
#[derive(Clone, Debug)]
pub struct SideEmbedding {
    table: ModuleId,
    sides: Sides,
    weight: f64,
}

impl SideEmbedding {
    /// Defines `sie_embed`. `weight` is what rows are multiplied with: 3 in TransReID's best settings.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        sides: Sides,
        width: usize,
        weight: f64,
        prefix: &str,
        store: &mut ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        let rows = match sides {
            Sides::Cameras(rows) | Sides::Views(rows) => rows,
            Sides::Both(cameras, views) => cameras * views,
        };
        let init = Init::TruncNormal(super::INIT_STD);
        let def = ParamDef { name: "", shape: vec![rows, 1, width], role: Role::Token, init };
        let table = store.add(&format!("{prefix}sie_embed"), 0, &[def], source)?;
        Ok(Self { table, sides, weight })
    }

    /// What [`crate::Input::side`] takes: a row for each picture's camera and view; the one that the table does
    /// not know is not read.
    ///
    /// # Shapes
    /// - output: `[b, d]`
    ///
    /// # Errors
    /// If a camera or a view is beyond the table.
    pub fn forward(&self, params: &Params, pictures: &[(u32, u32)]) -> Result<Tensor> {
        let row = |&(camera, view): &(u32, u32)| {
            let (camera, view) = (camera as usize, view as usize);
            let (row, fits) = match self.sides {
                Sides::Cameras(cameras) => (camera, camera < cameras),
                Sides::Views(views) => (view, view < views),
                Sides::Both(cameras, views) => (camera * views + view, camera < cameras && view < views),
            };
            let problem = || format!("camera {camera}, view {view} of an embedding of {:?}", self.sides);
            if fits { Ok(row as u32) } else { Err(candle_core::Error::Msg(problem())) }
        };
        let rows = pictures.iter().map(row).collect::<candle_core::Result<Vec<u32>>>()?;
        let table = params.tensor(self.table)?.squeeze(1)?; // [rows, d]
        let index = Tensor::from_vec(rows, pictures.len(), table.device())?;
        Ok((table.index_select(&index, 0)? * self.weight)?)
    }
}

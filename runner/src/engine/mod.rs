//! From resolved runs to committed stages and result rows.

mod checkpoint;
mod datasets;
mod execute;
mod plan;
mod record;
mod services;
mod train;

pub use datasets::{Datasets, OpenData};
pub use execute::{Engine, Summary};
pub use plan::{Plan, RunPlan, StageDef, StageKind};
pub use services::DataServices;

//! From resolved runs to committed stages and result rows.

mod build;
mod calibrate;
mod checkpoint;
mod course;
mod datasets;
mod deaths;
mod execute;
mod export;
pub mod footprint;
mod health;
mod imports;
mod live;
mod machine;
mod models;
mod plan;
mod pretrained;
mod record;
mod saver;
mod science;
mod services;
mod snapshots;
mod train;
mod window;
mod work;

pub use calibrate::calibrate;
pub use datasets::{Datasets, OpenData};
pub use execute::{Engine, Summary};
pub use export::{Exported, exported};
pub use imports::Imports;
pub use live::Standing;
pub use machine::Machine;
pub use models::RunModel;
pub use plan::{Plan, RunPlan, StageDef, StageKind};
pub use pretrained::Pretrained;
pub use services::DataServices;
pub use snapshots::Snapshots;

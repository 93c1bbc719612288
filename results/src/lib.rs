//! Result rows in, Parquet files and tables out.
//!
//! Every finished or failed run becomes three immutable Parquet files ([`write_run`]); every reader of results
//! goes through [`read`], which checks the schema version of each file before it looks at a column. From the
//! rows, [`tabulate`] makes a [`Table`] (mean ± std over seeds, significance, footers), which is plain data, and
//! [`export`] turns that into terminal text, Markdown, CSV, LaTeX, JSON or Parquet; [`report`] puts it on a page
//! with charts.
//!
//! What this crate is *not*: it computes no metric and runs nothing; it knows no tensor, no spec and no other
//! crate of the workspace. Only this crate knows Parquet and polars.
//!
//! ```no_run
//! use reid_results::{TableOptions, export, read, tabulate};
//!
//! let options = TableOptions::default();
//! let frames = read(std::path::Path::new("runs/results"))?;
//! let text = export(&tabulate(&frames, &options)?, &options)?;
//! # Ok::<(), reid_results::ResultsError>(())
//! ```

pub mod aggregate;
mod checksum;
pub mod compare;
mod decode;
mod encode;
mod error;
mod export;
pub mod features;
pub mod format;
mod index;
pub mod migrations;
mod queries;
mod reader;
pub mod report;
mod row;
pub mod schema;
pub mod significance;
mod steps;
mod table;
mod writer;

pub use error::{Result, ResultsError};
pub use export::export;
pub use queries::SettingRuns;
pub use reader::{Frames, read, read_and_index};
pub use row::{QueryRow, RunRow, Scalar, Status, StepRow};
pub use table::{
    CellForm, ChooseOn, Condition, Costs, Field, Format, Table, TableColumn, TableOptions, TableRow, tabulate,
};
pub use writer::write_run;

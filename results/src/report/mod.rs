//! The report of an experiment: charts of its result rows, and the page that shows them beside the table.
//!
//! Charts are plain data until they are drawn, so that what is drawn, what stands in the tables below and what is
//! exported as CSV are the same numbers. They are made of the same rows as the table, by the same rules: failed runs
//! enter none, and settings that differ are never pooled. Pictures are made elsewhere and handed to the page encoded.
//!
//! The page is one file. It loads nothing, runs nothing, and tells the browser to allow neither.

mod about;
mod chart;
mod cmc;
mod epochs;
mod files;
mod hidden;
mod learning;
mod marks;
mod names;
mod page;
mod parts;
mod settings;
mod svg;
mod swept;
mod track;

use crate::Result;
use crate::reader::Frames;
use crate::table::TableOptions;

pub use chart::{Axis, Chart, Point, Scale, Series, Theme};
pub use cmc::cmc;
pub use epochs::epochs;
pub use hidden::hidden;
pub use learning::learning;
pub use page::{Figure, Page, Picture, PictureSection};
pub use swept::swept;

/// All charts of the runs that the options select, in the order of the page.
///
/// # Errors
/// As [`crate::tabulate`]; [`crate::ResultsError::Unreadable`] and its like where step rows are damaged.
pub fn charts(frames: &Frames, options: &TableOptions) -> Result<Vec<Chart>> {
    let mut charts = swept(frames, options)?;
    charts.extend(epochs(frames, options)?);
    charts.extend(cmc(frames, options)?);
    charts.extend(hidden(frames, options)?);
    charts.extend(learning(frames, options)?);
    Ok(charts)
}

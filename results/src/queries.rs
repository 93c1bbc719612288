//! Query scores as rows, and runs by setting, for whoever knows no data frames.

use crate::compare::reference;
use crate::row::QueryRow;
use crate::table::{TableOptions, fields, select};
use crate::{Frames, Result, decode};

/// Finished runs that differ in their seeds only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRuns {
    /// As tables name the row.
    pub name: String,
    /// Ids of its finished runs, by seeds.
    pub runs: Vec<String>,
}

impl Frames {
    /// Scores of one run's queries of one set, in the order of the queries; none where they are not kept. The file is
    /// opened and checked here, not before.
    ///
    /// # Errors
    /// As [`crate::read`].
    pub fn query_scores(&self, run_id: &str, split: &str) -> Result<Vec<QueryRow>> {
        let frame = self.queries_of(std::iter::once(run_id.to_owned()))?;
        let row = |at: usize| {
            let int = |column| decode::int(&frame, column, at).unwrap_or_default();
            let float = |column| decode::float(&frame, column, at);
            let of = decode::text(&frame, "split", at)?;
            (of == split).then(|| QueryRow {
                split: of,
                query: int("query"),
                path: decode::text(&frame, "path", at).unwrap_or_default(),
                pid: int("pid"),
                camera: int("camera"),
                hidden: float("hidden"),
                ap: float("ap").unwrap_or(f64::NAN),
                inp: float("inp").unwrap_or(f64::NAN),
                first_hit: int("first_hit"),
                matches: int("matches"),
            })
        };
        Ok((0..frame.height()).filter_map(row).collect())
    }

    /// The settings that a table with these options would show, with their finished runs.
    ///
    /// # Errors
    /// As [`crate::tabulate`].
    pub fn settings(&self, options: &TableOptions) -> Result<Vec<SettingRuns>> {
        let runs = select::select(&self.runs, options)?.runs;
        let (shown, _) = fields::resolve(&runs, options)?;
        let finished = |row: &usize| decode::text(&runs, "status", *row).as_deref() == Some("ok");
        let of = |setting: reference::Setting| SettingRuns {
            runs: setting
                .rows
                .iter()
                .filter(|row| finished(row))
                .filter_map(|&row| decode::text(&runs, "run_id", row))
                .collect(),
            name: setting.name,
        };
        Ok(reference::settings(&runs, &shown, options).into_iter().map(of).collect())
    }
}

//! What must be said below a table, so that nobody reads more into it than it shows.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::DataFrame;

use super::{CHOICE_METRIC, CellForm, ChooseOn, Field, Grid, TableColumn, TableOptions, TableRow};
use super::{costs, difference, fields, text_at};
use crate::aggregate::{Group, Summary};
use crate::decode;
use crate::format::{self, Signs};
use crate::schema::{Direction, TUNED, Unit};
use crate::significance::{LEVEL, MIN_SEEDS, Verdict};

/// Rows with failures that are named one by one.
const NAMED_FAILURES: usize = 5;

/// Characters of a commit that are shown.
const COMMIT_DIGITS: usize = 7;

/// What the notes are drawn from.
pub(super) struct Notes<'a> {
    pub(super) runs: &'a DataFrame,
    pub(super) groups: &'a [Group],
    pub(super) grid: &'a Grid,
    pub(super) fields: &'a [Field],
    pub(super) over: Option<&'a Field>,
    pub(super) options: &'a TableOptions,
}

impl<'a> Notes<'a> {
    /// All notes, the gravest first; marks the rows that they speak of.
    pub(super) fn compose(&self, columns: &[TableColumn], rows: &mut [TableRow], superseded: usize) -> Vec<String> {
        let mut notes = Vec::new();
        if self.any_flag("synthetic") {
            notes.push("built-in synthetic data; does not rank methods on real images".to_owned());
        }
        notes.extend(self.failures());
        notes.extend(self.commits(rows));
        notes.extend(self.tuned());
        if !self.options.trials {
            notes.extend(self.choice(rows));
            notes.extend(self.significance(columns, rows));
        }
        notes.extend(difference::note(columns, self.options.against.as_deref()));
        notes.extend(seeds(rows));
        if columns.iter().any(|column| column.form == CellForm::Amount) {
            notes.push(costs::NOTE.to_owned());
        }
        if superseded > 0 {
            notes.push(format!("{superseded} older run(s) with the same setting and seeds left out"));
        }
        notes.extend(self.remarks());
        notes
    }

    fn rows(&self) -> std::ops::Range<usize> {
        0..self.runs.height()
    }

    fn any_flag(&self, column: &str) -> bool {
        self.rows().any(|row| decode::flag(self.runs, column, row) == Some(true))
    }

    fn label(&self, row: usize) -> String {
        fields::row_label(self.fields, &self.grid.rows[row])
    }

    /// Groups of the table with their row.
    fn cells(&self) -> impl Iterator<Item = (usize, usize, &'a Group)> {
        let (grid, groups) = (self.grid, self.groups);
        grid.cells.iter().map(move |(&(row, over), &index)| (row, over, &groups[index]))
    }

    fn failures(&self) -> Vec<String> {
        let failed: usize = self.groups.iter().map(|group| group.failed).sum();
        if failed == 0 {
            return Vec::new();
        }
        let mut notes = vec![format!(
            "{failed} of {} runs failed and enter no mean; a row of them is never called the best",
            self.runs.height()
        )];
        let with_failures: Vec<_> = self.cells().filter(|(_, _, group)| group.failed > 0).collect();
        for (row, _, group) in with_failures.iter().take(NAMED_FAILURES) {
            let first = group.rows.iter().find(|&&run| text_at(self.runs, "status", run).as_deref() != Some("ok"));
            let why = first.map_or_else(String::new, |&run| {
                let stage = text_at(self.runs, "failed_stage", run).map_or(String::new(), |stage| format!("{stage}: "));
                let error = text_at(self.runs, "error", run).unwrap_or_else(|| "no reason recorded".to_owned());
                format!(" ({stage}{error})")
            });
            notes.push(format!("failed: {} of {} runs of {}{why}", group.failed, group.rows.len(), self.label(*row)));
        }
        if with_failures.len() > NAMED_FAILURES {
            notes.push(format!("failed: runs of {} more rows", with_failures.len() - NAMED_FAILURES));
        }
        notes
    }

    /// Daggers for runs that another commit computed than asked for them, that another commit, device or instruction
    /// set computed than the newest run, or whose program or spec had uncommitted changes.
    fn commits(&self, rows: &mut [TableRow]) -> Vec<String> {
        let newest = self.rows().max_by_key(|&row| (decode::int(self.runs, "started_at", row), row));
        let reference = newest.and_then(|row| computed_commit(self.runs, row));
        let machine = newest.and_then(|row| computed_on(self.runs, row));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (row, _, group) in self.cells() {
            for &run in &group.rows {
                let mut reasons = self.commit_reasons(run, reference.as_deref());
                reasons.extend(self.machine_reason(run, machine.as_deref()));
                rows[row].dagger |= !reasons.is_empty();
                for reason in reasons {
                    *counts.entry(reason).or_default() += 1;
                }
            }
        }
        counts.into_iter().map(|(reason, count)| format!("† {reason} ({count} run(s))")).collect()
    }

    fn commit_reasons(&self, run: usize, reference: Option<&str>) -> Vec<String> {
        let mut reasons = Vec::new();
        let computed = computed_commit(self.runs, run);
        let asked = text_at(self.runs, "program_commit", run);
        let name = |commit: Option<&str>| commit.map_or("unknown".to_owned(), short);
        if computed != asked {
            reasons.push(format!(
                "computed at commit {}, asked for at {}",
                name(computed.as_deref()),
                name(asked.as_deref())
            ));
        } else if computed.as_deref() != reference {
            reasons.push(format!(
                "computed at commit {}, newest run at {}",
                name(computed.as_deref()),
                name(reference)
            ));
        }
        for (column, what) in [("program_dirty", "program"), ("spec_dirty", "spec")] {
            if decode::flag(self.runs, column, run) == Some(true) {
                reasons.push(format!("uncommitted changes to the {what}"));
            }
        }
        reasons
    }

    /// The same numbers are promised on one instruction set of one device only.
    fn machine_reason(&self, run: usize, reference: Option<&str>) -> Option<String> {
        let (own, reference) = (computed_on(self.runs, run)?, reference?);
        (own != reference).then(|| format!("computed on {own}, newest run on {reference}"))
    }

    /// The settings that trials on validation have chosen, row by row.
    fn tuned(&self) -> Vec<String> {
        if self.options.trials {
            return vec!["trials on validation; their test values choose nothing".to_owned()];
        }
        let mut notes: Vec<String> = Vec::new();
        let fields: Vec<&str> = decode::names(self.runs).into_iter().filter(|name| name.starts_with(TUNED)).collect();
        for (row, over, group) in self.cells() {
            let chosen = |field: &&str| {
                let values = group.rows.iter().filter_map(|&run| decode::scalar(self.runs, field, run));
                let values: BTreeSet<String> = values.map(|value| value.to_string()).collect();
                let values = values.into_iter().collect::<Vec<_>>().join(" or ");
                (!values.is_empty()).then(|| format!("{}={values}", fields::path_of(field)))
            };
            let chosen: Vec<String> = fields.iter().filter_map(chosen).collect();
            if !chosen.is_empty() {
                let scope = self.scope(over);
                notes.push(format!("tuned on validation: {}{scope}: {}", self.label(row), chosen.join(", ")));
            }
        }
        notes.dedup();
        notes
    }

    /// Which row validation picks, or that the table tempts to pick on test.
    fn choice(&self, rows: &mut [TableRow]) -> Vec<String> {
        if rows.len() < 2 {
            return Vec::new();
        }
        if self.options.choose_on == ChooseOn::Test {
            return vec!["the best row was picked on test".to_owned()];
        }
        let width = self.grid.overs.len();
        let rivals = |over: usize| self.cells().filter(|(_, at, _)| *at == over).count();
        let mut notes = Vec::new();
        if width > 1 && (0..width).any(|over| rivals(over) > 1) {
            for over in 0..width {
                notes.extend(self.pick(rows, |at| at == over));
            }
        } else {
            // One row per column: the sweep lies in the columns, and the choice is among them.
            notes.extend(self.pick(rows, |_| true));
        }
        if notes.is_empty() {
            notes.push("no validation metrics in these runs: the best row was picked on test".to_owned());
        }
        notes
    }

    /// The group with the best validation mean among those whose column group passes `among`.
    fn pick(&self, rows: &mut [TableRow], among: impl Fn(usize) -> bool) -> Option<String> {
        let mut best: Option<(f64, usize, usize, &[Summary])> = None;
        for (row, over, group) in self.cells().filter(|(_, over, _)| among(*over)) {
            let [.., validation, _] = group.summaries.as_slice() else { continue };
            let mean = validation.mean.filter(|mean| mean.is_finite());
            // Of equal means the upper row stays.
            if let Some(mean) = mean.filter(|mean| best.is_none_or(|(known, ..)| *mean > known)) {
                best = Some((mean, row, over, &group.summaries));
            }
        }
        let (_, row, over, [.., validation, test]) = best? else { return None };
        rows[row].chosen = true;
        let show = |summary: &Summary| format::cell(summary, Unit::Fraction, Signs::UNICODE);
        Some(format!(
            "validation {CHOICE_METRIC} picks {}{}: validation {}, test {}",
            self.label(row),
            self.scope(over),
            show(validation),
            show(test)
        ))
    }

    /// The value of the spread field that a column group stands for, behind a row's label.
    fn scope(&self, over: usize) -> String {
        match (self.over, &self.grid.overs[over]) {
            (Some(field), Some(value)) => format!(", {}={value}", field.short),
            _ => String::new(),
        }
    }

    fn significance(&self, columns: &[TableColumn], rows: &[TableRow]) -> Vec<String> {
        let mut notes = Vec::new();
        if columns.iter().any(|column| column.verdict.as_ref().is_some_and(|verdict| verdict.significant)) {
            notes.push(format!(
                "* best of its column: better than the runner-up at p < {LEVEL} (t test over seeds, Holm)"
            ));
        }
        let ranked = columns.iter().find_map(|column| {
            column.verdict.as_ref().filter(|verdict| !verdict.comparisons.is_empty()).map(|verdict| (column, verdict))
        });
        if let Some((column, verdict)) = ranked {
            notes.push(self.first_place(column, verdict, rows));
        }
        notes
    }

    /// How sure the first place of a column is.
    fn first_place(&self, column: &TableColumn, verdict: &Verdict, rows: &[TableRow]) -> String {
        debug_assert!(verdict.best < rows.len(), "a verdict names a row of its table");
        let runner_up = &verdict.comparisons[0];
        let side = match column.direction {
            Direction::Lower => "lowest",
            Direction::Higher | Direction::None => "highest",
        };
        let scope = match &column.over {
            Some((field, Some(value))) => format!(" at {}={value}", field.short),
            _ => String::new(),
        };
        let pair = format!(
            "{side} {}{scope}: {}, ahead of {}",
            column.title,
            self.label(verdict.best),
            self.label(runner_up.other)
        );
        match (runner_up.test, runner_up.p_holm) {
            (Some(_), _) if !verdict.testable => {
                format!("{pair}; not called better, which takes {MIN_SEEDS} paired seeds")
            }
            (Some(test), Some(p)) => {
                let tests = verdict.comparisons.iter().filter(|comparison| comparison.test.is_some()).count();
                let p = if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") };
                format!("{pair} with {p} ({}, Holm over {tests})", test.test.name())
            }
            _ => format!("{pair}; not tested (that takes two seeds whose results differ)"),
        }
    }

    /// Marks of runs, skipped pictures and unequal data.
    fn remarks(&self) -> Vec<String> {
        let mut marks: BTreeMap<String, usize> = BTreeMap::new();
        let mut prints: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in self.rows() {
            for mark in decode::texts(self.runs, "marks", row) {
                *marks.entry(mark).or_default() += 1;
            }
            let dataset = text_at(self.runs, "dataset", row).unwrap_or_default();
            prints.entry(dataset).or_default().extend(text_at(self.runs, "dataset_fingerprint", row));
        }
        let mut notes: Vec<String> = marks.into_iter().map(|(mark, count)| format!("{count} run(s): {mark}")).collect();
        let corrupt = self.rows().filter_map(|row| decode::int(self.runs, "corrupt_images", row)).max().unwrap_or(0);
        if corrupt > 0 {
            notes.push(format!("up to {corrupt} corrupt picture(s) skipped per run"));
        }
        for (dataset, prints) in prints {
            if prints.len() > 1 {
                notes.push(format!("`{dataset}` had {} different contents in these runs", prints.len()));
            }
        }
        notes
    }
}

/// What the counts in the cells mean.
fn seeds(rows: &[TableRow]) -> Option<String> {
    let cells = || rows.iter().flat_map(|row| &row.cells);
    if cells().any(|cell| cell.runs != cell.n) {
        let text = "mean ± std (pre-training seeds × downstream seeds); std is over pre-training seeds";
        return Some(text.to_owned());
    }
    cells().any(|cell| cell.std.is_some()).then(|| "mean ± sample std (seeds)".to_owned())
}

/// Commit that computed a run; the asking one when nothing else is recorded.
fn computed_commit(runs: &DataFrame, row: usize) -> Option<String> {
    text_at(runs, "computed_commit", row).or_else(|| text_at(runs, "program_commit", row))
}

/// Device and instruction set that computed a run; none of a failed run, which computed nothing that counts.
fn computed_on(runs: &DataFrame, row: usize) -> Option<String> {
    if text_at(runs, "status", row).as_deref() != Some("ok") {
        return None;
    }
    let parts = ["device", "instruction_set"].map(|column| text_at(runs, column, row).filter(|text| !text.is_empty()));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Distinct commits that computed the runs, sorted.
pub(super) fn computed_commits(runs: &DataFrame) -> Vec<String> {
    let commits: BTreeSet<String> = (0..runs.height()).filter_map(|row| computed_commit(runs, row)).collect();
    commits.into_iter().collect()
}

fn short(commit: &str) -> String {
    commit.chars().take(COMMIT_DIGITS).collect()
}

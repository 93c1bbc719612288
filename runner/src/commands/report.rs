//! `report`: one page that shows an experiment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reid_experiments::Experiment;
use reid_results::report::{Page, charts};
use reid_results::{Costs, RunRow, TableOptions, read_and_index, tabulate};

use super::chosen::store_of;
use super::run::listen;
use super::table::{choose_on, metrics, selected_plan};
use super::{Setup, count};
use crate::cli::{ReportArgs, SpecArgs};
use crate::engine::Machine;
use crate::exit::RunError;
use crate::progress::short_duration;
use crate::report::{Made, Materials, make};
use crate::store::atomic::write_atomic;
use crate::store::io_error;

pub(super) fn report(args: &ReportArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.spec.common)?;
    let store = store_of(&setup)?;
    let color = args.spec.common.machine.color;
    let experiment = setup.load(&args.spec.spec, &args.spec.overrides, color)?;
    let plan = selected_plan(&setup, &experiment, &store)?;
    let ids: BTreeSet<String> = plan.runs.iter().map(|run| run.id.clone()).collect();
    let options = TableOptions {
        runs: Some(ids.clone()),
        metrics: metrics(&experiment),
        choose_on: choose_on(&experiment),
        against: experiment.table.against.clone(),
        costs: Costs::WhereTheyDiffer,
        command: Some(format!("reid-run table {}", args.spec.spec.display())),
        ..TableOptions::default()
    };
    let frames = read_and_index(&store.results())?;
    let table = tabulate(&frames, &options)?;
    let mut charts = charts(&frames, &options)?;
    let mut made = Made::default();
    if !args.no_pictures {
        let machine = Machine::open(&setup.settings)?;
        let interrupt = listen()?;
        made = make(&Materials {
            store: &store,
            plan: &plan,
            frames: &frames,
            settings: &frames.settings(&options)?,
            against: options.against.as_deref(),
            machine: &machine,
            interrupt: &interrupt,
            progress: &setup.progress,
        })?;
    }
    charts.append(&mut made.charts);
    for note in &made.notes {
        setup.progress.warn(note);
    }
    let rows: Vec<RunRow> = frames.rows()?.into_iter().filter(|row| ids.contains(&row.run_id)).collect();
    let page = Page {
        title: experiment.name.clone(),
        facts: facts(&experiment, &args.spec, &rows, plan.runs.len(), &made.notes),
        spec_yaml: spec_text(&experiment)?,
        table,
        charts,
        pictures: made.sections,
    };
    let to = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("{}.html", experiment.name)));
    write_atomic(&to, page.html()?.as_bytes())?;
    let mut said = format!("report: {}", to.display());
    if !args.no_files {
        let folder = files_folder(&to);
        let files = page.files()?;
        fs::create_dir_all(&folder).map_err(io_error("making the folder of the report's files", &folder))?;
        for (name, bytes) in &files {
            write_atomic(&folder.join(name), bytes)?;
        }
        said = format!("{said}; {} in {}", count(files.len(), "file"), folder.display());
    }
    setup.progress.line(said);
    Ok(())
}

/// `report.html` has its files in `report_files`, as browsers name them.
fn files_folder(page: &Path) -> PathBuf {
    let stem = page.file_stem().map_or_else(|| "report".to_owned(), |stem| stem.to_string_lossy().into_owned());
    page.with_file_name(format!("{stem}_files"))
}

/// The spec as it was written.
fn spec_text(experiment: &Experiment) -> Result<String, RunError> {
    let path = &experiment.path;
    Ok(fs::read_to_string(path).map_err(io_error("reading the spec", path))?)
}

/// What was run, where, by which program, and what it has cost.
fn facts(
    experiment: &Experiment,
    asked: &SpecArgs,
    rows: &[RunRow],
    planned: usize,
    notes: &[String],
) -> Vec<(String, String)> {
    let distinct = |of: &dyn Fn(&RunRow) -> Option<String>| {
        let values: BTreeSet<String> = rows.iter().filter_map(of).collect();
        if values.is_empty() { "unknown".to_owned() } else { values.into_iter().collect::<Vec<_>>().join(", ") }
    };
    let failed = rows.iter().filter(|row| row.status == reid_results::Status::Failed).count();
    let mut facts = vec![("Spec".to_owned(), asked.spec.display().to_string())];
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    if !experiment.description.is_empty() {
        add("About", experiment.description.clone());
    }
    if !asked.overrides.is_empty() {
        add("Overrides", asked.overrides.join(" "));
    }
    add("Runs", format!("{} of {planned} finished, {failed} failed", rows.len() - failed));
    add("Commit that computed", distinct(&|row| row.computed_commit.clone().or_else(|| row.program_commit.clone())));
    add("Commit of the spec", distinct(&|row| row.spec_commit.clone()));
    add("Uncommitted changes", changes(rows));
    add("Program", distinct(&|row| Some(format!("reid-run {}", row.program_version))));
    add(
        "Data",
        distinct(&|row| {
            Some(format!("{} ({})", row.dataset, row.dataset_fingerprint.chars().take(12).collect::<String>()))
        }),
    );
    add("Evaluation", distinct(&|row| Some(row.protocol.clone())));
    add(
        "Machine",
        distinct(&|row| Some(format!("{}, {}, {}, {}", row.host, row.device, row.instruction_set, row.precision))),
    );
    add("Begun", span(rows));
    add("Cost", cost(rows));
    if !notes.is_empty() {
        add("Not shown", notes.join("; "));
    }
    facts
}

/// Which runs had uncommitted changes, by the hash of these.
fn changes(rows: &[RunRow]) -> String {
    let of = |what: &str, count: usize| (count > 0).then(|| format!("{what} of {}", count_runs(count)));
    let dirty = |flag: fn(&RunRow) -> Option<bool>| rows.iter().filter(|row| flag(row) == Some(true)).count();
    let hashes: BTreeSet<&str> = rows.iter().filter_map(|row| row.spec_diff_hash.as_deref()).collect();
    let parts: Vec<String> = [
        of("program", dirty(|row| row.program_dirty)),
        of("spec's repository", dirty(|row| row.spec_dirty)),
        (!hashes.is_empty()).then(|| format!("difference {}", hashes.into_iter().collect::<Vec<_>>().join(", "))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let is_unknown = rows.iter().all(|row| row.spec_dirty.is_none() && row.program_dirty.is_none());
    match parts.as_slice() {
        [] if is_unknown => "unknown".to_owned(),
        [] if rows.iter().any(|row| row.spec_dirty.is_none()) => "none that is known".to_owned(),
        [] => "none".to_owned(),
        parts => parts.join("; "),
    }
}

fn count_runs(number: usize) -> String {
    count(number, "run")
}

/// First and last beginning of a run, UTC.
fn span(rows: &[RunRow]) -> String {
    let at = |micros: i64| {
        jiff::Timestamp::from_microsecond(micros).map_or_else(|_| "unknown".to_owned(), |at| format!("{at:.0}"))
    };
    let first = rows.iter().map(|row| row.started_at).min();
    let last = rows.iter().map(|row| row.started_at).max();
    match (first, last) {
        (Some(first), Some(last)) if first != last => format!("{} to {}", at(first), at(last)),
        (Some(first), _) => at(first),
        _ => "never".to_owned(),
    }
}

/// Time of all trainings: a pre-training that runs share counts once, one on the source of an adaptation with each of them.
fn cost(rows: &[RunRow]) -> String {
    let mut stages: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    let mut rest = 0.0;
    for row in rows {
        let parts = [(&row.stage_pretrain, row.seconds_pretrain), (&row.stage_train, row.seconds_train)];
        let mut known = 0.0;
        for (key, seconds) in parts {
            if let (Some(key), Some(seconds)) = (key, seconds) {
                // Runs may take a stage's encoder at different epochs: the stage has gone on to the last of them.
                let whole: &mut f64 = stages.entry(key).or_default();
                *whole = whole.max(seconds);
                known += seconds;
            }
        }
        rest += (row.seconds - known).max(0.0);
    }
    let total = stages.values().sum::<f64>() + rest;
    let memory = rows.iter().filter_map(|row| row.peak_rss_bytes).max();
    let memory = memory.map_or(String::new(), |bytes| format!(", at most {} MiB of memory", bytes >> 20));
    format!(
        "{} of computing, pre-trainings that runs share counted once{memory}",
        short_duration(std::time::Duration::from_secs_f64(total))
    )
}

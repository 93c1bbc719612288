//! `table`, and the table at the end of a run.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use reid_experiments::{ChooseOn as SpecChooseOn, Experiment};
use reid_results::{ChooseOn, Costs, Format, TableOptions, export, read_and_index, tabulate};

use super::chosen::store_of;
use super::tune::{Chosen, Trials};
use super::{Setup, print, use_color};
use crate::cli::{Common, Cost, TableArgs, TableFormat};
use crate::engine::Plan;
use crate::exit::RunError;
use crate::store::Store;

/// The table at the end of a run.
pub(super) struct RunTable<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) ids: BTreeSet<String>,
    pub(super) common: &'a Common,
    pub(super) command: String,
}

pub(super) fn print_table(store: &Store, shown: &RunTable) -> Result<(), RunError> {
    let options = TableOptions {
        runs: Some(shown.ids.clone()),
        metrics: metrics(shown.experiment),
        choose_on: choose_on(shown.experiment),
        command: Some(shown.command.clone()),
        costs: Costs::WhereTheyDiffer,
        against: shown.experiment.table.against.clone(),
        ..terminal_options(shown.common)
    };
    let frames = read_and_index(&store.results())?;
    print(&export(&tabulate(&frames, &options)?, &options)?)
}

pub(super) fn table(args: &TableArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let store = store_of(&setup)?;
    let mut options = TableOptions {
        split: args.split.clone().unwrap_or_else(|| if args.trials { "validation" } else { "test" }.to_owned()),
        trials: args.trials,
        costs: match args.cost {
            Cost::Auto => Costs::WhereTheyDiffer,
            Cost::Always => Costs::Always,
            Cost::Never => Costs::Never,
        },
        experiment: args.experiment.clone(),
        ..terminal_options(&args.common)
    };
    if let Some(spec) = &args.spec {
        let experiment = setup.load(spec, &args.overrides, args.common.machine.color)?;
        options.runs = Some(shown_runs(&setup, &experiment, &store, args.trials)?);
        options.metrics = metrics(&experiment);
        options.choose_on = choose_on(&experiment);
        options.against = experiment.table.against.filter(|_| !args.trials);
    }
    if let Some(metrics) = &args.metrics {
        options.metrics.clone_from(metrics);
    }
    if args.against.is_some() {
        options.against.clone_from(&args.against);
    }
    options.conditions = args.conditions.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    options.rows.clone_from(&args.rows);
    options.cols.clone_from(&args.cols);
    // The program's name without its folder: the table shall not depend on where it is installed.
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    options.command = Some(std::iter::once("reid-run".to_owned()).chain(arguments).collect::<Vec<_>>().join(" "));
    options.format = match args.format {
        TableFormat::Table => Format::Terminal,
        TableFormat::Md => Format::Markdown,
        TableFormat::Csv => Format::Csv,
        TableFormat::Latex => Format::Latex,
        TableFormat::Json => Format::Json,
        TableFormat::Parquet => Format::Parquet,
    };
    let frames = read_and_index(&store.results())?;
    print(&export(&tabulate(&frames, &options)?, &options)?)
}

/// Ids of an experiment's runs, or of its trials.
pub(super) fn shown_runs(
    setup: &Setup,
    experiment: &Experiment,
    store: &Store,
    trials: bool,
) -> Result<BTreeSet<String>, RunError> {
    let plan = if trials {
        let tried = Trials::plan(experiment, &mut setup.datasets(experiment))?;
        let none = || RunError::NothingSelected("the spec has no trials; `tune` asks for them".to_owned());
        tried.ok_or_else(none)?.plan
    } else {
        selected_plan(setup, experiment, store)?
    };
    Ok(plan.runs.iter().map(|run| run.id.clone()).collect())
}

/// The runs of an experiment, with what its trials have chosen.
pub(super) fn selected_plan(setup: &Setup, experiment: &Experiment, store: &Store) -> Result<Plan, RunError> {
    let mut datasets = setup.datasets(experiment);
    let Some(tried) = Trials::plan(experiment, &mut datasets)? else { return Plan::new(experiment, &mut datasets) };
    let Chosen { experiment: chosen, undecided } = tried.choose(Some(store))?;
    if !undecided.is_empty() {
        return Err(RunError::NothingSelected(format!(
            "no settings are chosen yet for {}; run the spec, or look at what there is with `table --trials`",
            undecided.join(", ")
        )));
    }
    Plan::new(&chosen, &mut datasets)
}

pub(super) fn choose_on(experiment: &Experiment) -> ChooseOn {
    match experiment.table.choose_on {
        SpecChooseOn::Validation => ChooseOn::Validation,
        SpecChooseOn::Test => ChooseOn::Test,
    }
}

/// Width, color and characters of the terminal that stdout is; 80 columns where it is none.
pub(super) fn terminal_options(common: &Common) -> TableOptions {
    let terminal = std::io::stdout().is_terminal();
    let width =
        if terminal { console::Term::stdout().size_checked().map_or(80, |(_, width)| usize::from(width)) } else { 80 };
    let utf8 =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let ascii = terminal && utf8.is_some_and(|locale| !locale.to_lowercase().replace('-', "").contains("utf8"));
    TableOptions {
        width: Some(width),
        color: use_color(common.machine.color, terminal),
        ascii,
        ..TableOptions::default()
    }
}

pub(super) fn metrics(experiment: &Experiment) -> Vec<String> {
    experiment.table.metrics.clone()
}

//! `check` and `show`.

use super::{Setup, count, print, tune};
use crate::cli::SpecArgs;
use crate::engine::Imports;
use crate::exit::RunError;

/// Reads the spec, and the weights that it imports, and says what it asks for.
pub(super) fn check(args: &SpecArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let experiment = setup.load(&args.spec, &args.overrides, args.common.machine.color)?;
    for line in Imports::of(&experiment)?.describe() {
        setup.progress.line(line);
    }
    let points = experiment.runs.iter().map(|run| run.point).max().map_or(0, |last| last + 1);
    let (points, runs) = (count(points, "sweep point"), count(experiment.runs.len(), "run"));
    let trials = match (&experiment.tuning, experiment.trials()) {
        (Some(tuning), Some(trials)) => {
            format!(", after {}\n{}", count(trials.runs.len(), "trial run"), tune::describe(tuning))
        }
        _ => "\n".to_owned(),
    };
    print(format!("{}: ok, {points}, {runs}{trials}", experiment.name).as_bytes())
}

/// Prints each run's resolved spec as one YAML document. Where settings are to be chosen, these are the trials: the
/// runs that count are known when the trials are done.
pub(super) fn show(args: &SpecArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let experiment = setup.load(&args.spec, &args.overrides, args.common.machine.color)?;
    let shown = experiment.trials().unwrap_or(experiment);
    for run in &shown.runs {
        let trial = if run.trial.is_some() { " trial" } else { "" };
        let header = format!(
            "--- # {}{trial} pretrain seed {}, downstream seed {}\n",
            run.label, run.seeds.pretrain, run.seeds.downstream
        );
        print(header.as_bytes())?;
        print(run.to_yaml().as_bytes())?;
    }
    Ok(())
}

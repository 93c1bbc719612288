//! `check` and `show`.

use super::{Setup, count, print};
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
    print(format!("{}: ok, {points}, {runs}\n", experiment.name).as_bytes())
}

/// Prints each run's resolved spec as one YAML document.
pub(super) fn show(args: &SpecArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let experiment = setup.load(&args.spec, &args.overrides, args.common.machine.color)?;
    for run in &experiment.runs {
        let header = format!(
            "--- # {} pretrain seed {}, downstream seed {}\n",
            run.label, run.seeds.pretrain, run.seeds.downstream
        );
        print(header.as_bytes())?;
        print(run.to_yaml().as_bytes())?;
    }
    Ok(())
}

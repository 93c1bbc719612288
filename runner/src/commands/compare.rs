//! `compare`: settings against each other, query by query.

use reid_data::rng::{Key, Rng, Stream};
use reid_results::compare::{CompareOptions, compare, json, text};
use reid_results::{TableOptions, read_and_index};

use super::chosen::store_of;
use super::table::{shown_runs, terminal_options};
use super::{Setup, print};
use crate::cli::{CompareArgs, CompareFormat};
use crate::exit::RunError;

pub(super) fn run(args: &CompareArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let store = store_of(&setup)?;
    let mut table = TableOptions {
        split: args.split.clone(),
        experiment: args.experiment.clone(),
        ..terminal_options(&args.common)
    };
    if let Some(spec) = &args.spec {
        let experiment = setup.load(spec, &[], args.common.machine.color)?;
        table.runs = Some(shown_runs(&setup, &experiment, &store, false)?);
    }
    let options = CompareOptions {
        table,
        first: args.first.clone(),
        others: args.others.clone(),
        replicates: args.replicates,
        queries: args.queries,
    };
    let frames = read_and_index(&store.results())?;
    let draws = |replicate| {
        let mut rng = Rng::new(Key { seed: 0, stream: Stream::Statistics, epoch: 0, draw: replicate, view: 0 });
        move |bound| rng.below(bound)
    };
    let compared = compare(&frames, &options, draws)?;
    let shown = match args.format {
        CompareFormat::Table => text(&compared, &options),
        CompareFormat::Json => json(&compared, &options),
    };
    print(shown.as_bytes())
}

//! `export`: a run's encoder for other programs.

use super::Setup;
use super::chosen::{chosen, store_of};
use crate::cli::{After, ExportArgs};
use crate::engine::{StageKind, exported};
use crate::exit::RunError;
use crate::store::atomic::write_atomic;

pub(super) fn export(args: &ExportArgs) -> Result<(), RunError> {
    let ending = args.to.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !["safetensors", "onnx"].contains(&ending) {
        let text = "the ending of --to says what to write; use `.safetensors` or `.onnx`";
        return Err(RunError::Usage(format!("{text}: {}", args.to.display())));
    }
    let setup = Setup::new(&args.common)?;
    let store = store_of(&setup)?;
    let row = chosen(&setup, &store, &args.run, &args.overrides)?;
    let after = args.after.map(|after| match after {
        After::Pretrain => StageKind::Pretrain,
        After::Train => StageKind::Train,
    });
    let encoder = exported(&store, &row, after)?;
    let bytes = if ending == "onnx" { encoder.onnx()? } else { encoder.safetensors()? };
    write_atomic(&args.to, &bytes)?;
    let (id, bytes) = (&row.run_id, bytes.len());
    setup.progress.line(format_args!("{id}: {}, {bytes} bytes: {}", encoder.origin, args.to.display()));
    Ok(())
}

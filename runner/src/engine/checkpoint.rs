//! Everything a training needs to go on as if it had never stopped, in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use reid_backbones::optim::Optimizer;
use reid_data::plan::{Draw, EpochPlan};
use reid_objectives::task::{State, Task};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::exit::RunError;
use crate::store::io_error;

/// Name of the header entry that holds the position.
const HEADER: &str = "reid_run";
/// Name of the tensor that holds the epoch's draws.
const PLAN: &str = "plan";

/// Where a training stands, besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Epoch that is under way, from 0.
    pub(super) epoch: usize,
    /// Optimizer steps done in it.
    pub(super) in_epoch: usize,
    /// Optimizer steps done in all.
    pub(super) updates: usize,
    /// Optimizer steps of an epoch, fixed by the first one's plan.
    pub(super) per_epoch: usize,
    /// Pictures seen.
    pub(super) images: u64,
    /// Tokens that went through the trained encoder.
    pub(super) tokens: u64,
    /// Seconds of work so far, over all attempts.
    pub(super) seconds: f64,
    /// Seconds of them in which a step waited for its pictures.
    #[serde(default)]
    pub(super) waited: f64,
    /// Device class that computed it.
    pub(super) device: String,
    /// Instruction set that computed it.
    pub(super) instruction_set: String,
    /// Remarks that belong to the result, such as a resume on another instruction set.
    pub(super) marks: Vec<String>,
    /// Step metrics recorded so far; rows after a checkpoint are never lost or doubled.
    pub(super) records: Vec<Recorded>,
    /// Sums of the metrics since the last record.
    pub(super) window: Window,
    /// Numbers of the task's state.
    pub(super) scalars: BTreeMap<String, f64>,
    /// Batch size of the plan.
    pub(super) batch: usize,
    /// Optimizer steps done at the latest evaluation point.
    pub(super) evaluated: usize,
    /// What the training had spent at the end of each epoch whose encoder is kept.
    #[serde(default)]
    pub(super) kept: BTreeMap<usize, Spent>,
    /// A collapse that the latest step has shown, not yet told.
    #[serde(skip)]
    pub(super) collapse: Option<String>,
}

/// What a training has spent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spent {
    /// Pictures seen.
    pub(super) images: u64,
    /// Tokens that went through the trained encoder.
    pub(super) tokens: u64,
    /// Seconds of work, over all attempts.
    pub(super) seconds: f64,
}

/// A recorded value of a step metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) epoch: usize,
    pub(super) step: usize,
    pub(super) metric: String,
    pub(super) value: f64,
    /// Microseconds since 1970, UTC.
    pub(super) at: i64,
}

/// Sums of metrics over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) steps: usize,
    pub(super) sums: BTreeMap<String, f64>,
}

/// Writes a checkpoint to `path`.
pub(super) fn write(
    path: &Path,
    position: &Position,
    plan: &EpochPlan,
    task: &dyn Task,
    optimizer: &Optimizer,
) -> Result<(), RunError> {
    let mut tensors: Vec<(String, Tensor)> = task.trainable().buffers("param.").map_err(unexpected)?;
    let (moments, _steps) = optimizer.save(task.trainable()).map_err(unexpected)?;
    tensors.extend(moments);
    let State { tensors: state, scalars } = task.save().map_err(unexpected)?;
    tensors.extend(state.into_iter().map(|(name, tensor)| (format!("task.{name}"), tensor)));
    let draws: Vec<u32> = plan.draws.iter().flat_map(|draw| [draw.image, draw.label]).collect();
    tensors.push((PLAN.to_owned(), Tensor::from_vec(draws, (plan.draws.len(), 2), &Device::Cpu).map_err(unexpected)?));

    let position = Position { scalars, batch: plan.batch, ..position.clone() };
    let header = serde_json::to_string(&position).map_err(unexpected)?;
    let bytes: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, tensor)| raw(&tensor).map(|(dtype, bytes)| (name, dtype, tensor.dims().to_vec(), bytes)))
        .collect::<candle_core::Result<_>>()
        .map_err(unexpected)?;
    let views = bytes
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(unexpected)?;
    let metadata = HashMap::from([(HEADER.to_owned(), header)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(unexpected)?;
    std::fs::write(path, file).map_err(io_error("writing a checkpoint", path))?;
    Ok(())
}

/// Where the training of a checkpoint stands.
pub(super) fn position(path: &Path) -> Result<Position, RunError> {
    header(&std::fs::read(path).map_err(io_error("reading a checkpoint", path))?, path)
}

fn header(bytes: &[u8], path: &Path) -> Result<Position, RunError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(path, &e.to_string()))?;
    let header = header.metadata().as_ref().and_then(|metadata| metadata.get(HEADER));
    let header = header.ok_or_else(|| damaged(path, "no position"))?;
    serde_json::from_str(header).map_err(|e| damaged(path, &e.to_string()))
}

fn damaged(path: &Path, reason: &str) -> RunError {
    RunError::Unexpected(format!("checkpoint cannot be used ({reason}); delete it and run again: {}", path.display()))
}

/// Restores a checkpoint; the optimizer and the task must be freshly built for the same stage.
pub(super) fn read(
    path: &Path,
    task: &mut dyn Task,
    optimizer: &mut Optimizer,
) -> Result<(Position, EpochPlan), RunError> {
    let bytes = std::fs::read(path).map_err(io_error("reading a checkpoint", path))?;
    let damaged = |reason: String| damaged(path, &reason);
    let position = header(&bytes, path)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| damaged(e.to_string()))?;
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();

    let draws: Vec<Vec<u32>> = tensors
        .get(PLAN)
        .ok_or_else(|| damaged("no plan".to_owned()))
        .and_then(|plan| plan.to_vec2().map_err(|e| damaged(e.to_string())))?;
    let draws = draws.iter().map(|pair| Draw { image: pair[0], label: pair[1] }).collect();
    task.trainable().restore("param.", &tensors).map_err(|e| damaged(e.to_string()))?;
    optimizer.load(task.trainable(), &tensors, position.updates as u64).map_err(|e| damaged(e.to_string()))?;
    let strip = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix("task.")?.to_owned(), tensor.clone()));
    let state = State { tensors: tensors.iter().filter_map(strip).collect(), scalars: position.scalars.clone() };
    task.load(&state).map_err(|e| damaged(e.to_string()))?;
    let plan = EpochPlan { draws, batch: position.batch };
    Ok((position, plan))
}

/// Little-endian bytes of a tensor.
fn raw(tensor: &Tensor) -> candle_core::Result<(Dtype, Vec<u8>)> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => (Dtype::F32, flat.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::F64 => (Dtype::F64, flat.to_vec1::<f64>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::U32 => (Dtype::U32, flat.to_vec1::<u32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::I64 => (Dtype::I64, flat.to_vec1::<i64>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::U8 => (Dtype::U8, flat.to_vec1::<u8>()?),
        other => candle_core::bail!("checkpoints hold no {other:?} tensors"),
    })
}

fn unexpected(error: impl std::fmt::Display) -> RunError {
    RunError::Unexpected(format!("writing a checkpoint: {error}"))
}

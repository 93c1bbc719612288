//! Pure functions below the objectives and protocols: ranking, distances, schedules, masks
//! and patches. Nothing here holds state, draws from a hidden generator or touches the disk.

pub mod distance;
pub mod expansion;
pub mod footprint;
pub mod kmeans;
pub mod mask;
pub mod neighbours;
pub mod patch;
pub mod principal;
pub mod ranking;
pub mod reciprocal;
pub mod rerank;
pub mod schedule;
pub mod spectrum;
pub mod verification;

//! The spec language: YAML text in, resolved experiments out. The only crate that knows YAML.
//!
//! A file says what differs from what it extends and from the defaults of the spec types:
//!
//! ```yaml
//! extends: base.yaml
//! backbone: {vit: {size: micro, image: [64, 32], patch: 8}}
//! pretrain:
//!   objective: mae                                    # a preset, or a choice by its name
//!   train: {epochs: 50, batch: 64}
//! protocol: {supervised: {train: {epochs: 20}}}       # a choice with fields: a map with one key
//! seeds: [0, 1, 2]
//! sweep:
//!   list:
//!     - pretrain.objective: none
//!     - grid: {pretrain.objective.mae.mask_ratio: [0.5, 0.75]}
//! ```
//!
//! [`load`] gives an [`Experiment`], or all mistakes at once as [`Issues`], each with its place. The steps:
//! files to trees with places (`yaml`, `files`), layers to one tree by figment (`layers`), a walk against
//! the schema of the spec types (`shape`, `validate`), sweep points (`sweep`), presets and defaults written
//! out (`resolve`), rules between fields (`check`), and what every point tries before it runs (`tune`).
//!
//! Invariant: what passes the walk extracts; a failure there is a mistake of this crate.

mod canonical;
mod check;
pub mod diagnostic;
mod experiment;
mod files;
mod layers;
pub mod limits;
mod load;
pub mod neutral;
mod node;
mod overrides;
mod presets;
mod resolve;
mod schema;
mod seeds;
pub mod settings;
mod shape;
pub mod source;
pub mod spec;
mod suggest;
mod sweep;
pub mod tune;
mod validate;
mod written;
mod yaml;

pub use canonical::{canonical, stage_hash, stage_hash_without};
pub use diagnostic::{Issue, Issues};
pub use experiment::{Experiment, ResolvedRun};
pub use load::load;
pub use presets::{PRESETS, Preset};
pub use schema::schema;
pub use written::{ChooseOn, TableSpec};

//! The program from end to end: what a user types, sees and finds on disk.

mod budgets;
mod by_epoch;
mod comparing;
mod curves;
mod determinism;
mod domains;
mod failures;
mod first_run;
mod frozen;
mod interruptions;
mod isa;
mod jobs;
mod keys;
mod market;
mod models;
mod program;
mod repository;
mod resized;
mod store_verbs;
mod tensorboard;
mod terminal;
mod tuning;
mod usl;
mod watch;
mod weights;

/// A small whole spec: less than a second of work for each run.
const TINY: &str = "\
name: tiny
data: {synthetic: {size: [32, 16], train_identities: 6, validation_identities: 2, test_identities: 6,
                   images_per_identity: 4, cameras: 2}}
backbone: {vit: {size: micro, image: [32, 16], patch: 8, drop_path: 0.1}}
pretrain:
  objective: {person_mae: {pixel_decoder: {depth: 1, width: 32, heads: 1},
                           feature_decoder: {depth: 1, width: 32, heads: 1}}}
  train: {epochs: 1, batch: 16, lr: 1.0e-3, lr_scaling: none}
protocol:
  supervised:
    train: {epochs: 2, batch: 8, lr: 0.01, schedule: {warmup_cosine: {}}}
    identities_per_batch: 4
    augment: {pad: 2}
";

/// The same pictures without any training: a run is one evaluation.
const UNTRAINED: &str = "\
name: untrained
data: {synthetic: {size: [32, 16], train_identities: 6, validation_identities: 2, test_identities: 6,
                   images_per_identity: 4, cameras: 2}}
backbone: {vit: {size: micro, image: [32, 16], patch: 8}}
pretrain: {objective: none}
protocol: frozen
";

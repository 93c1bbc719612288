//! Every test against reference numbers; `cargo golden` runs exactly these.

mod augment;
mod losses;
mod mae;
mod metrics;
mod optimisers;
mod schedules;
mod vit;

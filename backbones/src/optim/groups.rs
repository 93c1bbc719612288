//! Which parameters share a learning rate and a weight decay.

use super::spec::{DecayRule, OptimSpec};
use crate::params::{Entry, Module, ParamStore, Role};

/// Rate and decay of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Multiplies the base rate before the schedule (TransReID's doubled bias rate).
    pub multiplier: f64,
    /// Multiplies the scheduled rate (layer decay).
    pub scale: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// A run of a module's buffer with one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// First element.
    pub start: usize,
    /// One past the last.
    pub end: usize,
    /// Rate and decay.
    pub group: Group,
}

/// Segments of every module, in the store's order.
pub fn groups(spec: &OptimSpec, store: &ParamStore) -> Vec<Vec<Segment>> {
    let (weight_decay, rule, bias_lr, layer_decay) = match spec {
        OptimSpec::Adamw(s) => (s.weight_decay, s.decay, 1.0, s.layer_decay),
        OptimSpec::Adam(s) => (s.weight_decay, s.decay, s.bias_lr, s.layer_decay),
        OptimSpec::Sgd(s) => (s.weight_decay, s.decay, s.bias_lr, s.layer_decay),
    };
    let head = store.modules().iter().map(|module| module.layer).max().unwrap_or(0);
    let group = |module: &Module, entry: &Entry| Group {
        multiplier: if entry.role == Role::Bias { bias_lr } else { 1.0 },
        scale: layer_decay.powi((head - module.layer) as i32),
        weight_decay: if decays(rule, entry) { weight_decay } else { 0.0 },
    };
    let segments = |module: &Module| {
        let segment = |entry: &Entry| Segment {
            start: entry.offset,
            end: entry.offset + entry.len(),
            group: group(module, entry),
        };
        module.entries.iter().map(segment).collect()
    };
    store.modules().iter().map(segments).collect()
}

fn decays(rule: DecayRule, entry: &Entry) -> bool {
    match rule {
        DecayRule::All => entry.role != Role::Statistic,
        DecayRule::Matrices => entry.role == Role::Weight,
        DecayRule::NotVectors => entry.role != Role::Bias && entry.shape.len() > 1,
    }
}

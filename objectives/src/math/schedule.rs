//! Learning rates, ramps and momenta as functions of the step; all in f64, all without state.

use std::f64::consts::PI;

use reid_backbones::optim::spec::{DecayCourse, OptimSpec};

use crate::spec::{
    DinoCosine, Duration, Momentum, ScheduleSpec, StepAt, TemperatureSpec, TransreidCosine, WarmupCosine, WarmupSteps,
};

/// Length of a training run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunLength {
    /// Optimizer steps, at least 1.
    pub steps: usize,
    /// Epochs, above 0; a budget may end inside one.
    pub epochs: f64,
}

impl RunLength {
    /// A duration in optimizer steps of this run.
    pub fn steps_of(self, duration: Duration) -> f64 {
        duration.in_steps(self.steps, self.epochs)
    }
}

/// Learning rate of one parameter group at optimizer step `step` (from 0).
///
/// `base` is the peak rate after scaling, `multiplier` the group's own factor. A warm-up start or a
/// floor that a schedule gives in absolute numbers is common to all groups.
pub fn learning_rate(spec: &ScheduleSpec, base: f64, multiplier: f64, step: usize, run: RunLength) -> f64 {
    match spec {
        ScheduleSpec::WarmupCosine(spec) => base * multiplier * warmup_cosine(*spec, step, run),
        ScheduleSpec::DinoCosine(spec) => dino_cosine(*spec, base, multiplier, step, run),
        ScheduleSpec::Steps(spec) => {
            let drops = (step as f64 / run.steps_of(spec.every).max(1.0)).floor();
            base * multiplier * spec.factor.powf(drops)
        }
        ScheduleSpec::WarmupSteps(spec) => base * multiplier * warmup_steps(*spec, step, run),
        ScheduleSpec::TransreidCosine(spec) => transreid_cosine(*spec, base, base * multiplier, step, run),
    }
}

/// Factor of the peak: linear from 0 over the warm-up, then half a cosine that would reach the floor
/// at step `run.steps`, one after the last.
fn warmup_cosine(spec: WarmupCosine, step: usize, run: RunLength) -> f64 {
    let (step, steps) = (step as f64, run.steps as f64);
    let warmup = run.steps_of(spec.warmup);
    if step < warmup {
        return step / warmup;
    }
    if step >= steps {
        return spec.floor;
    }
    let progress = (step - warmup) / (steps - warmup);
    spec.floor + (1.0 - spec.floor) * 0.5 * (1.0 + (PI * progress).cos())
}

/// DINO's rate: linear from the start to the peak over the warm-up's steps, both included, then half a cosine
/// over the remaining steps that would reach the floor one step after the last. Start and floor are absolute, and
/// common to all groups.
fn dino_cosine(spec: DinoCosine, base: f64, multiplier: f64, step: usize, run: RunLength) -> f64 {
    let warmup = run.steps_of(spec.warmup).round() as usize;
    let peak = base * multiplier;
    if step < warmup {
        // One step of warm-up is the start alone, as numpy's `linspace` has it.
        return spec.start + (peak - spec.start) * step as f64 / (warmup - 1).max(1) as f64;
    }
    half_cosine(peak, spec.floor, step - warmup, run.steps.saturating_sub(warmup))
}

/// `end + (start - end) / 2 (1 + cos(pi step / steps))`, and `end` from `steps` on.
pub fn half_cosine(start: f64, end: f64, step: usize, steps: usize) -> f64 {
    if step >= steps {
        return end;
    }
    end + 0.5 * (start - end) * (1.0 + (PI * step as f64 / steps as f64).cos())
}

/// Weight decay at optimizer step `step` (from 0), of a group whose decay starts at `start`.
pub fn weight_decay(optim: &OptimSpec, start: f64, step: usize, run: RunLength) -> f64 {
    match optim {
        OptimSpec::Adamw(spec) => match spec.decay_course {
            DecayCourse::Constant(_) => start,
            DecayCourse::Cosine(course) => half_cosine(start, course.end, step, run.steps),
        },
        OptimSpec::Adam(_) | OptimSpec::Sgd(_) => start,
    }
}

/// Momentum of a teacher after optimizer step `step` (from 0).
pub fn teacher_momentum(momentum: Momentum, step: usize, run: RunLength) -> f64 {
    match momentum {
        Momentum::Cosine(course) => half_cosine(course.start, course.end, step, run.steps),
        Momentum::HalfLife(half_life) => ema_momentum(half_life, run),
    }
}

/// Temperature in an epoch, as DINO's code has it: `held_for` epochs at the start, then linear from start to end
/// over the ramp's whole epochs, both ends included, then constant.
pub fn temperature(spec: TemperatureSpec, held_for: Duration, epoch: usize, run: RunLength) -> f64 {
    let per_epoch = run.steps as f64 / run.epochs;
    let epochs = |duration| (run.steps_of(duration) / per_epoch).round() as usize;
    let (held, ramp) = (epochs(held_for), epochs(spec.ramp));
    let at = epoch.saturating_sub(held);
    if epoch < held || (at < ramp && ramp == 1) {
        spec.start
    } else if at < ramp {
        spec.start + (spec.end - spec.start) * at as f64 / (ramp - 1) as f64
    } else {
        spec.end
    }
}

/// Factor of the peak, constant within an epoch: linear from the start over the warm-up's epochs, then a drop at each
/// milestone.
fn warmup_steps(spec: WarmupSteps, step: usize, run: RunLength) -> f64 {
    let per_step = run.epochs / run.steps.max(1) as f64;
    let epoch = (step as f64 * run.epochs / run.steps.max(1) as f64).floor();
    let epochs = |duration| (run.steps_of(duration) * per_step).round();
    let warmup = epochs(spec.warmup);
    let rise = if epoch < warmup { spec.warmup_start + (1.0 - spec.warmup_start) * epoch / warmup } else { 1.0 };
    let drops = spec.drops.into_iter().filter(|&at| epoch >= epochs(at)).count();
    rise * spec.factor.powi(drops as i32)
}

/// TransReID's rate. It is constant within an epoch; epoch `e` (from 1) uses `t = e - 1` where the scheduler is stepped
/// at the end of an epoch, `t = e` where at its start. The cosine is not shifted by the warm-up, so the rate drops a
/// little where the warm-up ends.
fn transreid_cosine(spec: TransreidCosine, base: f64, group: f64, step: usize, run: RunLength) -> f64 {
    let epochs = run.epochs;
    // Exact for whole epochs: products below 2^53 and their quotients never round up to the next epoch.
    let epoch = (step as f64 * epochs / run.steps.max(1) as f64).floor();
    let warmup = (run.steps_of(spec.warmup) * epochs / run.steps.max(1) as f64).round();
    let t = match spec.step_at {
        StepAt::End => epoch,
        StepAt::Start => epoch + 1.0,
    };
    let (start, floor) = (spec.warmup_start * base, spec.floor * base);
    if t < warmup {
        start + t * (group - start) / warmup
    } else if t < epochs {
        floor + 0.5 * (group - floor) * (1.0 + (PI * t / epochs).cos())
    } else {
        floor
    }
}

/// Linear ramp: `1 / n` at the first of `n` steps, 1 from the last of them on; 1 throughout where the
/// duration is below one step.
pub fn ramp(duration: Duration, step: usize, run: RunLength) -> f64 {
    let length = run.steps_of(duration);
    if length < 1.0 { 1.0 } else { ((step + 1) as f64 / length).min(1.0) }
}

/// Momentum of an exponential moving average in which a value's weight halves every `half_life`
/// steps: `0.5^(1 / half_life)`. A half-life of 0 copies the newest value.
pub fn ema_momentum(half_life: Duration, run: RunLength) -> f64 {
    let steps = run.steps_of(half_life);
    if steps <= 0.0 { 0.0 } else { 0.5_f64.powf(1.0 / steps) }
}

//! Axes as the drawing library sees them: how far they reach, where their ticks are, and what these are called.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::{Axis, Scale};

/// Steps that an axis is cut into, roughly.
const STEPS: f64 = 5.0;

/// Ticks of an axis at most.
const MOST_TICKS: usize = 12;

/// Share of its length that an axis reaches beyond its numbers.
const MARGIN: f64 = 0.05;

/// Characters of a category's name at a tick.
const LONGEST_NAME: usize = 20;

/// How numbers become places and texts.
#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// Equal steps; ticks with so many digits after the point.
    Linear(usize),
    /// Equal ratios.
    Log,
    /// Names.
    Names(Vec<String>),
}

/// An axis that numbers lie along.
#[derive(Clone, Debug)]
pub(super) struct Track {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    form: Form,
}

impl Track {
    /// The axis that shows all of these numbers.
    pub(super) fn new(axis: &Axis, numbers: impl Iterator<Item = f64>) -> Self {
        let numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match &axis.scale {
            Scale::Categories(names) => Self::names(names),
            Scale::Log if low > 0.0 && high.is_finite() => Self::log(low, high),
            Scale::Linear | Scale::Scatter | Scale::Log if numbers.is_empty() => Self::linear(0.0, 1.0),
            Scale::Linear | Scale::Scatter | Scale::Log => Self::linear(low, high),
        }
    }

    fn names(names: &[String]) -> Self {
        let count = names.len().max(1) as f64;
        let ticks = (0..names.len()).map(|at| at as f64).collect();
        let names = names.iter().map(|name| cut(name, LONGEST_NAME)).collect();
        Self { low: -0.5, high: count - 0.5, ticks, form: Form::Names(names) }
    }

    fn linear(least: f64, most: f64) -> Self {
        let (low, high) = padded(least, most);
        let (ticks, digits) = linear_ticks(low, high);
        Self { low, high, ticks, form: Form::Linear(digits) }
    }

    fn log(least: f64, most: f64) -> Self {
        let ratio = if most > least { (most / least).powf(MARGIN) } else { 2.0 };
        let (low, high) = (least / ratio, most * ratio);
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let ticks_of = |mantissas: &[i32], every: i32| -> Vec<f64> {
            let powers = (first..=last).filter(|power| power % every == 0);
            let numbers = powers.flat_map(|power| mantissas.iter().map(move |mantissa| decimal(*mantissa, power)));
            numbers.filter(|tick| (low..=high).contains(tick)).collect()
        };
        let fits = |ticks: &Vec<f64>| ticks.len() <= MOST_TICKS;
        let every = (last - first) / MOST_TICKS as i32 + 1;
        let fine = Some(ticks_of(&[1, 2, 5], 1)).filter(fits);
        let mut ticks = fine.unwrap_or_else(|| ticks_of(&[1], every));
        if ticks.len() < 2 {
            ticks = linear_ticks(low, high).0;
            ticks.retain(|tick| *tick > 0.0);
        }
        Self { low, high, ticks, form: Form::Log }
    }

    /// What stands at a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        match &self.form {
            Form::Linear(digits) if *digits > 6 || self.low.abs().max(self.high.abs()) >= 1e7 => format!("{tick:.2e}"),
            Form::Linear(digits) => format!("{tick:.digits$}", digits = *digits),
            Form::Log => super::chart::short(tick),
            Form::Names(names) => names.get(tick.round().max(0.0) as usize).cloned().unwrap_or_default(),
        }
    }

    /// A number as a distance.
    fn place(&self, number: f64) -> f64 {
        if self.form == Form::Log { number.log10() } else { number }
    }
}

impl Ranged for Track {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (low, high) = (self.place(self.low), self.place(self.high));
        let share = ((self.place(*value) - low) / (high - low)).clamp(0.0, 1.0);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    /// There is one kind of grid lines, at the ticks.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// Somewhat more than the numbers, but not below 0 where they are not; around a single number some space.
fn padded(least: f64, most: f64) -> (f64, f64) {
    let size = least.abs().max(most.abs());
    let width = most - least;
    let pad = if width > 1e-9 * size {
        MARGIN * width
    } else if size > 0.0 {
        0.1 * size
    } else {
        1.0
    };
    let low = if least >= 0.0 { (least - pad).max(0.0) } else { least - pad };
    (low, most + pad)
}

/// Multiples of 1, 2 or 5 times a power of ten between two numbers, and the digits that they need after the point.
fn linear_ticks(low: f64, high: f64) -> (Vec<f64>, usize) {
    let rough = (high - low) / STEPS;
    let power = rough.log10().floor() as i32;
    let steps = [(1, power), (2, power), (5, power), (1, power + 1)];
    let (mantissa, power) = steps.into_iter().find(|&(m, p)| decimal(m, p) >= rough).unwrap_or((1, power + 1));
    let step = decimal(mantissa, power);
    let first = (low / step).ceil();
    let ticks = (0..=MOST_TICKS).map(|at| (first + at as f64) * step);
    // A sum with 0 takes the sign off a negative 0.
    let ticks = ticks.take_while(|tick| *tick <= high).map(|tick| tick + 0.0).collect();
    (ticks, usize::try_from(-power).unwrap_or(0))
}

/// `mantissa` times ten to the `power`, rounded as if it were written down: products of powers are not.
fn decimal(mantissa: i32, power: i32) -> f64 {
    format!("{mantissa}e{power}").parse().unwrap_or(f64::NAN)
}

/// The first characters of a text, with `…` where it is longer.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

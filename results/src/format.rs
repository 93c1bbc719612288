//! How numbers are shown to people.
//!
//! The rule: `mean ± std (n)`; fractions in per cent, bytes in MiB. The digits after the point are chosen so that the standard
//! deviation shows its two leading significant digits, but at most as many as the unit's cap: per cent 2, plain
//! numbers 4, seconds 1, counts and MiB 0. With one seed there is no deviation to choose by: `mean (1)` has one
//! digit after the point in per cent, and the cap elsewhere. A deviation of exactly 0 shows the cap. The same
//! holds where the deviation is undefined. Amounts that were spent are shown as `61k` or `1.2T`.

use crate::aggregate::Summary;
use crate::schema::Unit;

/// Signs that differ between terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Between mean and deviation.
    pub plus_minus: &'static str,
    /// Between counts of nested seeds.
    pub times: &'static str,
    /// Not computed, or not applicable.
    pub missing: &'static str,
    /// Mark of rows whose commits need a look.
    pub dagger: &'static str,
}

impl Signs {
    /// For terminals and files in UTF-8.
    pub const UNICODE: Self = Self { plus_minus: "±", times: "×", missing: "—", dagger: "†" };
    /// For anything else.
    pub const ASCII: Self = Self { plus_minus: "+-", times: "x", missing: "-", dagger: "^" };

    /// Text of this program in these signs.
    pub fn translate(self, text: &str) -> String {
        let Self { plus_minus, times, missing, dagger } = self;
        text.replace('±', plus_minus).replace('×', times).replace('—', missing).replace('†', dagger)
    }
}

/// One cell: `mean ± std (n)`, `mean (1)`, `—` when not computed, `NaN` when undefined.
///
/// With several downstream seeds per pre-training seed both counts are shown: `(3×2)` when each pre-training seed
/// has two, `(3; 5)` for five runs over three when they are uneven.
pub fn cell(summary: &Summary, unit: Unit, signs: Signs) -> String {
    let Some(mean) = summary.mean else { return signs.missing.to_owned() };
    if mean.is_nan() {
        return "NaN".to_owned();
    }
    let count = match summary.n {
        n if summary.runs == n => format!("({n})"),
        n if summary.even => format!("({n}{}{})", signs.times, summary.runs / n),
        n => format!("({n}; {})", summary.runs),
    };
    let factor = scale(unit);
    match summary.std {
        None => format!("{} {count}", number(mean * factor, digits(unit, None))),
        Some(std) => {
            let digits = digits(unit, Some(std * factor));
            let (mean, std) = (number(mean * factor, digits), number(std * factor, digits));
            format!("{mean} {} {std} {count}", signs.plus_minus)
        }
    }
}

/// A difference: `+1.2 [-0.3, 2.7] (5)`, with digits for the width of its interval; without one `+1.2 (1)`.
pub fn difference(summary: &Summary, interval: Option<(f64, f64)>, unit: Unit, signs: Signs) -> String {
    let Some(mean) = summary.mean else { return signs.missing.to_owned() };
    let factor = scale(unit);
    let reach = interval.map(|(low, high)| 0.5 * (high - low) * factor);
    let digits = digits(unit, reach);
    let shown = number(mean * factor, digits);
    let sign = if mean > 0.0 { "+" } else { "" };
    let interval = interval.map_or(String::new(), |(low, high)| {
        format!(" [{}, {}]", number(low * factor, digits), number(high * factor, digits))
    });
    format!("{sign}{shown}{interval} ({})", summary.n)
}

/// An amount in few characters: two leading digits at least, and a sign for thousands, millions and so on.
pub fn amount(summary: &Summary, signs: Signs) -> String {
    const STEPS: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let Some(mean) = summary.mean else { return signs.missing.to_owned() };
    let (mut shown, mut step) = (mean, 0);
    // What rounds to four digits belongs to the next sign: 999.6 is 1.0k.
    while shown >= 999.5 && step + 1 < STEPS.len() {
        (shown, step) = (shown / 1000.0, step + 1);
    }
    let (sign, digits) = (STEPS[step], usize::from(shown < 9.95 && (step > 0 || shown.fract() != 0.0)));
    format!("{}{sign}", number(shown, digits))
}

/// Factor from stored to shown value.
pub(crate) fn scale(unit: Unit) -> f64 {
    match unit {
        Unit::Fraction => 100.0,
        Unit::Bytes => 1.0 / f64::from(1 << 20),
        Unit::Plain | Unit::Seconds | Unit::Count | Unit::Flops => 1.0,
    }
}

/// Digits after the point, by the module's rule. `std` is in shown units.
fn digits(unit: Unit, std: Option<f64>) -> usize {
    let cap = match unit {
        Unit::Fraction => 2,
        Unit::Plain => 4,
        Unit::Seconds => 1,
        Unit::Count | Unit::Bytes | Unit::Flops => 0,
    };
    match std {
        None if unit == Unit::Fraction => 1,
        Some(std) if std.is_finite() && std > 0.0 => usize::try_from(1 - exponent(std)).unwrap_or(0).min(cap),
        _ => cap,
    }
}

/// Decimal exponent of `value` after rounding to two significant digits, so that 0.996 counts as 1.0.
fn exponent(value: f64) -> i32 {
    let text = format!("{value:.1e}");
    text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0)
}

/// Correctly rounded decimal; a zero has no sign.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        _ => text,
    }
}

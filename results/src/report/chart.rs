//! A chart as plain data, and its numbers as CSV.

use crate::Result;
use crate::export::{clean, text_cell};

use super::svg;

/// How numbers are laid along an axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear,
    /// The same, of points in no order: no line joins them.
    Scatter,
    /// Equal distances are equal ratios. An axis with a number that is not positive is drawn as a linear one.
    Log,
    /// Names in this order; a point's number is the index of its name, and no line joins the points.
    Categories(Vec<String>),
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What is measured along it.
    pub label: String,
    /// Unit of the points' numbers; `None` for numbers without one, such as a loss or a ratio.
    pub unit: Option<String>,
    /// How numbers are laid along it.
    pub scale: Scale,
}

/// A measured point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Place along the horizontal axis.
    pub x: f64,
    /// Value, in the unit of the vertical axis.
    pub y: f64,
    /// Lower end of its error bar, where it has one.
    pub low: Option<f64>,
    /// Upper end of its error bar.
    pub high: Option<f64>,
    /// Measurements behind the value.
    pub n: usize,
}

/// Points of one setting, in the order of the horizontal axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// The points.
    pub points: Vec<Point>,
}

/// A chart. Values are in shown units (per cent, not fractions), which stand on the axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Name that is fit for a file.
    pub id: String,
    /// What is shown.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
    /// How many measurements are behind a point, what the error bars are, and which commit computed the numbers.
    pub note: String,
}

/// Colors of a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Dark on white, as for print.
    Light,
    /// Light on nearly black.
    Dark,
}

impl Axis {
    /// What stands beside the axis: the label, with the unit in parentheses.
    pub fn title(&self) -> String {
        self.unit.as_ref().map_or_else(|| self.label.clone(), |unit| format!("{} ({unit})", self.label))
    }

    /// A place along the axis, for programs: the name of a category, or the number with all its digits.
    fn exact(&self, value: f64) -> String {
        self.category(value).map_or_else(|| value.to_string(), text_cell)
    }

    /// The same for people: the number with six significant digits at most.
    pub(super) fn shown(&self, value: f64) -> String {
        self.category(value).map_or_else(|| short(value), str::to_owned)
    }

    /// Name of the category that `value` stands for; `None` on other axes.
    pub(super) fn category(&self, value: f64) -> Option<&str> {
        match &self.scale {
            Scale::Categories(names) if value >= 0.0 => names.get(value.round() as usize).map(String::as_str),
            Scale::Categories(_) | Scale::Linear | Scale::Scatter | Scale::Log => None,
        }
    }
}

impl Chart {
    /// The chart as an SVG of 720 by 420 pixels: equal charts give equal bytes.
    ///
    /// Lines differ in color (after M. Okabe and K. Ito, Color universal design, 2008, for readers who do not see all
    /// colors) and in their markers. Error bars are drawn where points have them; where points are many, a band.
    ///
    /// # Errors
    /// [`crate::ResultsError::Internal`] if the drawing library refuses.
    pub fn svg(&self, theme: Theme) -> Result<String> {
        svg::svg(self, theme)
    }

    /// The points as comma-separated values (RFC 4180) below comment lines: the numbers that are drawn, in their units.
    /// No cell is a formula to a spreadsheet.
    pub fn csv(&self) -> String {
        let mut lines: Vec<String> = comments(&self.title).chain(comments(&self.note)).collect();
        let head = ["series", &self.x.title(), &self.y.title(), "low", "high", "n"].map(text_cell);
        lines.push(head.join(","));
        for series in &self.series {
            for point in &series.points {
                let bound = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
                let cells = [
                    text_cell(&series.name),
                    self.x.exact(point.x),
                    point.y.to_string(),
                    bound(point.low),
                    bound(point.high),
                    point.n.to_string(),
                ];
                lines.push(cells.join(","));
            }
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Comment lines of a text, one per clause: what separates clauses would separate cells, of which a later one could be
/// a formula.
fn comments(text: &str) -> impl Iterator<Item = String> {
    let clean = clean(text);
    let clauses: Vec<String> = clean.split([',', ';', '"']).map(|clause| clause.trim().to_owned()).collect();
    clauses.into_iter().filter(|clause| !clause.is_empty()).map(|clause| format!("# {clause}"))
}

/// Six significant digits at most, without zeros at the end; very large and very small numbers with a power of ten.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    // The round trip over text rounds in decimal, as printing does.
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    let size = rounded.abs();
    if (1e-4..1e7).contains(&size) { rounded.to_string() } else { format!("{rounded:e}") }
}

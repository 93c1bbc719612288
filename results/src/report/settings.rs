//! Settings and their numbers: a table, read as what charts are drawn of.

use std::collections::BTreeMap;

use super::{Axis, Point, Scale, Series};
use crate::Result;
use crate::aggregate::Summary;
use crate::format;
use crate::reader::Frames;
use crate::row::Scalar;
use crate::schema::{Direction, Unit};
use crate::significance;
use crate::table::{Costs, Field, TableColumn, TableOptions, fields, tabulate};

/// Lines that a chart shows at most: as many as there are colors.
pub(super) const MOST_LINES: usize = 8;

/// What the error bars of means over seeds are.
pub(super) const INTERVAL: &str = "error bars: 95 % confidence interval of the mean (Student's t)";

/// Ratio of the largest to the smallest number of an axis, from which it is logarithmic.
const WIDE: f64 = 50.0;

/// Values of the fields that tell settings apart; `None` where a field does not apply.
pub(super) type Key = Vec<Option<Scalar>>;

/// One setting with its numbers.
pub(super) struct Setting {
    /// Values of [`Settings::fields`].
    pub(super) key: Key,
    /// Summaries by column of `runs`.
    cells: BTreeMap<String, Summary>,
}

/// The settings of a table.
pub(super) struct Settings {
    /// Fields that tell them apart: those of the rows, and the one that is spread over columns.
    pub(super) fields: Vec<Field>,
    /// In the order of the table.
    pub(super) all: Vec<Setting>,
    /// What was measured, in the order that was asked for.
    pub(super) columns: Vec<TableColumn>,
}

impl Settings {
    /// The settings of the table with these options, but other metrics.
    pub(super) fn of(frames: &Frames, options: &TableOptions, metrics: Vec<String>) -> Result<Self> {
        let options = TableOptions { metrics, costs: Costs::Never, against: None, ..options.clone() };
        let table = tabulate(frames, &options)?;
        let over = table.columns.first().and_then(|column| column.over.as_ref()).map(|(field, _)| field.clone());
        let mut settings = Self { fields: table.fields, all: Vec::new(), columns: Vec::new() };
        settings.fields.extend(over);
        for row in table.rows {
            for (column, cell) in table.columns.iter().zip(row.cells) {
                let mut key = row.key.clone();
                key.extend(column.over.iter().map(|(_, value)| value.clone()));
                settings.at(key).cells.insert(column.column.clone(), cell);
            }
        }
        for column in table.columns {
            if settings.columns.iter().all(|known| known.column != column.column) {
                settings.columns.push(column);
            }
        }
        Ok(settings)
    }

    /// The setting with this key, new if there is none.
    fn at(&mut self, key: Key) -> &mut Setting {
        let at = self.all.iter().position(|setting| setting.key == key).unwrap_or_else(|| {
            self.all.push(Setting { key, cells: BTreeMap::new() });
            self.all.len() - 1
        });
        &mut self.all[at]
    }

    /// Lines of the first column along the field `at`, one per value of the other fields; `place` says where along
    /// the axis a setting stands, if anywhere. A line takes two points.
    pub(super) fn along(&self, at: usize, place: impl Fn(&Setting) -> Option<f64>) -> Vec<Series> {
        let Some(column) = self.columns.first() else { return Vec::new() };
        let mut lines: Vec<(Key, Vec<Point>)> = Vec::new();
        for setting in &self.all {
            let Some(point) = place(setting).and_then(|x| setting.point(x, column)) else { continue };
            let others = without(&setting.key, at);
            match lines.iter_mut().find(|(known, _)| *known == others) {
                Some((_, points)) => points.push(point),
                None => lines.push((others, vec![point])),
            }
        }
        let fields = without(&self.fields, at);
        let line = |(key, mut points): (Key, Vec<Point>)| {
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            points.dedup_by(|a, b| a.x.total_cmp(&b.x).is_eq());
            Series { name: fields::row_label(&fields, &key), points }
        };
        lines.into_iter().map(line).filter(|series| series.points.len() > 1).collect()
    }

    /// Name of a setting in legends.
    pub(super) fn name(&self, setting: &Setting) -> String {
        fields::row_label(&self.fields, &setting.key)
    }
}

impl Setting {
    /// The mean of a column with its interval, at `x`; `None` when it was not computed or is undefined.
    pub(super) fn point(&self, x: f64, column: &TableColumn) -> Option<Point> {
        let summary = self.cells.get(&column.column)?;
        let factor = format::scale(column.unit);
        let interval = significance::interval(summary);
        let (low, high) = (interval.map(|(low, _)| low * factor), interval.map(|(_, high)| high * factor));
        let mean = summary.mean.filter(|mean| mean.is_finite())?;
        Some(Point { x, y: mean * factor, low, high, n: summary.n })
    }
}

fn without<T: Clone>(items: &[T], at: usize) -> Vec<T> {
    items.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, item)| item.clone()).collect()
}

/// The lines with the largest numbers beside them, in their order, and what to say if any are left out.
pub(super) fn leading(lines: Vec<(f64, Series)>) -> (Vec<Series>, Option<String>) {
    let total = lines.len();
    let mut order: Vec<usize> = (0..total).collect();
    // Stable: of equal numbers the upper line stays.
    order.sort_by(|&a, &b| lines[b].0.total_cmp(&lines[a].0));
    order.truncate(MOST_LINES);
    let kept = lines.into_iter().enumerate().filter(|(at, _)| order.contains(at)).map(|(_, (_, series))| series);
    (kept.collect(), (total > MOST_LINES).then(|| format!("the best {MOST_LINES} of {total} lines")))
}

/// The best value of each line, the larger the better, for [`leading`].
pub(super) fn scored(lines: Vec<Series>, direction: Direction) -> Vec<(f64, Series)> {
    let sign = if direction == Direction::Lower { -1.0 } else { 1.0 };
    let best = |series: &Series| series.points.iter().map(|point| sign * point.y).fold(f64::NEG_INFINITY, f64::max);
    lines.into_iter().map(|series| (best(&series), series)).collect()
}

/// Vertical axis of a metric.
pub(super) fn value_axis(label: &str, unit: Unit) -> Axis {
    Axis { label: label.to_owned(), unit: unit_name(unit).map(str::to_owned), scale: Scale::Linear }
}

/// Sign of the unit that values are shown in; counts and plain numbers have none.
fn unit_name(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Fraction => Some("%"),
        Unit::Seconds => Some("s"),
        Unit::Bytes => Some("MiB"),
        Unit::Flops => Some("FLOPs"),
        Unit::Plain | Unit::Count => None,
    }
}

/// Logarithmic where all places are positive and lie wide apart.
pub(super) fn scale_of(series: &[Series]) -> Scale {
    let places = || series.iter().flat_map(|series| &series.points).map(|point| point.x);
    let (least, most) = (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max));
    if least > 0.0 && most >= WIDE * least { Scale::Log } else { Scale::Linear }
}

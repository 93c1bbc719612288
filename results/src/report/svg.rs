//! Charts drawn as SVG.

use maud::html;
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, PathElement, Polygon,
    SVGBackend, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::marks::{Colors, marker};
use super::track::{Track, cut};
use super::{Chart, Point, Scale, Theme};
use crate::export::{clean, wrap};
use crate::{Result, ResultsError};

/// Width and height in pixels.
pub(super) const SIZE: (u32, u32) = (720, 420);

/// The library writes sizes divided by this.
const FONT_SCALE: f64 = 1.24;

/// Height of the title above the plot.
const TITLE: i32 = 36;

/// Height of a line of the legend, and of the note.
const LINE: i32 = 17;

/// Where the columns of the legend begin, in pixels from the left.
const LEGEND: [i32; 2] = [20, 370];

/// Characters of a name in the legend that fit its column.
const LONGEST_NAME: usize = 50;

/// Characters of the title that fit the width.
const LONGEST_TITLE: usize = 90;

/// Characters of a line of the note that fit the width.
const LONGEST_NOTE: usize = 115;

/// From this many points on, a line has a band in place of error bars, and fewer markers than points.
const MANY: usize = 25;

/// Markers of a line of many points.
const MARKERS: usize = 8;

/// Half the width of the ends of error bars.
const CAP: i32 = 4;

/// Distance between the points of neighboring series in a category.
const ASIDE: i32 = 14;

/// What is drawn on: the whole picture.
pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Outcome of drawing.
pub(super) type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a chart.
pub(super) fn svg(chart: &Chart, theme: Theme) -> Result<String> {
    let mut out = String::new();
    draw(chart, Colors::of(theme), &mut out).map_err(ResultsError::internal("drawing a chart"))?;
    // What a reader of screens says of the file.
    let title = html! { title { (visible(&chart.title)) } }.into_string();
    Ok(out.replacen('\n', &format!("\n{title}\n"), 1))
}

fn draw(chart: &Chart, colors: Colors, out: &mut String) -> Drawn {
    let canvas: Canvas<'_> = SVGBackend::with_string(out, SIZE).into_drawing_area();
    canvas.fill(&colors.background)?;
    let note = wrap(&visible(&chart.note), LONGEST_NOTE);
    let legend = chart.series.len().div_ceil(LEGEND.len()) as i32 * LINE;
    let below = legend + note.len() as i32 * LINE + LINE;

    let points = || chart.series.iter().flat_map(|series| &series.points);
    let heights = points().flat_map(|point| [Some(point.y), point.low, point.high]).flatten();
    let (x, y) = (Track::new(&chart.x, points().map(|point| point.x)), Track::new(&chart.y, heights));
    let mut plot = ChartBuilder::on(&canvas)
        .margin_top(TITLE)
        .margin_bottom(below)
        .margin_left(8)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(66)
        .build_cartesian_2d(x.clone(), y.clone())?;
    plot.configure_mesh()
        .bold_line_style(colors.grid)
        .axis_style(colors.text)
        .label_style(text(11.0, colors))
        .axis_desc_style(text(12.0, colors))
        .set_all_tick_mark_size(4)
        .x_desc(visible(&chart.x.title()))
        .y_desc(visible(&chart.y.title()))
        .x_label_formatter(&|tick: &f64| visible(&x.label(*tick)))
        .y_label_formatter(&|tick: &f64| visible(&y.label(*tick)))
        .draw()?;
    let place = |x: f64, y: f64| plot.plotting_area().map_coordinate(&(x, y));
    for at in 0..chart.series.len() {
        draw_series(&canvas, chart, at, colors, &place)?;
    }

    let left = Pos::new(HPos::Left, VPos::Center);
    canvas.draw_text(&cut(&visible(&chart.title), LONGEST_TITLE), &text(15.0, colors).pos(left), (16, TITLE / 2))?;
    let mut top = SIZE.1 as i32 - below + LINE / 2;
    for (row, pair) in chart.series.chunks(LEGEND.len()).enumerate() {
        for (column, series) in pair.iter().enumerate() {
            let (at, x) = (row * LEGEND.len() + column, LEGEND[column]);
            let line = vec![(x, top), (x + 28, top)];
            canvas.draw(&PathElement::new(line, colors.line(at).stroke_width(2)))?;
            marker(&canvas, at, (x + 14, top), colors)?;
            let name = cut(&visible(&series.name), LONGEST_NAME);
            canvas.draw_text(&name, &text(12.0, colors).pos(left), (x + 36, top))?;
        }
        top += LINE;
    }
    for line in note {
        canvas.draw_text(line.trim(), &text(11.0, colors).pos(left), (LEGEND[0], top))?;
        top += LINE;
    }
    canvas.present()
}

/// Line, error bars or band, and markers of the series at place `at`.
fn draw_series(
    canvas: &Canvas<'_>,
    chart: &Chart,
    at: usize,
    colors: Colors,
    place: &dyn Fn(f64, f64) -> (i32, i32),
) -> Drawn {
    let is_named = matches!(chart.x.scale, Scale::Categories(_));
    let is_joined = matches!(chart.x.scale, Scale::Linear | Scale::Log);
    // In a category all series have one place, and are put side by side.
    let aside = if is_named { ASIDE * (2 * at as i32 + 1 - chart.series.len() as i32) / 2 } else { 0 };
    let color = colors.line(at);
    let is_finite = |point: &&Point| point.x.is_finite() && point.y.is_finite();
    let points: Vec<&Point> = chart.series[at].points.iter().filter(is_finite).collect();
    let pixel = |point: &Point, value: f64| {
        let (x, y) = place(point.x, value);
        (x + aside, y)
    };
    let centers: Vec<(i32, i32)> = points.iter().map(|point| pixel(point, point.y)).collect();
    let bar = |point: &Point| {
        let (low, high) = (point.low.filter(|low| low.is_finite())?, point.high.filter(|high| high.is_finite())?);
        Some((pixel(point, low), pixel(point, high)))
    };
    let bars: Vec<((i32, i32), (i32, i32))> = points.iter().filter_map(|point| bar(point)).collect();
    let is_long = is_joined && points.len() >= MANY;

    if is_long && bars.len() > 1 {
        let edge = bars.iter().map(|(low, _)| *low).chain(bars.iter().rev().map(|(_, high)| *high));
        canvas.draw(&Polygon::new(edge.collect::<Vec<_>>(), color.mix(0.2)))?;
    }
    if is_joined && centers.len() > 1 {
        canvas.draw(&PathElement::new(centers.clone(), color.stroke_width(2)))?;
    }
    if !is_long {
        for ((x, low), (_, high)) in bars {
            for line in [[(x, low), (x, high)], [(x - CAP, low), (x + CAP, low)], [(x - CAP, high), (x + CAP, high)]] {
                canvas.draw(&PathElement::new(line.to_vec(), color.stroke_width(1)))?;
            }
        }
    }
    // Lines of many points have their markers at different places, so that these do not hide each other.
    let every = if is_long { centers.len().div_ceil(MARKERS) } else { 1 };
    let first = if is_long { at * every / MARKERS } else { 0 };
    for center in centers.into_iter().skip(first).step_by(every) {
        marker(canvas, at, center, colors)?;
    }
    Ok(())
}

/// Text of so many pixels.
fn text(size: f64, colors: Colors) -> TextStyle<'static> {
    ("sans-serif", size * FONT_SCALE).into_font().color(&colors.text)
}

/// One line of characters that XML can hold.
fn visible(text: &str) -> String {
    clean(text).replace(['\u{fffe}', '\u{ffff}'], " ")
}

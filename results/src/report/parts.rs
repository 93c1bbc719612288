//! Parts of the page: charts, pictures, facts and the spec.

use maud::{Markup, html};

use super::chart::short;
use super::page::data_uri;
use super::svg::SIZE;
use super::{Chart, PictureSection, Scale, Theme};
use crate::Result;
use crate::export::clean;

/// A chart with its numbers. It is drawn twice: the browser shows the drawing that fits the reader's colors.
pub(super) fn chart(chart: &Chart, stem: &str) -> Result<Markup> {
    const KIND: &str = "image/svg+xml";
    let light = data_uri(KIND, chart.svg(Theme::Light)?.as_bytes());
    let dark = data_uri(KIND, chart.svg(Theme::Dark)?.as_bytes());
    let title = clean(&chart.title);
    Ok(html! {
        article id=(stem) {
            h3 { (title) }
            figure {
                picture {
                    // Paper is white.
                    source media="screen and (prefers-color-scheme: dark)" srcset=(dark);
                    img src=(light) alt=(alternative(chart)) width=(SIZE.0) height=(SIZE.1);
                }
                figcaption { (clean(&chart.note)) }
            }
            details {
                summary { "Data" span.unseen { " of: " (title) } }
                (points(chart, &title))
            }
        }
    })
}

/// What a reader is told who does not see the chart.
fn alternative(chart: &Chart) -> String {
    let kind = if matches!(chart.x.scale, Scale::Linear | Scale::Log) { "Lines" } else { "Points" };
    let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
    clean(&format!(
        "{kind}: {} against {}, for {}. The numbers are in the table that follows.",
        chart.y.title(),
        chart.x.title(),
        names.join("; ")
    ))
}

/// The numbers of a chart.
fn points(chart: &Chart, title: &str) -> Markup {
    let bound = |value: Option<f64>| value.map_or("—".to_owned(), short);
    html! {
        div.scroll role="region" tabindex="0" aria-label={ "Data of: " (title) } {
            table {
                thead {
                    tr {
                        th scope="col" { "series" }
                        th.number scope="col" { (clean(&chart.x.title())) }
                        th.number scope="col" { (clean(&chart.y.title())) }
                        th.number scope="col" { "low" }
                        th.number scope="col" { "high" }
                        th.number scope="col" { "n" }
                    }
                }
                tbody {
                    @for series in &chart.series {
                        @for point in &series.points {
                            tr {
                                th scope="row" { (clean(&series.name)) }
                                td.number { (clean(&chart.x.shown(point.x))) }
                                td.number { (short(point.y)) }
                                td.number { (bound(point.low)) }
                                td.number { (bound(point.high)) }
                                td.number { (point.n) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A section of pictures, whose anchors are `stems`.
pub(super) fn pictures(section: &PictureSection, stems: &[String]) -> Markup {
    html! {
        p { (clean(&section.text)) }
        div.grid {
            @for (figure, stem) in section.figures.iter().zip(stems) {
                figure id=(stem) {
                    img src=(data_uri(figure.picture.media_type(), figure.picture.bytes())) alt=(clean(&figure.alt))
                        width=(figure.width) height=(figure.height);
                    figcaption { (clean(&figure.caption)) }
                }
            }
        }
    }
}

/// What was run, where, and at what cost.
pub(super) fn facts(facts: &[(String, String)]) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                dt { (clean(name)) }
                dd { (clean(value)) }
            }
        }
    }
}

/// The spec, line by line.
pub(super) fn spec(yaml: &str) -> Markup {
    let lines: Vec<String> = yaml.lines().map(clean).collect();
    html! {
        div.scroll role="region" tabindex="0" aria-label="Spec" {
            pre { code { (lines.join("\n")) } }
        }
    }
}

//! What a model finds: queries with the pictures that it ranks first.

use std::collections::BTreeMap;

use reid_data::dataset::{Record, Split};
use reid_data::spec::Size;
use reid_objectives::math::distance::normalize_rows;
use reid_objectives::math::ranking::SameCamera;
use reid_objectives::task::Features;
use reid_results::QueryRow;
use reid_results::report::{Figure, PictureSection};

use super::Shown;
use super::canvas::{Frame, Grid};
use crate::exit::RunError;

/// Ranked pictures that are shown.
const TOP: usize = 10;
/// Queries of a figure.
const ROWS: usize = 5;

/// A model's ranking of the gallery, the nearest first, for each query of a figure.
pub(super) struct Ranked {
    query: Features,
    gallery: Features,
    /// By the query's record.
    lists: BTreeMap<u32, Vec<u32>>,
}

impl Ranked {
    /// The first [`TOP`] of every query, without those that the evaluation leaves out.
    pub(super) fn of(shown: &Shown) -> Result<Self, RunError> {
        let mut query = shown.model.features(&shown.services, Split::Query)?;
        let mut gallery = shown.model.features(&shown.services, Split::Gallery)?;
        let dataset = &shown.data.dataset;
        let record = |split, index: u32| -> &Record { &dataset.split(split)[index as usize] };
        let is_left_out = |of: &Record, found: &Record| {
            shown.ranking.same_camera == SameCamera::Removed && of.pid == found.pid && of.camera == found.camera
        };
        // As many more as a query has pictures that are left out.
        let of = |record: &Record| (record.pid, record.camera);
        let mut left_out: BTreeMap<(i64, u32), usize> = BTreeMap::new();
        if shown.ranking.same_camera == SameCamera::Removed {
            left_out.extend(query.records.iter().map(|&index| (of(record(Split::Query, index)), 0)));
        }
        for &index in &gallery.records {
            if let Some(count) = left_out.get_mut(&of(record(Split::Gallery, index))) {
                *count += 1;
            }
        }
        let most = left_out.values().max().copied().unwrap_or(0);
        let nearest = shown.model.nearest(&query, &gallery, TOP + most);
        let mut lists = BTreeMap::new();
        for (&index, found) in query.records.iter().zip(nearest) {
            let of = record(Split::Query, index);
            let kept = found.into_iter().map(|(row, _)| gallery.records[row as usize]);
            let kept = kept.filter(|&found| !is_left_out(of, record(Split::Gallery, found)));
            lists.insert(index, kept.take(TOP).collect());
        }
        // What an evaluation moves towards neighbours has not been brought to length 1 before.
        for features in [&mut query, &mut gallery] {
            normalize_rows(&mut features.values, features.width);
        }
        Ok(Self { query, gallery, lists })
    }

    /// Features of the queries.
    pub(super) fn query(&self) -> &Features {
        &self.query
    }

    /// Features of the gallery.
    pub(super) fn gallery(&self) -> &Features {
        &self.gallery
    }

    /// Queries, each in a row with what is found for it.
    fn draw(&self, shown: &Shown, queries: &[u32]) -> Result<reid_data::image::Image, RunError> {
        let Size(height, width) = shown.data.dataset.size;
        let mut grid = Grid::new(queries.len(), TOP + 1, Size(height, width));
        let [of_query, of_gallery] = [Split::Query, Split::Gallery].map(|split| shown.data.pictures(split));
        let (of_query, of_gallery) = (of_query?, of_gallery?);
        for (row, &query) in queries.iter().enumerate() {
            let pid = of_query.record(query as usize).pid;
            grid.put(row, 0, &*of_query.get(query as usize)?, Frame::Query);
            for (column, &found) in self.lists.get(&query).into_iter().flatten().enumerate() {
                let frame = if of_gallery.record(found as usize).pid == pid { Frame::Right } else { Frame::Wrong };
                grid.put(row, column + 1, &*of_gallery.get(found as usize)?, frame);
            }
        }
        Ok(grid.finish())
    }

    /// The best and the worst queries of a model.
    pub(super) fn extremes(&self, shown: &Shown, scores: &[QueryRow]) -> Result<Vec<Figure>, RunError> {
        let mut by_ap: Vec<&QueryRow> = scores.iter().filter(|row| row.ap.is_finite()).collect();
        by_ap.sort_by(|a, b| b.ap.total_cmp(&a.ap).then(a.query.cmp(&b.query)));
        let best: Vec<&QueryRow> = spread_over_people(by_ap.iter().copied());
        let worst: Vec<&QueryRow> = spread_over_people(by_ap.iter().rev().copied());
        let mut figures = Vec::new();
        for (which, rows) in [("best", best), ("worst", worst)] {
            if rows.is_empty() {
                continue;
            }
            let queries: Vec<u32> = rows.iter().map(|row| row.query as u32).collect();
            let about = rows.iter().map(|row| format!("{} (AP {:.1} %)", row.path, row.ap * 100.0));
            let caption = format!(
                "{}: the {which} queries, of different people, from above: {}. From {}.",
                shown.name,
                about.collect::<Vec<_>>().join("; "),
                shown.basis()
            );
            let alt = format!("Queries that {} answers {which}, each with the ten pictures ranked first", shown.name);
            figures.push(super::photographs(
                &format!("gallery-{}-{which}", shown.id),
                &self.draw(shown, &queries)?,
                alt,
                caption,
            )?);
        }
        Ok(figures)
    }
}

/// The queries at which two models differ most, each model's answers below the other's.
pub(super) fn contrast(
    (first, of_first, scores): (&Shown, &Ranked, &[QueryRow]),
    (other, of_other, others): (&Shown, &Ranked, &[QueryRow]),
) -> Result<Vec<Figure>, RunError> {
    let known: BTreeMap<i64, f64> = others.iter().map(|row| (row.query, row.ap)).collect();
    let with_gain = scores.iter().filter_map(|row| Some((row.ap - known.get(&row.query)?, row)));
    let mut gains: Vec<(f64, &QueryRow)> = with_gain.filter(|(gain, _)| gain.is_finite()).collect();
    gains.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.query.cmp(&b.1.query)));
    let mut figures = Vec::new();
    for (which, order) in [("gain", gains.clone()), ("loss", gains.into_iter().rev().collect())] {
        let sign = if which == "gain" { 1.0 } else { -1.0 };
        let rows = spread_over_people(order.iter().filter(|(gain, _)| gain * sign > 0.0).map(|(_, row)| *row));
        let queries: Vec<u32> = rows.iter().map(|row| row.query as u32).collect();
        for (shown, ranked) in [(first, of_first), (other, of_other)] {
            if queries.is_empty() {
                continue;
            }
            let (better, worse) = if which == "gain" { (first, other) } else { (other, first) };
            let about = rows.iter().map(|row| {
                let before = known.get(&row.query).copied().unwrap_or(f64::NAN);
                let (high, low) = if which == "gain" { (row.ap, before) } else { (before, row.ap) };
                format!("{} (AP {:.1} % against {:.1} %)", row.path, high * 100.0, low * 100.0)
            });
            let caption = format!(
                "What {} finds where {} gains most over {}, from above: {}. From {}.",
                shown.name,
                better.name,
                worse.name,
                about.collect::<Vec<_>>().join("; "),
                shown.basis()
            );
            let alt =
                format!("Queries at which {} and {} differ, as {} answers them", first.name, other.name, shown.name);
            let id = format!("contrast-{which}-{}", shown.id);
            figures.push(super::photographs(&id, &ranked.draw(shown, &queries)?, alt, caption)?);
        }
    }
    Ok(figures)
}

/// The first [`ROWS`] queries of different people.
fn spread_over_people<'a>(rows: impl Iterator<Item = &'a QueryRow>) -> Vec<&'a QueryRow> {
    let mut people = std::collections::BTreeSet::new();
    rows.filter(|row| people.insert(row.pid)).take(ROWS).collect()
}

/// The section of these figures.
pub(super) fn section(figures: Vec<Figure>) -> Option<PictureSection> {
    (!figures.is_empty()).then(|| PictureSection {
        id: "galleries".to_owned(),
        title: "What is found".to_owned(),
        text:
            "A row is a query (black frame) and the ten pictures that are ranked first for it, without those that the \
               evaluation leaves out. Blue, whole frames: the right person. Vermilion, dashed frames: another one."
                .to_owned(),
        figures,
    })
}

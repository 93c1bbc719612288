//! Charts that take features: accuracy from camera to camera, and features on a plane.

use std::collections::{BTreeMap, BTreeSet};

use reid_data::dataset::{Record, Split};
use reid_objectives::math::principal;
use reid_objectives::math::ranking::{CmcShots, Labels, RankSpec, SquaredEuclidean, rank};
use reid_objectives::task::Features;
use reid_results::report::{Axis, Chart, Point, Scale, Series};

use super::Shown;
use super::gallery::Ranked;

/// Lines and colors that are told apart.
const MOST: usize = 8;
/// Pictures that a person on the plane has at least.
const PICTURES: usize = 2;

/// Features of one camera's pictures.
#[derive(Default)]
struct OfCamera {
    values: Vec<f32>,
    pids: Vec<i64>,
    cameras: Vec<u32>,
}

fn by_camera(features: &Features, records: &[Record]) -> BTreeMap<u32, OfCamera> {
    let mut cameras: BTreeMap<u32, OfCamera> = BTreeMap::new();
    for (feature, &index) in features.values.chunks_exact(features.width).zip(&features.records) {
        let record = &records[index as usize];
        let of = cameras.entry(record.camera).or_default();
        of.values.extend_from_slice(feature);
        of.pids.push(record.pid);
        of.cameras.push(record.camera);
    }
    cameras
}

/// mAP of the queries of each camera among the gallery pictures of each other one; none for a single camera.
pub(super) fn chart(shown: &Shown, ranked: &Ranked) -> Option<Chart> {
    let dataset = &shown.data.dataset;
    let queries = by_camera(ranked.query(), dataset.split(Split::Query));
    let galleries = by_camera(ranked.gallery(), dataset.split(Split::Gallery));
    let width = ranked.query().width;
    let names: Vec<String> = galleries.keys().map(u32::to_string).collect();
    let mut most: Vec<(&u32, &OfCamera)> = queries.iter().collect();
    most.sort_by_key(|(camera, of)| (std::cmp::Reverse(of.pids.len()), **camera));
    most.truncate(MOST);
    most.sort_by_key(|(camera, _)| **camera);
    let mut series = Vec::new();
    for (camera, query) in most {
        let mut points = Vec::new();
        for (at, (_, gallery)) in galleries.iter().enumerate().filter(|(_, (other, _))| *other != camera) {
            let distances = SquaredEuclidean::new(&query.values, &gallery.values, width);
            let [of_query, of_gallery] = [query, gallery].map(|of| Labels { pids: &of.pids, cameras: &of.cameras });
            let ranking = rank(&distances, of_query, of_gallery, RankSpec { cmc: CmcShots::All, ..shown.ranking }, 1);
            if ranking.valid > 0 {
                let map = ranking.map * 100.0;
                points.push(Point { x: at as f64, y: map, low: None, high: None, n: ranking.valid });
            }
        }
        if !points.is_empty() {
            series.push(Series { name: format!("queries of camera {camera}"), points });
        }
    }
    if series.is_empty() {
        return None;
    }
    let left_out = queries.len().saturating_sub(MOST);
    let more = if left_out > 0 { format!("; {left_out} cameras with fewer queries left out") } else { String::new() };
    let least = series.iter().flat_map(|series| &series.points).map(|point| point.n).min().unwrap_or(0);
    let largest = series.iter().flat_map(|series| &series.points).map(|point| point.n).max().unwrap_or(0);
    let synthetic = if shown.row.synthetic { "; built-in synthetic data" } else { "" };
    Some(Chart {
        id: format!("cameras-{}", shown.id),
        title: format!("mAP from camera to camera, {}", shown.name),
        x: Axis { label: "camera of the gallery".to_owned(), unit: None, scale: Scale::Categories(names) },
        y: Axis { label: "mAP".to_owned(), unit: Some("%".to_owned()), scale: Scale::Linear },
        series,
        note: format!(
            "n = {least} to {largest} queries with a match per point, seed {}; by the features' distance alone{more}{synthetic}; {}",
            shown.row.seed_pretrain,
            shown.commit()
        ),
    })
}

/// Features of some people on the plane in which all gallery features vary most.
pub(super) fn plane(shown: &Shown, ranked: &Ranked) -> Option<Chart> {
    let gallery = ranked.gallery();
    let records = shown.data.dataset.split(Split::Gallery);
    let (points, shares) = principal::plane(&gallery.values, gallery.width);
    let mut people: BTreeMap<i64, Vec<[f64; 2]>> = BTreeMap::new();
    for (point, &index) in points.iter().zip(&gallery.records) {
        let pid = records[index as usize].pid;
        if pid > 0 {
            people.entry(pid).or_default().push(*point);
        }
    }
    let chosen: BTreeSet<i64> =
        people.iter().filter(|(_, own)| own.len() >= PICTURES).map(|(pid, _)| *pid).take(MOST).collect();
    let of_person = |pid: &i64| Series {
        name: format!("person {pid}"),
        points: people[pid].iter().map(|&[x, y]| Point { x, y, low: None, high: None, n: 1 }).collect(),
    };
    let series: Vec<Series> = chosen.iter().map(of_person).collect();
    let axis = |which: &str, share: f64, scale| Axis {
        label: format!("{which} component"),
        unit: Some(format!("{:.0} % of variance", share * 100.0)),
        scale,
    };
    let synthetic = if shown.row.synthetic { "; built-in synthetic data" } else { "" };
    (!series.is_empty()).then(|| Chart {
        id: format!("plane-{}", shown.id),
        title: format!("Features of {} people, {}", series.len(), shown.name),
        x: axis("first", shares[0], Scale::Scatter),
        y: axis("second", shares[1], Scale::Linear),
        series,
        note: format!(
            "n = 1 gallery picture per point; principal components of all {} gallery features (of length 1), seed {}{synthetic}; {}",
            points.len(),
            shown.row.seed_pretrain,
            shown.commit()
        ),
    })
}

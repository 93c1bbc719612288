//! A contact sheet: what the built-in data look like.

use super::world::{Shot, World};
use crate::dataset::Split;
use crate::image::Image;
use crate::sheet::Sheet;
use crate::spec::SyntheticSpec;

/// Pictures of at most `rows` test identities, one identity to a row: first as its cameras see it (queries and
/// gallery), then behind occluders. Rows 1 and 2 are look-alikes of each other, as are rows 6 and 7.
pub fn contact_sheet(spec: &SyntheticSpec, columns: usize, rows: usize) -> Image {
    let world = World::new(spec);
    let parts = [Split::Query, Split::Gallery, Split::OccludedQuery].map(|split| world.shots(split));
    let mut pids: Vec<i64> = parts[0].iter().map(|shot| shot.pid).collect();
    pids.dedup();
    pids.truncate(rows);
    let mut sheet = Sheet::new(spec.size, columns, pids.len());
    for (row, &pid) in pids.iter().enumerate() {
        let [queries, gallery, occluded] = parts.each_ref().map(|shots| of_person(shots, pid));
        // A third of the row shows occluders.
        let plain = columns - (columns / 3).min(occluded.len());
        let shots = queries.iter().chain(&gallery).take(plain).chain(&occluded).take(columns);
        for (column, shot) in shots.enumerate() {
            sheet.paste(&world.render(shot).image, row, column);
        }
    }
    sheet.image
}

fn of_person(shots: &[Shot], pid: i64) -> Vec<Shot> {
    shots.iter().filter(|shot| shot.pid == pid).copied().collect()
}

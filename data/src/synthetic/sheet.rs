//! A contact sheet: what the built-in data look like.

use super::world::{Shot, World};
use crate::dataset::Split;
use crate::image::Image;
use crate::spec::SyntheticSpec;

/// White pixels between pictures.
const GAP: usize = 2;

/// Pictures of at most `rows` test identities, one identity to a row: first as its cameras see it (queries and
/// gallery), then behind occluders. Rows 1 and 2 are look-alikes of each other, as are rows 6 and 7.
pub fn contact_sheet(spec: &SyntheticSpec, columns: usize, rows: usize) -> Image {
    let world = World::new(spec);
    let (height, width) = (spec.size.0 + GAP, spec.size.1 + GAP);
    let parts = [Split::Query, Split::Gallery, Split::OccludedQuery].map(|split| world.shots(split));
    let mut pids: Vec<i64> = parts[0].iter().map(|shot| shot.pid).collect();
    pids.dedup();
    pids.truncate(rows);
    let mut sheet = Image::black(pids.len() * height + GAP, columns * width + GAP);
    sheet.data.fill(255);
    for (row, &pid) in pids.iter().enumerate() {
        let [queries, gallery, occluded] = parts.each_ref().map(|shots| of_person(shots, pid));
        // A third of the row shows occluders.
        let plain = columns - (columns / 3).min(occluded.len());
        let shots = queries.iter().chain(&gallery).take(plain).chain(&occluded).take(columns);
        for (column, shot) in shots.enumerate() {
            paste(&mut sheet, &world.render(shot).image, row * height + GAP, column * width + GAP);
        }
    }
    sheet
}

fn of_person(shots: &[Shot], pid: i64) -> Vec<Shot> {
    shots.iter().filter(|shot| shot.pid == pid).copied().collect()
}

fn paste(sheet: &mut Image, picture: &Image, top: usize, left: usize) {
    for (row, line) in picture.data.chunks_exact(picture.width * 3).enumerate() {
        let start = ((top + row) * sheet.width + left) * 3;
        sheet.data[start..start + line.len()].copy_from_slice(line);
    }
}

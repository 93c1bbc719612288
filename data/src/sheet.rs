//! A contact sheet of any data set: what one should look at before trusting numbers.

use std::collections::BTreeMap;

use crate::Result;
use crate::dataset::{Dataset, Split};
use crate::image::Image;
use crate::pictures::Pictures;
use crate::spec::{Filter, Size};
use crate::transform::{Region, Resizer};

/// White pixels between pictures.
const GAP: usize = 2;

/// Places for pictures of one size on white.
pub(crate) struct Sheet {
    pub(crate) image: Image,
    size: Size,
}

impl Sheet {
    /// Without pictures yet.
    pub(crate) fn new(size: Size, columns: usize, rows: usize) -> Self {
        let mut image = Image::black(rows * (size.0 + GAP) + GAP, columns * (size.1 + GAP) + GAP);
        image.data.fill(255);
        Self { image, size }
    }

    pub(crate) fn paste(&mut self, picture: &Image, row: usize, column: usize) {
        let (top, left) = (row * (self.size.0 + GAP) + GAP, column * (self.size.1 + GAP) + GAP);
        for (row, line) in picture.data.chunks_exact(picture.width * 3).enumerate() {
            let start = ((top + row) * self.image.width + left) * 3;
            self.image.data[start..start + line.len()].copy_from_slice(line);
        }
    }
}

/// Pictures of a split, resized: a row for each of the first `rows` identities, at most `columns` pictures of each,
/// spread over all of its pictures. Where nobody is named, pictures spread over the split fill the rows.
///
/// # Errors
/// [`crate::DataError::Changed`] if a picture cannot be read.
pub fn contact_sheet(dataset: &Dataset, split: Split, size: Size, columns: usize, rows: usize) -> Result<Image> {
    let records = dataset.split(split);
    let mut people: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate().filter(|(_, record)| record.usable) {
        people.entry(record.pid).or_default().push(at);
    }
    let lines: Vec<Vec<usize>> = match people.into_iter().collect::<Vec<_>>().as_mut_slice() {
        [(_, all)] => spread(all, columns * rows).chunks(columns).map(<[usize]>::to_vec).collect(),
        several => several.iter().take(rows).map(|(_, own)| spread(own, columns)).collect(),
    };
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let pictures = Pictures::new(dataset, split, 0);
    let mut sheet = Sheet::new(size, columns, lines.len());
    let mut resizer = Resizer::new();
    for (row, line) in lines.iter().enumerate() {
        for (column, &at) in line.iter().enumerate() {
            let image = pictures.get(at)?;
            let small = resizer.resize(&image, Region::whole(&image), size, Filter::Bilinear);
            sheet.paste(&small, row, column);
        }
    }
    Ok(sheet.image)
}

/// At most `count` of all, evenly apart.
fn spread(all: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(all.len());
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

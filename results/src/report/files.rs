//! The parts of a page as files of their own, for papers and other programs.

use super::{Page, Theme};
use crate::Result;
use crate::export::export;
use crate::table::{Format, TableOptions};

impl Page {
    /// Names and contents: every chart as SVG for white paper and as CSV, every picture, the table as CSV and
    /// Markdown. The names are plain file names, and no two are equal.
    ///
    /// # Errors
    /// As [`super::Chart::svg`].
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let stems = self.stems();
        let mut files = Vec::new();
        for format in [Format::Csv, Format::Markdown] {
            let bytes = export(&self.table, &TableOptions { format, ..TableOptions::default() })?;
            files.push((format!("table.{format}"), bytes));
        }
        for (chart, stem) in self.charts.iter().zip(&stems.charts) {
            files.push((format!("{stem}.svg"), chart.svg(Theme::Light)?.into_bytes()));
            files.push((format!("{stem}.csv"), chart.csv().into_bytes()));
        }
        for (section, stems) in self.pictures.iter().zip(&stems.figures) {
            let pictures = section.figures.iter().zip(stems);
            files.extend(pictures.map(|(figure, stem)| {
                (format!("{stem}.{}", figure.picture.ending()), figure.picture.bytes().to_vec())
            }));
        }
        Ok(files)
    }
}

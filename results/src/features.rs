//! Features of pictures as a Parquet file, for other programs.

use polars::prelude::{
    Column, DataFrame, DataType, Float32Type, IntoSeries, ListBuilderTrait, ListPrimitiveChunkedBuilder,
    ParquetCompression,
};

use crate::writer::to_parquet;
use crate::{Result, ResultsError};

/// A picture and its feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureRow<'a> {
    /// Part of the data set.
    pub split: &'a str,
    /// Path below the data set's folder, or key in its database.
    pub path: &'a str,
    /// Identity; none where nobody has named the person.
    pub pid: Option<i64>,
    /// Camera, 0-based; none where it is not known.
    pub camera: Option<u32>,
    /// The feature.
    pub feature: &'a [f32],
}

/// A file of the columns `split`, `path`, `pid`, `camera` and `feature`, a list of f32; `metadata` goes into the file's
/// own.
///
/// # Errors
/// If polars refuses.
pub fn features(rows: &[FeatureRow], metadata: Vec<(String, String)>) -> Result<Vec<u8>> {
    let width = rows.first().map_or(0, |row| row.feature.len());
    let mut lists = ListPrimitiveChunkedBuilder::<Float32Type>::new(
        "feature".into(),
        rows.len(),
        rows.len() * width,
        DataType::Float32,
    );
    for row in rows {
        lists.append_slice(row.feature);
    }
    let columns = vec![
        Column::new("split".into(), rows.iter().map(|row| row.split).collect::<Vec<_>>()),
        Column::new("path".into(), rows.iter().map(|row| row.path).collect::<Vec<_>>()),
        Column::new("pid".into(), rows.iter().map(|row| row.pid).collect::<Vec<_>>()),
        Column::new("camera".into(), rows.iter().map(|row| row.camera).collect::<Vec<_>>()),
        lists.finish().into_series().into(),
    ];
    let mut frame = DataFrame::new(rows.len(), columns).map_err(ResultsError::internal("collecting the columns"))?;
    // Floats of features do not repeat: compression would cost time and win nothing.
    to_parquet(&mut frame, ParquetCompression::Uncompressed, metadata)
}

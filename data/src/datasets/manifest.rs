//! Any pictures, by a list of them: CSV with a header, or Parquet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use polars::prelude::{AnyValue, Column, DataFrame, ParquetReader, SerReader};

use crate::dataset::{Record, Split};
use crate::datasets::listed::inside;
use crate::datasets::{Found, Splits};
use crate::spec::ManifestSpec;
use crate::{DataError, Result};

/// Columns of a list.
const PATH: &str = "path";
const SPLIT: &str = "split";
const PID: &str = "pid";
const CAMERA: &str = "camid";

/// What may stand in the column `split`.
const SPLITS: [(&str, Split); 7] = [
    ("train", Split::Train),
    ("query", Split::Query),
    ("gallery", Split::Gallery),
    ("validation_query", Split::ValidationQuery),
    ("validation_gallery", Split::ValidationGallery),
    ("occluded_query", Split::OccludedQuery),
    ("pool", Split::Pool),
];

const REMEDY: &str = "give the columns path, split and pid, and camid if cameras are known; split is train, query, \
                      gallery, validation_query, validation_gallery, occluded_query or pool";

/// A line of the list, as written.
struct Line {
    path: String,
    split: Split,
    pid: String,
    camera: Option<String>,
}

/// Reads the list.
pub(crate) fn find(spec: &ManifestSpec, base: &Path) -> Result<Found> {
    let file = base.join(&spec.file);
    if !file.is_file() {
        let remedy = "name a .csv or .parquet file with the columns path, split, pid and camid".to_owned();
        return Err(DataError::Missing { what: "list of pictures".to_owned(), remedy, path: file });
    }
    let is_parquet = file.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("parquet"));
    let table = if is_parquet { parquet(&file)? } else { csv(&file)? };
    let lines = table.lines(&file)?;
    let root = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();

    let people = numbers(lines.iter().filter(|line| line.split != Split::Pool).map(|line| line.pid.as_str()));
    let cameras = numbers(lines.iter().filter_map(|line| line.camera.as_deref()));
    let mut notes = vec![match cameras.len() {
        0 => "the list names no cameras: no match is left out".to_owned(),
        cameras => format!("{cameras} cameras"),
    }];
    let mut splits = Splits::new();
    let mut seen: BTreeMap<(Split, String), usize> = BTreeMap::new();
    for (at, Line { path, split, pid, camera }) in lines.into_iter().enumerate() {
        if let Some(first) = seen.insert((split, path.clone()), at) {
            let place = (table.first_line + first, table.first_line + at);
            return Err(invalid(&file, &format!("{} {} and {} list {path} twice", table.unit, place.0, place.1)));
        }
        let camera = match camera {
            Some(camera) => cameras[&camera] as u32,
            None => u32::from(matches!(split, Split::Gallery | Split::ValidationGallery)),
        };
        // 0 means something else elsewhere.
        let pid = if split == Split::Pool { -1 } else { people[&pid] as i64 + 1 };
        splits.entry(split).or_default().push(Record::new(path, pid, camera));
    }
    for records in splits.values_mut() {
        records.sort_by(|a, b| a.path.cmp(&b.path));
    }
    notes
        .extend((!people.is_empty()).then(|| format!("{} people, numbered in the order of their names", people.len())));
    Ok(Found { lists: vec![file], ..Found::in_folder(&name, root, splits, notes) })
}

fn invalid(file: &Path, problem: &str) -> DataError {
    DataError::Invalid { problem: problem.to_owned(), remedy: REMEDY.to_owned(), path: file.to_path_buf() }
}

/// Numbers from 0 in the order of the names: by value where all are whole numbers, else as text.
fn numbers<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let names: BTreeSet<&str> = names.collect();
    let mut order: Vec<&str> = names.into_iter().collect();
    let values: Option<Vec<i64>> = order.iter().map(|name| name.parse().ok()).collect();
    if values.is_some() {
        order.sort_by_key(|name| (name.parse::<i64>().unwrap_or(0), *name));
    }
    order.into_iter().enumerate().map(|(number, name)| (name.to_owned(), number)).collect()
}

/// The columns of a list, as text.
struct Table {
    columns: BTreeMap<&'static str, Vec<Option<String>>>,
    /// What is counted in messages, and the number of the first one.
    unit: &'static str,
    first_line: usize,
}

impl Table {
    fn lines(&self, file: &Path) -> Result<Vec<Line>> {
        let column =
            |name: &str| self.columns.get(name).ok_or_else(|| invalid(file, &format!("the list has no column {name}")));
        let (paths, splits, pids) = (column(PATH)?, column(SPLIT)?, column(PID)?);
        let cameras = self.columns.get(CAMERA);
        let line = |at: usize| {
            let wrong = |what: &str| invalid(file, &format!("{} {}: {what}", self.unit, self.first_line + at));
            let filled = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
            let path = filled(&paths[at]).ok_or_else(|| wrong("no path"))?;
            let path = inside(&path).ok_or_else(|| wrong(&format!("{path} leads out of the list's folder")))?;
            let split = filled(&splits[at]).unwrap_or_default();
            let known = SPLITS.iter().find(|(name, _)| *name == split);
            let &(_, split) = known.ok_or_else(|| wrong(&format!("{split:?} is no split")))?;
            let pid = filled(&pids[at]);
            if pid.is_none() && split != Split::Pool {
                return Err(wrong("no pid"));
            }
            let camera = cameras.map(|cameras| filled(&cameras[at]).ok_or_else(|| wrong("no camid"))).transpose()?;
            Ok(Line { path, split, pid: pid.unwrap_or_default(), camera })
        };
        if paths.is_empty() {
            return Err(invalid(file, "the list is empty"));
        }
        (0..paths.len()).map(line).collect()
    }
}

fn csv(file: &Path) -> Result<Table> {
    let broken = |error: csv::Error| invalid(file, &format!("no CSV: {error}"));
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(broken)?;
    let header = reader.headers().map_err(broken)?.clone();
    let known = [PATH, SPLIT, PID, CAMERA];
    let place = |name: &'static str| header.iter().position(|head| head.trim_start_matches('\u{feff}') == name);
    let places: Vec<(&'static str, usize)> =
        known.into_iter().filter_map(|name| place(name).map(|place| (name, place))).collect();
    let mut columns: BTreeMap<&'static str, Vec<Option<String>>> =
        places.iter().map(|&(name, _)| (name, Vec::new())).collect();
    for line in reader.records() {
        let line = line.map_err(broken)?;
        for &(name, place) in &places {
            columns.entry(name).or_default().push(line.get(place).map(str::to_owned));
        }
    }
    Ok(Table { columns, unit: "record", first_line: 1 })
}

fn parquet(file: &Path) -> Result<Table> {
    let unreadable = |source| DataError::Io { action: "opening a list of pictures", source, path: PathBuf::from(file) };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let frame: DataFrame =
        ParquetReader::new(opened).finish().map_err(|error| invalid(file, &format!("no Parquet: {error}")))?;
    let text = |value: AnyValue| match value {
        AnyValue::Null => None,
        AnyValue::String(text) => Some(text.to_owned()),
        other => Some(other.to_string()),
    };
    let values =
        |column: &Column| -> Vec<Option<String>> { column.as_materialized_series().iter().map(text).collect() };
    let known = [PATH, SPLIT, PID, CAMERA].into_iter();
    let columns = known.filter_map(|name| frame.column(name).ok().map(|column| (name, values(column)))).collect();
    Ok(Table { columns, unit: "row", first_line: 0 })
}

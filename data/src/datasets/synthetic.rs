//! The built-in renderer's folders: Market-1501 layout with further splits.

use std::collections::BTreeMap;
use std::path::Path;

use crate::dataset::Split;
use crate::datasets::folder::{Naming, Scan};
use crate::datasets::{Found, OpenSettings, market_like};
use crate::spec::{SyntheticDomain, SyntheticSpec};
use crate::{DataError, Result};

/// Splits that the layout of Market-1501 does not have.
const FURTHER: [(&str, Split); 4] = [
    ("validation_query", Split::ValidationQuery),
    ("validation_gallery", Split::ValidationGallery),
    ("occluded_query", Split::OccludedQuery),
    ("pool", Split::Pool),
];

/// File with lines `path,share`: the share of the person that an occluder hides.
const HIDDEN: &str = "hidden.csv";

/// Renders the set if need be, and finds its splits.
pub(crate) fn find(spec: &SyntheticSpec, settings: &OpenSettings) -> Result<Found> {
    let root = crate::synthetic::materialise(spec, &settings.cache, settings.threads, settings.progress)?;
    let mut scan = Scan::new(&root);
    for (folder, split) in market_like::FOLDERS.into_iter().chain(FURTHER) {
        let naming = if split == Split::Pool { Naming::Unlabelled } else { Naming::Labelled };
        // A set without validation identities has no folder for them.
        if root.join(folder).is_dir() {
            scan.add(folder, split, naming)?;
        }
    }
    let (mut splits, notes) = scan.finish(&market_like::FOLDERS.map(|(_, split)| split))?;
    splits.retain(|_, records| !records.is_empty());
    let hidden = read_hidden(&root.join(HIDDEN))?;
    for record in splits.values_mut().flatten() {
        record.hidden = hidden.get(&record.path).copied();
    }
    let domain = match spec.domain {
        SyntheticDomain::First => "first",
        SyntheticDomain::Second => "second",
    };
    Ok(Found { synthetic: true, ..Found::in_folder(&format!("synthetic-{domain}"), root, splits, notes) })
}

fn read_hidden(path: &Path) -> Result<BTreeMap<String, f32>> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Io {
        action: "reading the hidden shares",
        source,
        path: path.to_path_buf(),
    })?;
    let share = |line: &str| {
        let (name, share) = line.rsplit_once(',')?;
        Some((name.to_owned(), share.trim().parse().ok()?))
    };
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && *line != "path,share");
    lines
        .map(|line| {
            share(line).ok_or_else(|| DataError::Invalid {
                problem: format!("line {line:?} is not `path,share`"),
                remedy: "delete the folder; it is rendered again".to_owned(),
                path: path.to_path_buf(),
            })
        })
        .collect()
}

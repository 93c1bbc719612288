//! Settings by the names that tables give their rows.

use std::collections::BTreeMap;

use polars::prelude::DataFrame;

use crate::row::Scalar;
use crate::table::{Field, TableOptions, fields};
use crate::{Result, ResultsError, decode};

/// Settings that an error names.
const NAMED: usize = 12;

/// Runs that differ in their seeds only.
pub(crate) struct Setting {
    /// As tables name the row.
    pub(crate) name: String,
    /// Shown fields and their values.
    values: Vec<(Field, Option<Scalar>)>,
    /// Rows of the runs.
    pub(crate) rows: Vec<usize>,
}

/// Settings of the runs, in order of appearance.
pub(crate) fn settings(runs: &DataFrame, fields: &[Field], options: &TableOptions) -> Vec<Setting> {
    let swept = decode::names(runs).into_iter().filter(|name| options.tells_apart(name));
    let keys: Vec<&str> = ["experiment", "label"].into_iter().chain(swept).collect();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut settings: Vec<Setting> = Vec::new();
    for row in 0..runs.height() {
        let key: Vec<_> = keys.iter().map(|name| decode::scalar(runs, name, row)).collect();
        let at = *known.entry(format!("{key:?}")).or_insert(settings.len());
        if at == settings.len() {
            let value = |field: &Field| (field.clone(), decode::scalar(runs, &field.column, row));
            let values: Vec<_> = fields.iter().map(value).collect();
            let shown: Vec<_> = values.iter().map(|(_, value)| value.clone()).collect();
            settings.push(Setting { name: fields::row_label(fields, &shown), values, rows: Vec::new() });
        }
        settings[at].rows.push(row);
    }
    settings
}

/// The one setting that fits a name: parts divided by commas, each the label or `field=value`; parts that tell
/// nothing may be left out.
pub(crate) fn find<'a>(settings: &'a [Setting], name: &str) -> Result<&'a Setting> {
    let parts: Vec<&str> = name.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    // A whole name first: it may have a part that also begins another one.
    let exact: Vec<&Setting> = settings.iter().filter(|setting| setting.name == name.trim()).collect();
    let fitting: Vec<&Setting> = match exact.as_slice() {
        [_] => exact,
        _ => settings.iter().filter(|setting| parts.iter().all(|part| setting.has(part))).collect(),
    };
    if let ([setting], false) = (fitting.as_slice(), parts.is_empty()) {
        return Ok(setting);
    }
    let (problem, shown) = match fitting.as_slice() {
        [] => ("no setting is called", settings.iter().collect()),
        _ => ("several settings are called", fitting),
    };
    let more = if shown.len() > NAMED { "; ..." } else { "" };
    let choices = shown.iter().take(NAMED).map(|setting| format!("`{}`", setting.name)).collect::<Vec<_>>();
    Err(ResultsError::Setting { problem, name: name.to_owned(), choices: format!("{}{more}", choices.join("; ")) })
}

impl Setting {
    /// Whether a part of a name fits.
    fn has(&self, part: &str) -> bool {
        let is = |value: &Option<Scalar>, text: &str| value.as_ref().is_some_and(|value| value.to_string() == text);
        let of_field = |(field, text): (&str, &str)| {
            self.values.iter().any(|(known, value)| {
                let named = known.path == field || known.path.ends_with(&format!(".{field}"));
                named && is(value, text)
            })
        };
        let is_label = self.values.iter().any(|(field, value)| field.column == "label" && is(value, part));
        is_label || part.split_once('=').is_some_and(|(field, text)| of_field((field.trim(), text.trim())))
    }
}

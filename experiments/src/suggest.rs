//! Did you mean ...?

use crate::shape::{Shape, quoted};

/// Least similarity of a suggestion (Jaro-Winkler, 0 to 1).
const SIMILAR: f64 = 0.8;

/// The most similar name, if one is similar enough.
pub(crate) fn closest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let word = plain(word);
    let score = |name: &str| strsim::jaro_winkler(&word, &plain(name));
    let best = names.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) >= SIMILAR).then_some(best)
}

/// "did you mean ...?" and the list of what is valid.
pub(crate) fn help(word: &str, names: &[&str]) -> String {
    let valid = format!("valid here: {}", quoted(names));
    match closest(word, names) {
        Some(name) => format!("did you mean `{name}`? {valid}"),
        None => valid,
    }
}

/// A key that does not exist.
#[derive(Debug)]
pub(crate) struct Unknown {
    /// Which key of the path.
    pub(crate) index: usize,
    /// What to do.
    pub(crate) help: String,
}

impl Unknown {
    /// `key` does not exist in `shape`.
    pub(crate) fn new(shape: &Shape, index: usize, key: &str) -> Self {
        let help = match shape {
            Shape::Map(map) => {
                let names: Vec<&str> = map.fields.iter().map(|field| field.name.as_str()).collect();
                match deeper(shape, key) {
                    Some(path) if closest(key, &names).is_none() => {
                        format!("did you mean `{path}`? valid here: {}", quoted(&names))
                    }
                    _ => help(key, &names),
                }
            }
            Shape::Choice(choice) => {
                match choice.variants.iter().find(|variant| has_field(variant.payload.as_ref(), key)) {
                    Some(variant) => {
                        format!("`{key}` is a field of `{}`: write `{}: {{{key}: ...}}`", variant.name, variant.name)
                    }
                    None => help(key, &choice.all_names()),
                }
            }
            other => format!("this is {}, which has no keys", other.expected()),
        };
        Self { index, help }
    }
}

fn has_field(shape: Option<&Shape>, key: &str) -> bool {
    matches!(shape, Some(Shape::Map(map)) if map.field(key).is_some())
}

/// The shortest path of a field of this very name that lies deeper, unless two are equally short.
fn deeper(shape: &Shape, key: &str) -> Option<String> {
    let mut found = Vec::new();
    collect(shape, key, &mut Vec::new(), &mut found);
    found.sort_by_key(Vec::len);
    match found.as_slice() {
        [only] => Some(only.join(".")),
        [first, second, ..] if first.len() < second.len() => Some(first.join(".")),
        _ => None,
    }
}

fn collect(shape: &Shape, key: &str, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match shape {
        Shape::Map(map) => {
            for field in &map.fields {
                path.push(field.name.clone());
                if field.name == key {
                    found.push(path.clone());
                }
                collect(&field.shape, key, path, found);
                path.pop();
            }
        }
        Shape::Choice(choice) => {
            for variant in &choice.variants {
                if let Some(payload) = &variant.payload {
                    path.push(variant.name.clone());
                    collect(payload, key, path, found);
                    path.pop();
                }
            }
        }
        _ => {}
    }
}

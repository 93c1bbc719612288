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
            Shape::Choice(choice) => match choice.variants.iter().find(|variant| has_field(variant.payload.as_ref(), key)) {
                Some(variant) => {
                    format!("`{key}` is a field of `{}`: write `{}: {{{key}: ...}}`", variant.name, variant.name)
                }
                None => help(key, &choice.all_names()),
            },
            other => format!("this is {}, which has no keys", other.expected()),
        };
        Self { index, help }
    }
}

fn has_field(shape: Option<&Shape>, key: &str) -> bool {
    matches!(shape, Some(Shape::Map(map)) if map.field(key).is_some())
}

/// The path of a field of this very name that lies deeper, if there is one only.
fn deeper(shape: &Shape, key: &str) -> Option<String> {
    let mut found = Vec::new();
    collect(shape, key, &mut Vec::new(), &mut found);
    match found.as_slice() {
        [path] => Some(path.clone()),
        _ => None,
    }
}

fn collect(shape: &Shape, key: &str, path: &mut Vec<String>, found: &mut Vec<String>) {
    let mut visit = |name: &str, shape: &Shape| {
        path.push(name.to_owned());
        if name == key && path.len() > 1 {
            found.push(path.join("."));
        } else {
            collect(shape, key, path, found);
        }
        path.pop();
    };
    match shape {
        Shape::Map(map) => map.fields.iter().for_each(|field| visit(&field.name, &field.shape)),
        Shape::Choice(choice) => {
            let payloads = choice.variants.iter().filter_map(|variant| Some((variant, variant.payload.as_ref()?)));
            payloads.for_each(|(variant, payload)| visit(&variant.name, payload));
        }
        _ => {}
    }
}

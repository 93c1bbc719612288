//! Tensors of a PyTorch checkpoint: where each lies in the archive, by its path through the dictionaries.

use std::collections::BTreeMap;

use candle_core::DType;

use super::archive::Entry;
use super::checkpoint::Stored;
use super::pickle::{Id, Pickle, Value};

/// Deepest nesting of dictionaries and lists that is followed; checkpoints have five.
const DEEPEST: usize = 32;
/// Most places that are looked at: shared parts count every time they are met.
const MOST_PLACES: usize = 1 << 22;

/// Storage types (`torch/storage.py`) of whose tensors something may be wanted.
const FLOATS: [(&str, DType); 4] = [
    ("FloatStorage", DType::F32),
    ("DoubleStorage", DType::F64),
    ("HalfStorage", DType::F16),
    ("BFloat16Storage", DType::BF16),
];

/// Every tensor of floats in nested dictionaries and lists; keys are joined by dots.
///
/// # Errors
/// If a tensor is not what PyTorch writes or lies outside its storage.
pub(super) fn tensors(
    pickle: &Pickle,
    entries: &BTreeMap<String, Entry>,
    folder: &str,
) -> Result<BTreeMap<String, Stored>, String> {
    let mut found = BTreeMap::new();
    let mut places = 0;
    // Not by recursion: a file must not decide how deep our stack gets.
    let mut left = vec![(String::new(), pickle.root(), 0)];
    while let Some((name, id, depth)) = left.pop() {
        places += 1;
        if depth > DEEPEST || places > MOST_PLACES || name.len() > 4096 {
            return Err("its dictionaries are nested beyond all measure".to_owned());
        }
        let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        match pickle.get(id) {
            Value::Dict(entries) => {
                for &(key, value) in entries {
                    let key = pickle.text(key).map(str::to_owned).or_else(|| Some(pickle.int(key)?.to_string()));
                    left.extend(key.map(|key| (below(&key), value, depth + 1)));
                }
            }
            Value::List(items) => {
                let items = items.iter().enumerate();
                left.extend(items.map(|(i, &item)| (below(&i.to_string()), item, depth + 1)));
            }
            Value::Call(callable, arguments) => {
                let tensor = Rebuild { pickle, entries, folder }.tensor(*callable, *arguments);
                if let Some(stored) = tensor.map_err(|reason| format!("tensor {name:.200}: {reason}"))? {
                    found.insert(name, stored);
                }
            }
            _ => {}
        }
        if left.len() > MOST_PLACES {
            return Err("its dictionaries are shared beyond all measure".to_owned());
        }
    }
    Ok(found)
}

struct Rebuild<'a> {
    pickle: &'a Pickle,
    entries: &'a BTreeMap<String, Entry>,
    folder: &'a str,
}

impl Rebuild<'_> {
    /// The tensor that a call makes; none if it makes something else, or a tensor of whole numbers.
    fn tensor(&self, callable: Id, arguments: Id) -> Result<Option<Stored>, String> {
        const UNKNOWN: &str = "it is not stored as PyTorch does";
        let (mut callable, mut arguments) = (callable, arguments);
        // A parameter wraps a tensor, a subclass wraps the function that makes one.
        for _ in 0..4 {
            let Some((module, name)) = self.pickle.global(callable) else { return Ok(None) };
            let list = self.pickle.list(arguments);
            match (module, name) {
                ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => {
                    return self.view(list.ok_or(UNKNOWN)?).ok_or(UNKNOWN)?;
                }
                ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                    let inner = list.and_then(<[Id]>::first).ok_or(UNKNOWN)?;
                    let Value::Call(c, a) = self.pickle.get(*inner) else { return Err(UNKNOWN.to_owned()) };
                    (callable, arguments) = (*c, *a);
                }
                ("torch._tensor", "_rebuild_from_type_v2") => {
                    let [function, _, inner, ..] = list.ok_or(UNKNOWN)? else { return Err(UNKNOWN.to_owned()) };
                    (callable, arguments) = (*function, *inner);
                }
                _ => return Ok(None),
            }
        }
        Err(UNKNOWN.to_owned())
    }

    /// `(storage, offset, shape, strides, ..)`.
    fn view(&self, arguments: &[Id]) -> Option<Result<Option<Stored>, String>> {
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let Value::Persistent(storage) = self.pickle.get(*storage) else { return None };
        // ("storage", type, key, device, elements)
        let [_, kind, key, ..] = self.pickle.list(*storage)? else { return None };
        let (_, kind) = self.pickle.global(*kind)?;
        let Some(&(_, dtype)) = FLOATS.iter().find(|(name, _)| *name == kind) else { return Some(Ok(None)) };
        let key = self.pickle.text(*key)?;
        let sizes = |id: Id| -> Option<Vec<usize>> {
            self.pickle.list(id)?.iter().map(|&id| usize::try_from(self.pickle.int(id)?).ok()).collect()
        };
        let (shape, strides) = (sizes(*shape)?, sizes(*strides)?);
        let offset = usize::try_from(self.pickle.int(*offset)?).ok()?;
        if shape.len() != strides.len() {
            return None;
        }
        let name = format!("{}data/{key}", self.folder);
        let Some(entry) = self.entries.get(&name) else {
            return Some(Err(format!("its numbers are not in the file: {name:.80}")));
        };
        Some(Stored::new(dtype, shape, strides, offset, (entry.start, entry.len), Some(entry.crc)).map(Some))
    }
}

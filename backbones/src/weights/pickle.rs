//! The pickles of PyTorch checkpoints, read as data.
//!
//! A pickle is a program that builds objects, and Python runs whatever function it names. Here nothing is ever
//! called: a call is kept as a value, and one of anything but a short list of harmless names is an error.
//! candle's reader calls nothing either, but copies what is shared, recurses where nesting is deep, and trusts
//! declared lengths; a hostile file of a kilobyte stops the process. This one keeps all values in one flat
//! list, shares by index, and allocates nothing that the file is too short to fill.

use std::collections::BTreeMap;

/// Longest pickle in bytes: real ones of large models with optimizers have a few megabytes.
pub(super) const LONGEST: u64 = 64 << 20;
/// Most values of a pickle, and most that it remembers: a real one has some tens of thousands.
const MOST_VALUES: usize = 1 << 22;

/// What may be named: module, then names, `*` for all. None has an effect beyond the object that it makes.
const HARMLESS: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict", "defaultdict", "Counter", "deque"]),
    ("builtins", BUILTINS),
    ("__builtin__", BUILTINS),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("copyreg", &["_reconstructor"]),
    ("copy_reg", &["_reconstructor"]),
    ("_codecs", &["encode"]),
    ("pathlib", &["Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"]),
    ("datetime", &["datetime", "date", "timedelta"]),
    ("yacs.config", &["CfgNode"]),
    ("numpy", &["dtype", "ndarray", "float64", "float32", "int64", "int32", "bool_"]),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy._core.multiarray", &["scalar", "_reconstruct"]),
    ("torch", TORCH),
    ("torch._utils", &["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state"]),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.nn.parameter", &["Parameter", "Buffer"]),
    ("torch.storage", &["TypedStorage", "UntypedStorage"]),
    ("torch.serialization", &["_get_layout"]),
];

const BUILTINS: &[&str] = &[
    "set",
    "frozenset",
    "dict",
    "list",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "bytearray",
    "complex",
    "object",
];

const TORCH: &[&str] = &[
    "Tensor",
    "Size",
    "device",
    "FloatStorage",
    "DoubleStorage",
    "HalfStorage",
    "BFloat16Storage",
    "LongStorage",
    "IntStorage",
    "ShortStorage",
    "CharStorage",
    "ByteStorage",
    "BoolStorage",
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
];

/// Index of a value.
pub(super) type Id = u32;

/// A value; what it holds are indices into [`Pickle::values`].
#[derive(Debug)]
pub(super) enum Value {
    /// None, numbers that no tensor needs, byte strings, sets.
    Other,
    Int(i64),
    Text(String),
    /// Also lists: nothing here tells them apart.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by name.
    Global(String, String),
    /// What a call would have made.
    Call(Id, Id),
    /// What PyTorch stores outside the pickle.
    Persistent(Id),
    Mark,
}

/// A pickle's values and its result.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle without calling anything.
    ///
    /// # Errors
    /// If it is damaged, names a function that weights do not need, or uses what PyTorch never writes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, at: 0, values: Vec::new(), stack: Vec::new(), memo: BTreeMap::new() };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        if let Value::Int(value) = self.get(id) { Some(*value) } else { None }
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        if let Value::Text(value) = self.get(id) { Some(value) } else { None }
    }

    pub(super) fn list(&self, id: Id) -> Option<&[Id]> {
        if let Value::List(items) = self.get(id) { Some(items) } else { None }
    }

    /// Module and name.
    pub(super) fn global(&self, id: Id) -> Option<(&str, &str)> {
        if let Value::Global(module, name) = self.get(id) { Some((module, name)) } else { None }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    memo: BTreeMap<u64, Id>,
}

impl Machine<'_> {
    fn take(&mut self, len: u64) -> Result<&[u8], String> {
        let left = (self.bytes.len() - self.at) as u64;
        if len > left {
            return Err(format!("the pickle ends in the middle: {len} bytes are declared where {left} are left"));
        }
        let from = self.at;
        self.at += len as usize;
        Ok(&self.bytes[from..self.at])
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, len: u64) -> Result<u64, String> {
        Ok(self.take(len)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn text(&mut self, len: u64) -> Result<String, String> {
        let bytes = self.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|e| format!("a text that is no UTF-8: {e}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or("the pickle ends in the middle of a name")?;
        let line = self.text(len as u64)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() >= MOST_VALUES {
            return Err(format!("more than {MOST_VALUES} values"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let id = self.last()?;
        self.stack.pop();
        Ok(id)
    }

    /// The top of the stack, which is no mark.
    fn last(&self) -> Result<Id, String> {
        let top = self.stack.last().copied().ok_or("an operation finds its stack empty")?;
        if matches!(self.values[top as usize], Value::Mark) { Err("an operation finds a mark".into()) } else { Ok(top) }
    }

    /// Everything above the last mark, and the mark away.
    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let is_mark = |id: &Id| matches!(self.values[*id as usize], Value::Mark);
        let at = self.stack.iter().rposition(is_mark).ok_or("an operation finds no mark")?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Ok(items)
    }

    fn pop_some(&mut self, count: usize) -> Result<Vec<Id>, String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<Id>, String>>()?;
        items.reverse();
        Ok(items)
    }

    fn name(&mut self, module: String, name: String) -> Result<(), String> {
        let is_harmless = HARMLESS.iter().any(|(known, names)| *known == module && names.contains(&name.as_str()));
        if !is_harmless {
            return Err(format!(
                "it names {module:.80}.{name:.80}, which weights do not need; nothing was executed. If you trust its \
                 source, save the tensors alone with PyTorch (`torch.save(model.state_dict(), FILE)`)"
            ));
        }
        self.push(Value::Global(module, name))
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), String> {
        let target = self.last()?;
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match &mut self.values[target as usize] {
            Value::Dict(entries) => entries.extend(pairs),
            // A class of its own that is also a dictionary, such as a configuration.
            Value::Call(..) => {}
            other => return Err(format!("entries for what is no dictionary: {}", kind(other))),
        }
        Ok(())
    }

    fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let target = self.last()?;
        match &mut self.values[target as usize] {
            Value::List(list) => list.extend(items),
            Value::Call(..) | Value::Other => {}
            other => return Err(format!("items for what is no list: {}", kind(other))),
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let value = match &self.values[callable as usize] {
            Value::Global(module, name) if module == "collections" && name.ends_with("ict") => {
                Value::Dict(self.pairs(arguments))
            }
            Value::Global(..) => Value::Call(callable, arguments),
            other => return Err(format!("a call of what is no name: {}", kind(other))),
        };
        self.push(value)
    }

    /// The entries of `OrderedDict([(key, value), ..])`, as Python 2 wrote it.
    fn pairs(&self, arguments: Id) -> Vec<(Id, Id)> {
        let list = |id: Id| if let Value::List(items) = &self.values[id as usize] { items.as_slice() } else { &[] };
        let pair = |&id: &Id| if let [key, value] = list(id) { Some((*key, *value)) } else { None };
        list(arguments).first().map(|&items| list(items).iter().filter_map(pair).collect()).unwrap_or_default()
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = self.last()?;
        self.memo.insert(key, top);
        if self.memo.len() > MOST_VALUES {
            Err(format!("more than {MOST_VALUES} values are remembered"))
        } else {
            Ok(())
        }
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let id = self.memo.get(&key).copied().ok_or_else(|| format!("nothing was remembered as {key}"))?;
        self.stack.push(id);
        Ok(())
    }

    /// One operation; false after the last.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.take(1)?[0];
        match code {
            b'.' => return Ok(false),
            0x80 => drop(self.take(1)?), // version
            0x95 => drop(self.take(8)?), // frame
            b'(' => self.push(Value::Mark)?,
            // Away with the top of the stack; or with the state of an object, which of dictionaries is what PyTorch
            // notes about its modules.
            b'0' | b'b' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'q' | b'r' => {
                let key = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' | b'j' => {
                let key = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id as usize] {
                    Value::Text(text) => Ok(text.clone()),
                    other => Err(format!("a name that is {}", kind(other))),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.name(module, name)?;
            }
            b'R' | 0x81 => self.call()?,
            0x92 => {
                self.pop()?; // arguments by name
                self.call()?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            code => return self.container(code).map(|()| true),
        }
        Ok(true)
    }

    /// An operation on tuples, lists, sets and dictionaries.
    fn container(&mut self, code: u8) -> Result<(), String> {
        match code {
            b']' | b')' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b't' | b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))
            }
            0x85..=0x87 => {
                let items = self.pop_some(usize::from(code - 0x84))?;
                self.push(Value::List(items))
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set_items(&items)
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(&items)
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Other)
            }
            b's' => {
                let items = self.pop_some(2)?;
                self.set_items(&items)
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)
            }
            code => self.constant(code),
        }
    }

    /// A number, a text or nothing.
    fn constant(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'N' | 0x88 | 0x89 | 0x8f => self.push(Value::Other),
            b'J' => {
                let value = self.number(4)? as u32;
                self.push(Value::Int(i64::from(value.cast_signed())))
            }
            b'K' | b'M' => {
                let value = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(value.cast_signed()))
            }
            0x8a | 0x8b => self.long(if code == 0x8a { 1 } else { 4 }),
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)
            }
            b'X' | 0x8c | 0x8d => {
                let len = self.number(if code == b'X' {
                    4
                } else if code == 0x8c {
                    1
                } else {
                    8
                })?;
                let text = self.text(len)?;
                self.push(Value::Text(text))
            }
            // Strings of bytes, in which Python 2 wrote texts.
            b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => {
                let width = match code {
                    b'U' | b'C' => 1,
                    b'T' | b'B' => 4,
                    _ => 8,
                };
                let len = self.number(width)?;
                let text = String::from_utf8(self.take(len)?.to_vec());
                self.push(text.map_or(Value::Other, Value::Text))
            }
            other => Err(format!("operation {other:#04x}, which PyTorch does not write")),
        }
    }

    /// A number of any length; of those beyond 64 bits nothing is kept.
    fn long(&mut self, width: u64) -> Result<(), String> {
        let len = self.number(width)?;
        let bytes = self.take(len)?;
        let value = if bytes.len() > 8 {
            Value::Other
        } else {
            let filler = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
            let mut whole = [filler; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(whole))
        };
        self.push(value)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Other => "a constant",
        Value::Int(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dictionary",
        Value::Global(..) => "a name",
        Value::Call(..) => "an object",
        Value::Persistent(_) => "a storage",
        Value::Mark => "a mark",
    }
}

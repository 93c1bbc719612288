//! Weight files of any format, as named tensors that are read one at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::pickle::{LONGEST, Pickle};
use super::{archive, torch};
use crate::error::{self, BackboneError};

/// Longest header of a safetensors file; one of a thousand tensors has a hundred kilobytes.
const LONGEST_HEADER: u64 = 16 << 20;
/// First bytes of what PyTorch before 1.6 wrote: the pickle of a magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Where a tensor's numbers lie.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    dtype: DType,
    shape: Vec<usize>,
    /// In elements, as are offsets.
    strides: Vec<usize>,
    offset: usize,
    /// First byte and number of bytes of the storage.
    storage: (u64, u64),
    crc: Option<u32>,
}

impl Stored {
    /// A view of a storage that holds all of it.
    ///
    /// # Errors
    /// If the view leaves the storage, or repeats numbers.
    pub(super) fn new(
        dtype: DType,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: (u64, u64),
        crc: Option<u32>,
    ) -> Result<Self, String> {
        let elements = storage.1 / dtype.size_in_bytes() as u64;
        let count = shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side));
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(offset, |last, (&side, stride)| last.checked_add(side.saturating_sub(1).checked_mul(*stride)?));
        let fits = |count: usize, last: usize| {
            count == 0 || ((last as u64) < elements && count as u64 <= elements && shape.len() <= 8)
        };
        match (count, last) {
            (Some(count), Some(last)) if fits(count, last) => Ok(Self { dtype, shape, strides, offset, storage, crc }),
            _ => Err(format!("{shape:?} numbers do not lie within the {elements} that are stored")),
        }
    }

    fn is_contiguous(&self) -> bool {
        let mut step = 1_usize;
        self.shape.iter().zip(&self.strides).rev().all(|(&side, &stride)| {
            let expected = step;
            step = step.saturating_mul(side);
            side <= 1 || stride == expected
        })
    }
}

/// An opened weight file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    format: &'static str,
    tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    /// Opens a file of PyTorch (1.6 or later) or of safetensors, told apart by their content. Reads names and
    /// shapes only.
    ///
    /// # Errors
    /// If the file is missing, damaged, of another kind, or a pickle that names what weights do not need.
    pub fn open(path: &Path) -> error::Result<Self> {
        let named = |reason: String| BackboneError::File { action: READ, reason, path: path.display().to_string() };
        let io = |e: std::io::Error| named(e.to_string());
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut start = Vec::new();
        file.by_ref().take(512).read_to_end(&mut start).map_err(io)?;
        let (format, tensors) = if start.starts_with(b"PK\x03\x04") {
            ("PyTorch", of_torch(&mut file, size))
        } else if start.get(8) == Some(&b'{') {
            ("safetensors", of_safetensors(&mut file, size))
        } else {
            ("unknown", Err(foreign(&start)))
        };
        Ok(Self { path: path.to_owned(), format, tensors: tensors.map_err(named)? })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `PyTorch` or `safetensors`.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Sorted names of the tensors of floating-point numbers; in nested dictionaries joined by dots.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }

    /// Reads one tensor as f32.
    ///
    /// # Errors
    /// If there is none of that name, or its numbers cannot be read.
    pub fn read(&self, name: &str) -> error::Result<Tensor> {
        let stored = self.tensors.get(name).ok_or_else(|| BackboneError::UnknownParameter { name: name.to_owned() })?;
        let fail = |reason: String| {
            let reason = format!("tensor {name}: {reason}");
            BackboneError::File { action: READ, reason, path: self.path.display().to_string() }
        };
        let bytes = storage(&self.path, stored).map_err(fail)?;
        let size = stored.dtype.size_in_bytes();
        let elements = bytes.len() / size;
        let whole = Tensor::from_raw_buffer(&bytes[..elements * size], stored.dtype, &[elements], &Device::Cpu)?;
        let values: Vec<f32> = whole.to_dtype(DType::F32)?.to_vec1()?;
        drop((bytes, whole));
        let count: usize = stored.shape.iter().product();
        let picked: Vec<f32> = if stored.is_contiguous() {
            values[stored.offset.min(elements)..][..count].to_vec()
        } else {
            (0..count).map(|i| values[index(stored, i)]).collect()
        };
        if let Some(at) = picked.iter().position(|value| !value.is_finite()) {
            return Err(fail(format!("its number {at} is {}", picked[at])));
        }
        Ok(Tensor::from_vec(picked, stored.shape.as_slice(), &Device::Cpu)?)
    }
}

const READ: &str = "cannot read weights";

/// Where the i-th element in row-major order lies in the storage.
fn index(stored: &Stored, i: usize) -> usize {
    let mut rest = i;
    let axes = stored.shape.iter().zip(&stored.strides).rev();
    axes.fold(stored.offset, |at, (&side, stride)| {
        let step = rest % side * stride;
        rest /= side;
        at + step
    })
}

/// All bytes of a tensor's storage.
fn storage(path: &Path, stored: &Stored) -> Result<Vec<u8>, String> {
    let (start, len) = stored.storage;
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        // The length was found to lie within the file; if it has been cut since, what comes is short.
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = read().map_err(|e: std::io::Error| e.to_string())?;
    if (bytes.len() as u64) < len || stored.crc.is_some_and(|crc| archive::crc32(&bytes) != crc) {
        return Err("its bytes are not those that were written; fetch the file again".to_owned());
    }
    Ok(bytes)
}

fn of_torch(file: &mut File, size: u64) -> Result<BTreeMap<String, Stored>, String> {
    let entries = archive::entries(file, size)?;
    let mut pickles = entries.iter().filter(|(name, _)| name.ends_with("/data.pkl") || *name == "data.pkl");
    let (Some((name, entry)), None) = (pickles.next(), pickles.next()) else {
        let first = entries.keys().next().map_or("nothing", String::as_str);
        return Err(format!("a zip archive that PyTorch did not write: it has no data.pkl, but {first:.80}"));
    };
    if entry.len > LONGEST {
        return Err(format!("its pickle has {} bytes, more than the {LONGEST} of any checkpoint", entry.len));
    }
    let folder = name.strip_suffix("data.pkl").unwrap_or_default();
    let order = entries.get(&format!("{folder}byteorder")).map(|entry| bytes(file, *entry)).transpose()?;
    if order.is_some_and(|order| order != b"little") {
        return Err("its numbers are big-endian; save it again on a usual machine".to_owned());
    }
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        return Err("a TorchScript program; save its `state_dict()` with `torch.save` instead".to_owned());
    }
    let pickle = Pickle::read(&bytes(file, *entry)?).map_err(|reason| format!("its pickle is refused: {reason}"))?;
    torch::tensors(&pickle, &entries, folder)
}

/// An entry's bytes, which are few.
fn bytes(file: &mut File, entry: archive::Entry) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(entry.start)).map_err(|e| e.to_string())?;
    file.take(entry.len.min(LONGEST)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if archive::crc32(&bytes) != entry.crc {
        return Err("the archive is damaged: a checksum differs; fetch the file again".to_owned());
    }
    Ok(bytes)
}

/// <https://huggingface.co/docs/safetensors>: length of the header, header in JSON, numbers.
fn of_safetensors(file: &mut File, size: u64) -> Result<BTreeMap<String, Stored>, String> {
    const TORN: &str = "the safetensors header is damaged or cut; fetch the file again";
    let mut start = [0; 8];
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut start)).map_err(|e| e.to_string())?;
    let len = u64::from_le_bytes(start);
    if len > LONGEST_HEADER || len + 8 > size {
        return Err(TORN.to_owned());
    }
    let mut header = Vec::new();
    file.take(len).read_to_end(&mut header).map_err(|e| e.to_string())?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&header).map_err(|e| format!("{TORN}: {e}"))?;
    let base = 8 + len;
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let list = |key: &str| -> Option<Vec<u64>> { entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
        let (Some(kind), Some(shape), Some(range)) =
            (entry.get("dtype").and_then(Value::as_str), list("shape"), list("data_offsets"))
        else {
            return Err(TORN.to_owned());
        };
        let dtype = match kind {
            "F32" => DType::F32,
            "F64" => DType::F64,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            _ => continue,
        };
        let &[from, to] = range.as_slice() else { return Err(TORN.to_owned()) };
        if from > to || base.checked_add(to).is_none_or(|end| end > size) {
            return Err(format!("tensor {name:.200} lies outside the file; fetch the file again"));
        }
        let shape: Vec<usize> = shape.iter().map(|&side| side as usize).collect();
        let mut strides = vec![1_usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        let stored = Stored::new(dtype, shape, strides, 0, (base + from, to - from), None);
        tensors.insert(name.clone(), stored.map_err(|reason| format!("tensor {name:.200}: {reason}"))?);
    }
    Ok(tensors)
}

/// What a file is that holds no weights that we read.
fn foreign(start: &[u8]) -> String {
    let is_tar = start.get(257..262) == Some(b"ustar".as_slice());
    if start.starts_with(LEGACY) || is_tar {
        "it was written by PyTorch before 1.6, or in its old format; with a PyTorch of today, \
         `torch.save(torch.load(FILE, map_location='cpu'), NEW_FILE)` converts it"
            .to_owned()
    } else if start.starts_with(b"version https://git-lfs") {
        "a pointer of Git LFS instead of the file; fetch it with `git lfs pull`".to_owned()
    } else if start.trim_ascii_start().starts_with(b"<") {
        "a web page; the link that it was fetched from leads to a page about the file".to_owned()
    } else if start.is_empty() {
        "the file is empty".to_owned()
    } else {
        "neither a file of PyTorch (.pth, .pt, .bin) nor of safetensors".to_owned()
    }
}

//! Reads the arrays of a MAT file of version 5 (the maker of MATLAB, "MAT-File Format", chapter 1): numbers, texts and cells of
//! them, compressed or not. CUHK03's new protocol is published in such files; the crates that read them do not know
//! cells.

use std::collections::BTreeMap;
use std::io::Read;

/// What a variable holds. Arrays are flat, in MATLAB's order: the first dimension runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Numbers(Vec<f64>),
    Text(String),
    Cells(Vec<Value>),
    /// Structures, objects and sparse matrices, which nobody has asked for.
    Other,
}

/// Bytes before the first element.
const HEADER: usize = 128;
/// Cells in cells that are followed.
const MAX_DEPTH: usize = 8;
/// Most bytes that a compressed variable may unfold to.
const MAX_UNFOLDED: u64 = 1 << 30;

/// Kinds of elements (table 1-1).
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Classes of arrays (table 1-3).
const CELL: u8 = 1;
const CHAR: u8 = 4;
const NUMERIC: std::ops::RangeInclusive<u8> = 6..=15;

/// Every variable of a file.
///
/// # Errors
/// Why the bytes are no such file.
pub(crate) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Value>, String> {
    let header = bytes.get(..HEADER).ok_or("the file is shorter than its header")?;
    if header[124..128] != [0x00, 0x01, b'I', b'M'] {
        return Err("no MAT file of version 5 from a little-endian machine".to_owned());
    }
    let mut variables = BTreeMap::new();
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let element = next(&mut rest)?;
        let (kind, unfolded);
        let data = if element.kind == COMPRESSED {
            let mut folded = Vec::new();
            let mut reader = flate2::read::ZlibDecoder::new(element.data).take(MAX_UNFOLDED);
            reader.read_to_end(&mut folded).map_err(|error| format!("a variable cannot be unfolded: {error}"))?;
            unfolded = folded;
            let inner = next(&mut unfolded.as_slice())?;
            kind = inner.kind;
            inner.data
        } else {
            kind = element.kind;
            element.data
        };
        if kind == MATRIX {
            let (name, value) = matrix(data, 0)?;
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

struct Element<'a> {
    kind: u32,
    data: &'a [u8],
}

/// The element that the bytes begin with; they go on after it.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<Element<'a>, String> {
    let cut = || "the file ends in the middle of an element".to_owned();
    let word = |at: usize| -> Result<u32, String> {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(cut)?;
        Ok(u32::from_le_bytes(*word))
    };
    let first = word(0)?;
    if first >> 16 != 0 {
        // A small element: kind and length share a word, and up to four bytes follow.
        let (kind, length) = (first & 0xFFFF, (first >> 16) as usize);
        let data = bytes.get(4..4 + length).filter(|_| length <= 4).ok_or_else(cut)?;
        *bytes = bytes.get(8..).unwrap_or(&[]);
        return Ok(Element { kind, data });
    }
    let length = word(4)? as usize;
    let data = bytes.get(8..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?;
    let padded = if first == COMPRESSED { length } else { length.next_multiple_of(8) };
    *bytes = bytes.get(8 + padded..).unwrap_or(&[]);
    Ok(Element { kind: first, data })
}

/// Name and value of an array.
fn matrix(mut data: &[u8], depth: usize) -> Result<(String, Value), String> {
    if data.is_empty() {
        // An empty cell.
        return Ok((String::new(), Value::Numbers(Vec::new())));
    }
    let flags = next(&mut data)?;
    let class = *flags.data.first().ok_or("an array without a class")?;
    let _dimensions = next(&mut data)?;
    let name = String::from_utf8_lossy(next(&mut data)?.data).into_owned();
    let value = match class {
        CELL if depth < MAX_DEPTH => {
            let mut cells = Vec::new();
            while !data.is_empty() {
                let cell = next(&mut data)?;
                cells.push(matrix(cell.data, depth + 1)?.1);
            }
            Value::Cells(cells)
        }
        CHAR => Value::Text(text(&next(&mut data)?)?),
        class if NUMERIC.contains(&class) => Value::Numbers(numbers(&next(&mut data)?)?),
        _ => Value::Other,
    };
    Ok((name, value))
}

fn numbers(element: &Element) -> Result<Vec<f64>, String> {
    fn each<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
    }
    let data = element.data;
    Ok(match element.kind {
        1 => each(data, |bytes| f64::from(i8::from_le_bytes(bytes))),
        2 => each(data, |bytes| f64::from(u8::from_le_bytes(bytes))),
        3 => each(data, |bytes| f64::from(i16::from_le_bytes(bytes))),
        4 => each(data, |bytes| f64::from(u16::from_le_bytes(bytes))),
        5 => each(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        6 => each(data, |bytes| f64::from(u32::from_le_bytes(bytes))),
        7 => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        9 => each(data, f64::from_le_bytes),
        12 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        13 => each(data, |bytes| u64::from_le_bytes(bytes) as f64),
        kind => return Err(format!("numbers of kind {kind}")),
    })
}

fn text(element: &Element) -> Result<String, String> {
    match element.kind {
        1 | 2 | 16 => Ok(String::from_utf8_lossy(element.data).into_owned()),
        4 | 17 => {
            let units: Vec<u16> =
                element.data.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            Ok(String::from_utf16_lossy(&units))
        }
        kind => Err(format!("letters of kind {kind}")),
    }
}

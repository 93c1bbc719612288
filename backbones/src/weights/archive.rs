//! The zip archives that PyTorch writes: uncompressed entries, found through the directory at the end.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// Signatures (PKWARE's application note, sections 4.3.7 to 4.3.16).
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// Length of the record at the end without its comment, which has at most 65,535 bytes.
const END_LEN: u64 = 22;
const LONGEST_COMMENT: u64 = 0xffff;
/// Longest directory that is read: a checkpoint has some thousand entries of a hundred bytes.
const LONGEST_DIRECTORY: u64 = 64 << 20;

/// One entry's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// First byte in the file.
    pub(super) start: u64,
    /// Number of bytes.
    pub(super) len: u64,
    /// CRC-32 of them.
    pub(super) crc: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn bytes_at(file: &mut (impl Read + Seek), start: u64, len: u64) -> Result<Vec<u8>, String> {
    let read = |file: &mut dyn Read| {
        let mut bytes = vec![0; len as usize];
        file.read_exact(&mut bytes).map(|()| bytes)
    };
    file.seek(SeekFrom::Start(start)).and_then(|_| read(file)).map_err(|e| e.to_string())
}

/// Every entry by name.
///
/// # Errors
/// If the directory is damaged or an entry is compressed, encrypted or outside the file.
pub(super) fn entries(file: &mut (impl Read + Seek), size: u64) -> Result<BTreeMap<String, Entry>, String> {
    const TORN: &str = "the archive's directory is missing or damaged; the file was probably not copied to its end";
    let (start, len, count) = directory(file, size)?.ok_or(TORN)?;
    if start.checked_add(len).is_none_or(|end| end > size) || len > LONGEST_DIRECTORY {
        return Err(TORN.to_owned());
    }
    let directory = bytes_at(file, start, len)?;
    let (mut at, mut entries) = (0, BTreeMap::new());
    for _ in 0..count {
        let header = parse(&directory, &mut at).ok_or(TORN)?;
        if header.is_encrypted || header.is_compressed {
            let how = if header.is_encrypted { "encrypted" } else { "compressed" };
            return Err(format!("the archive's entry {:.80} is {how}, which PyTorch does not do", header.name));
        }
        if header.local.checked_add(30).is_none_or(|end| end > size) {
            return Err(format!("the archive's entry {:.80} lies outside the file", header.name));
        }
        let local = bytes_at(file, header.local, 30)?;
        if u32_at(&local, 0) != Some(u64::from(LOCAL)) {
            return Err(TORN.to_owned());
        }
        let names = u16_at(&local, 26).unwrap_or(0) + u16_at(&local, 28).unwrap_or(0);
        let begin = header.local + 30 + names;
        if begin.checked_add(header.len).is_none_or(|end| end > size) {
            return Err(format!("the archive's entry {:.80} lies outside the file", header.name));
        }
        entries.insert(header.name, Entry { start: begin, len: header.len, crc: header.crc });
    }
    Ok(entries)
}

/// Start, length and number of entries of the directory.
fn directory(file: &mut (impl Read + Seek), size: u64) -> Result<Option<(u64, u64, u64)>, String> {
    let tail_len = size.min(END_LEN + LONGEST_COMMENT);
    let tail = bytes_at(file, size - tail_len, tail_len)?;
    let is_end = |at: &usize| u32_at(&tail, *at) == Some(u64::from(END));
    let Some(at) = (0..tail.len().saturating_sub(END_LEN as usize - 1)).rev().find(is_end) else { return Ok(None) };
    let short = || Some((u32_at(&tail, at + 16)?, u32_at(&tail, at + 12)?, u16_at(&tail, at + 10)?));
    let Some(found) = short() else { return Ok(None) };
    // Of files beyond 4 GB the true numbers stand in another record, whose place a third one tells.
    let Some(locator) = at.checked_sub(20).filter(|&at| u32_at(&tail, at) == Some(u64::from(LOCATOR_64))) else {
        return Ok(Some(found));
    };
    let Some(place) = u64_at(&tail, locator + 8).filter(|place| place.checked_add(56).is_some_and(|end| end <= size))
    else {
        return Ok(None);
    };
    let record = bytes_at(file, place, 56)?;
    if u32_at(&record, 0) != Some(u64::from(END_64)) {
        return Ok(None);
    }
    let long = || Some((u64_at(&record, 48)?, u64_at(&record, 40)?, u64_at(&record, 32)?));
    Ok(long())
}

struct Header {
    name: String,
    is_encrypted: bool,
    is_compressed: bool,
    crc: u32,
    len: u64,
    local: u64,
}

/// The next header of the directory.
fn parse(directory: &[u8], at: &mut usize) -> Option<Header> {
    let header = directory.get(*at..)?;
    if u32_at(header, 0)? != u64::from(CENTRAL) {
        return None;
    }
    let [name_len, extra_len, comment_len] = [u16_at(header, 28)?, u16_at(header, 30)?, u16_at(header, 32)?];
    let name = header.get(46..46 + name_len as usize)?;
    let extra = header.get(46 + name_len as usize..(46 + name_len + extra_len) as usize)?;
    let (packed, len, local) = (u32_at(header, 20)?, u32_at(header, 24)?, u32_at(header, 42)?);
    let [len, packed, local] = widen(extra, [len, packed, local])?;
    *at += (46 + name_len + extra_len + comment_len) as usize;
    Some(Header {
        name: String::from_utf8_lossy(name).into_owned(),
        is_encrypted: u16_at(header, 8)? & 1 != 0,
        is_compressed: u16_at(header, 10)? != 0 || packed != len,
        crc: u32_at(header, 16)? as u32,
        len,
        local,
    })
}

/// Length, packed length and offset, those that do not fit into 32 bits out of the extra field of type 1.
fn widen(extra: &[u8], short: [u64; 3]) -> Option<[u64; 3]> {
    const FULL: u64 = u32::MAX as u64;
    if short.iter().all(|&value| value != FULL) {
        return Some(short);
    }
    let mut at = 0;
    loop {
        let (kind, len) = (u16_at(extra, at)?, u16_at(extra, at + 2)? as usize);
        if kind == 1 {
            let mut field = at + 4;
            let mut long = short;
            for value in long.iter_mut().filter(|value| **value == FULL) {
                *value = u64_at(extra, field)?;
                field += 8;
            }
            return Some(long);
        }
        at += 4 + len;
    }
}

/// CRC-32 of ISO 3309, as zip uses it.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| {
        (0..8).fold(i as u32, |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    !bytes.iter().fold(!0, |crc: u32, &byte| table[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8))
}

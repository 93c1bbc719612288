//! Reads LMDB databases (Symas Lightning Memory-Mapped Database, format version 1), such as LUPerson is kept in.
//!
//! By plain reads instead of a memory map: a database that was cut off while it was copied is then an error with a
//! name, where a map would end the program. Nothing is written, no lock is taken, and a database of any size costs a
//! few pages of memory. The layout is that of `mdb.c` of LMDB 0.9, little-endian with 64-bit page numbers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::source::file_stamp;

/// First number of a meta page.
const MAGIC: u32 = 0xBEEF_C0DE;
/// Format that is read.
const VERSION: u32 = 1;
/// Bytes of a page's header: its number, a pad, flags, and where its free space lies.
const HEADER: usize = 16;
/// Bytes of a node's header: size of the value or number of the child in three parts, and size of the key.
const NODE: usize = 8;
/// Bytes of a meta page that are read.
const META: usize = 152;
/// Root of an empty database.
const NO_PAGE: u64 = u64::MAX;
/// Deepest tree: far more than 2^48 pages need.
const MAX_DEPTH: usize = 32;

/// Kinds of pages.
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
/// A node whose value lies on pages of its own.
const IS_BIG: u16 = 0x01;

/// An open database, read only. Shared by threads.
#[derive(Debug)]
pub struct Lmdb {
    file: File,
    path: PathBuf,
    length: u64,
    page: usize,
    root: u64,
    entries: u64,
}

/// A page of the tree.
struct Page {
    bytes: Vec<u8>,
    is_leaf: bool,
    keys: usize,
}

/// A node of a page.
struct Node<'a> {
    key: &'a [u8],
    /// Size of the value on a leaf, number of the child on a branch.
    number: u64,
    flags: u16,
    /// What follows the key.
    rest: &'a [u8],
}

impl Lmdb {
    /// Opens a database file, which is called `data.mdb` in the folder that Python's `lmdb.open` makes.
    ///
    /// # Errors
    /// If it cannot be read or is no database of the one format and kind: keys in the order of their bytes, one value
    /// for each.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let meta = |at: u64| -> io::Result<[u8; META]> {
            let mut bytes = [0; META];
            file.read_exact_at(&mut bytes, at).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged("the file is shorter than a database's head"),
                _ => error,
            })?;
            if u32_at(&bytes, 16) != Some(MAGIC) {
                return Err(damaged("the file is no LMDB database"));
            }
            match u32_at(&bytes, 20) {
                Some(VERSION) => Ok(bytes),
                version => Err(damaged(&format!("format {} instead of {VERSION}", version.unwrap_or_default()))),
            }
        };
        let first = meta(0)?;
        let page = u32_at(&first, 40).unwrap_or_default() as usize;
        if !(512..=65_536).contains(&page) || !page.is_power_of_two() {
            return Err(damaged(&format!("pages of {page} bytes")));
        }
        let second = meta(page as u64)?;
        // Of the two, the one that was written last.
        let newest = if u64_at(&second, 144) > u64_at(&first, 144) { second } else { first };
        let flags = u16_at(&newest, 92).unwrap_or_default();
        if flags != 0 {
            return Err(damaged(&format!("keys or values of a special kind (flags {flags:#x})")));
        }
        let (entries, root) = (u64_at(&newest, 120).unwrap_or_default(), u64_at(&newest, 128).unwrap_or(NO_PAGE));
        Ok(Self { file, path: path.to_path_buf(), length, page, root, entries })
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys in it.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// What the file system says of the file now; 0 where it says nothing.
    pub(crate) fn stamp(&self) -> u64 {
        self.file.metadata().map_or(0, |facts| file_stamp(&facts))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut number = self.root;
        for _ in 0..MAX_DEPTH {
            if number == NO_PAGE {
                return Ok(None);
            }
            let page = self.page(number)?;
            // The first place whose key is greater; on a branch, the first key stands for everything below it.
            let (mut low, mut high) = (usize::from(!page.is_leaf), page.keys);
            while low < high {
                let middle = usize::midpoint(low, high);
                if page.node(middle)?.key <= key { low = middle + 1 } else { high = middle }
            }
            let Some(place) = low.checked_sub(1) else { return Ok(None) };
            let node = page.node(place)?;
            if page.is_leaf {
                return if node.key == key { self.value(&node).map(Some) } else { Ok(None) };
            }
            number = node.number;
        }
        Err(damaged("a tree without leaves"))
    }

    /// Calls a function with every key, in the order of their bytes.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn keys(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let (mut seen, mut visited) = (0, 0);
        // Pages that are still to be visited, the next one last.
        let mut waiting: Vec<(u64, usize)> = Vec::new();
        if self.root != NO_PAGE {
            waiting.push((self.root, 0));
        }
        while let Some((number, depth)) = waiting.pop() {
            let page = self.page(number)?;
            visited += 1;
            if depth > MAX_DEPTH || seen > self.entries || visited > self.length / self.page as u64 {
                return Err(damaged("a tree that leads back into itself"));
            }
            if page.is_leaf {
                for place in 0..page.keys {
                    each(page.node(place)?.key);
                }
                seen += page.keys as u64;
            } else {
                for place in (0..page.keys).rev() {
                    waiting.push((page.node(place)?.number, depth + 1));
                }
            }
        }
        if seen == self.entries { Ok(()) } else { Err(damaged(&format!("{seen} keys instead of {}", self.entries))) }
    }

    /// A page of the tree.
    fn page(&self, number: u64) -> io::Result<Page> {
        let mut bytes = vec![0; self.page];
        self.read(number, 0, &mut bytes)?;
        let flags = u16_at(&bytes, 10).unwrap_or_default();
        if flags & (BRANCH | LEAF) != flags & !0x10 || flags & (BRANCH | LEAF) == 0 {
            return Err(damaged(&format!("page {number} is of no kind that a tree has (flags {flags:#x})")));
        }
        let lower = usize::from(u16_at(&bytes, 12).unwrap_or_default());
        if lower < HEADER || lower > self.page {
            return Err(damaged(&format!("page {number} ends before it begins")));
        }
        Ok(Page { bytes, is_leaf: flags & LEAF != 0, keys: (lower - HEADER) / 2 })
    }

    /// A leaf's value.
    fn value(&self, node: &Node) -> io::Result<Vec<u8>> {
        let short = || damaged("a value that leads out of its page");
        let length = node.number as usize;
        match node.flags {
            0 => Ok(node.rest.get(..length).ok_or_else(short)?.to_vec()),
            IS_BIG => {
                let number = u64_at(node.rest, 0).ok_or_else(short)?;
                let mut header = [0; HEADER];
                self.read(number, 0, &mut header)?;
                let pages = u64::from(u32_at(&header, 12).unwrap_or_default());
                let is_overflow = u16_at(&header, 10).is_some_and(|flags| flags & OVERFLOW != 0);
                if !is_overflow || pages.saturating_mul(self.page as u64) < (length + HEADER) as u64 {
                    return Err(short());
                }
                if number.saturating_mul(self.page as u64).saturating_add((length + HEADER) as u64) > self.length {
                    return Err(self.cut_off());
                }
                let mut bytes = vec![0; length];
                self.read(number, HEADER as u64, &mut bytes)?;
                Ok(bytes)
            }
            flags => Err(damaged(&format!("a value of a special kind (flags {flags:#x})"))),
        }
    }

    /// Fills the bytes from a place on a page.
    fn read(&self, number: u64, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let place = number.checked_mul(self.page as u64).and_then(|place| place.checked_add(offset));
        let place = place.ok_or_else(|| damaged(&format!("page {number} lies beyond any file")))?;
        self.file.read_exact_at(bytes, place).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.cut_off(),
            _ => error,
        })
    }

    fn cut_off(&self) -> io::Error {
        damaged(&format!("the database goes on after the file's {} bytes: the copy was cut off", self.length))
    }
}

impl Page {
    fn node(&self, place: usize) -> io::Result<Node<'_>> {
        let read = || {
            let start = usize::from(u16_at(&self.bytes, HEADER + 2 * place)?);
            let node = self.bytes.get(start..)?;
            let parts = [u16_at(node, 0)?, u16_at(node, 2)?, u16_at(node, 4)?];
            let size = usize::from(u16_at(node, 6)?);
            let key = node.get(NODE..NODE + size)?;
            let [low, high, flags] = parts;
            let number = u64::from(low) | u64::from(high) << 16;
            // A branch has the upper part of the child's number where a leaf has its flags.
            let (number, flags) = if self.is_leaf { (number, flags) } else { (number | u64::from(flags) << 32, 0) };
            Some(Node { key, number, flags, rest: &node[NODE + size..] })
        };
        read().ok_or_else(|| damaged("a node that leads out of its page"))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes))
}

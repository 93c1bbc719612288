//! Where the files of a set lie, and how their bytes are read.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::Record;
use crate::lmdb::Lmdb;

/// A folder or database that pictures lie in.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder; a record's path starts from it.
    Folder(PathBuf),
    /// A database; a record's path is its key.
    Lmdb(Arc<Lmdb>),
}

impl Source {
    /// The folder, or the database's file.
    pub fn root(&self) -> &Path {
        match self {
            Self::Folder(root) => root,
            Self::Lmdb(database) => database.path(),
        }
    }

    /// Where a record's picture lies, for messages: below a database's file stands the key.
    pub fn place(&self, record: &Record) -> PathBuf {
        self.root().join(&record.path)
    }

    /// What the file system says now of the file that holds a picture, in brief; 0 where there is none.
    pub fn stamp(&self, record: &Record) -> u64 {
        match self {
            Self::Folder(root) => std::fs::metadata(root.join(&record.path)).map_or(0, |facts| file_stamp(&facts)),
            Self::Lmdb(database) => database.stamp(),
        }
    }

    /// The bytes of a picture's file; none if that is not the file that had the record's stamp. A stamp of 0 is any
    /// file's.
    ///
    /// # Errors
    /// If the file cannot be read, or the database is damaged or does not have the key.
    pub fn read(&self, record: &Record) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(root) => {
                let mut file = File::open(root.join(&record.path))?;
                let facts = file.metadata()?;
                if record.stamp != 0 && file_stamp(&facts) != record.stamp {
                    return Ok(None);
                }
                let mut bytes = Vec::with_capacity(facts.len() as usize);
                file.read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Self::Lmdb(database) => {
                if record.stamp != 0 && database.stamp() != record.stamp {
                    return Ok(None);
                }
                let bytes = database.get(record.path.as_bytes())?;
                bytes.map(Some).ok_or_else(|| std::io::Error::other("the database has no such key"))
            }
        }
    }
}

/// What the file system says about a file, in brief: another size, time of change or inode is another stamp.
/// Never 0.
pub(crate) fn file_stamp(facts: &Metadata) -> u64 {
    let facts = format!("{:?}", (facts.size(), facts.mtime(), facts.mtime_nsec(), facts.ino(), facts.is_file()));
    let hash = blake3::hash(facts.as_bytes());
    hash.as_bytes()[..8].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte)).max(1)
}

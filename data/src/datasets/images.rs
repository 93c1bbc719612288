//! Any folder of pictures, however deep, or database of them, of people whom nobody has named: what unlabelled sets
//! unpack to. Or a single picture.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Record, Split};
use crate::datasets::folder::is_picture;
use crate::datasets::{Found, Splits};
use crate::lmdb::Lmdb;
use crate::source::Source;
use crate::spec::ImagesSpec;
use crate::{DataError, Result};

const LAYOUT: &str = "the folder must hold JPEG, PNG or TIFF pictures of single people, in sub-folders or not, or a \
                      database, data.mdb";

/// Where a folder of a database has it.
const DATABASES: [&str; 2] = ["data.mdb", "lmdb/data.mdb"];

/// Finds every picture below the spec's root, in order of its path.
pub(crate) fn find(spec: &ImagesSpec, base: &Path) -> Result<Found> {
    let root = base.join(&spec.root);
    let missing =
        |what: &str| DataError::Missing { what: what.to_owned(), remedy: LAYOUT.to_owned(), path: root.clone() };
    let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
    if let Some(file) = database(&root) {
        let database = open(&file)?;
        let names = keys(&database)?;
        return of_database(&name, database, names);
    }
    if let (true, Some(file), Some(folder)) = (is_one(&root), root.file_name(), root.parent()) {
        let Some(file) = file.to_str() else {
            return Err(DataError::Invalid {
                problem: "the file's name is not UTF-8".to_owned(),
                remedy: "rename it".to_owned(),
                path: root,
            });
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        return Ok(Found::in_folder(&name, folder.to_path_buf(), pool(vec![file.to_owned()]), Vec::new()));
    }
    if !root.is_dir() {
        let is_one = root.file_name().is_some_and(is_picture);
        return Err(missing(if is_one { "picture" } else { "folder of pictures" }));
    }
    let (paths, others) = paths(&root)?;
    if paths.is_empty() {
        return Err(missing("picture in the folder"));
    }
    let notes = match others {
        0 => Vec::new(),
        others => vec![format!("ignored {others} files that are no pictures")],
    };
    Ok(Found::in_folder(&name, root, pool(paths), notes))
}

/// Whether a picture lies at the path.
pub(crate) fn is_one(path: &Path) -> bool {
    path.is_file() && path.file_name().is_some_and(is_picture)
}

/// Pictures that nobody has named.
pub(crate) fn pool(paths: Vec<String>) -> Splits {
    Splits::from([(Split::Pool, paths.into_iter().map(|path| Record::new(path, -1, 0)).collect())])
}

/// The database's file, if that is what lies at the path.
pub(crate) fn database(root: &Path) -> Option<PathBuf> {
    if root.is_file() {
        return root.extension().is_some_and(|suffix| suffix == "mdb" || suffix == "lmdb").then(|| root.to_path_buf());
    }
    DATABASES.map(|name| root.join(name)).into_iter().find(|file| file.is_file())
}

/// Opens a database.
pub(crate) fn open(file: &Path) -> Result<Lmdb> {
    let unreadable = |source| DataError::Io { action: "opening an LMDB database", source, path: file.to_path_buf() };
    Lmdb::open(file).map_err(unreadable)
}

/// Every key of a database, in their order; those that begin with `__` are other programs' notes.
pub(crate) fn keys(database: &Lmdb) -> Result<Vec<String>> {
    let (mut names, mut unreadable) = (Vec::new(), None);
    let each = |key: &[u8]| match std::str::from_utf8(key) {
        Ok(key) if key.starts_with("__") => {}
        Ok(key) => names.push(key.to_owned()),
        Err(_) => unreadable = Some(String::from_utf8_lossy(key).into_owned()),
    };
    database.keys(each).map_err(|source| DataError::Io {
        action: "reading the keys of an LMDB database",
        source,
        path: database.path().to_path_buf(),
    })?;
    match unreadable {
        None => Ok(names),
        Some(key) => Err(DataError::Invalid {
            problem: format!("a key is not UTF-8 ({key})"),
            remedy: "use a database whose keys are texts, such as LUPerson's".to_owned(),
            path: database.path().to_path_buf(),
        }),
    }
}

/// Values of a database, which nobody has named.
pub(crate) fn of_database(name: &str, database: Lmdb, keys: Vec<String>) -> Result<Found> {
    let path = database.path().to_path_buf();
    if keys.is_empty() {
        return Err(DataError::Missing { what: "picture in the database".to_owned(), remedy: LAYOUT.to_owned(), path });
    }
    let found = Found::in_folder(name, path, pool(keys), Vec::new());
    Ok(Found { source: Source::Lmdb(Arc::new(database)), ..found })
}

/// Every picture below a folder, in order of its path, and how many other files there are.
pub(crate) fn paths(root: &Path) -> Result<(Vec<String>, usize)> {
    let mut scan = Scan { paths: Vec::new(), others: 0, unreadable: Vec::new() };
    scan.folder(root, "")?;
    if let Some(first) = scan.unreadable.first() {
        return Err(DataError::Invalid {
            problem: format!("{} file name(s) are not UTF-8 ({first})", scan.unreadable.len()),
            remedy: "rename them".to_owned(),
            path: root.to_path_buf(),
        });
    }
    // Whatever order the file system lists them in.
    scan.paths.sort_unstable();
    Ok((scan.paths, scan.others))
}

struct Scan {
    /// Paths relative to the root, with `/`.
    paths: Vec<String>,
    others: usize,
    unreadable: Vec<String>,
}

impl Scan {
    /// Adds the pictures of a folder and of those in it. Links to files are followed; links to folders are not, so
    /// that no picture is found twice and no circle is walked.
    fn folder(&mut self, path: &Path, prefix: &str) -> Result<()> {
        let unreadable =
            |source| DataError::Io { action: "listing a folder of pictures", source, path: path.to_owned() };
        let mut folders: Vec<(PathBuf, String)> = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let name = entry.file_name();
            let Some(text) = name.to_str().filter(|text| !text.starts_with('.')) else {
                if name.to_str().is_none() && is_picture(&name) {
                    self.unreadable.push(format!("{prefix}{}", name.to_string_lossy()));
                }
                continue;
            };
            if kind.is_dir() {
                folders.push((entry.path(), format!("{prefix}{text}/")));
            } else if is_picture(&name) && !(kind.is_symlink() && entry.path().is_dir()) {
                self.paths.push(format!("{prefix}{text}"));
            } else {
                self.others += 1;
            }
        }
        for (path, prefix) in folders {
            self.folder(&path, &prefix)?;
        }
        Ok(())
    }
}

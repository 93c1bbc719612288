//! Any folder of pictures, however deep, of people whom nobody has named: what unlabelled sets unpack to.

use std::path::{Path, PathBuf};

use crate::dataset::{Record, Split};
use crate::datasets::folder::is_picture;
use crate::datasets::{Found, Splits};
use crate::spec::ImagesSpec;
use crate::{DataError, Result};

const LAYOUT: &str = "the folder must hold JPEG or PNG pictures of single people, in sub-folders or not; LUPerson comes \
                      from its authors (Fu et al., CVPR 2021) and is never downloaded by this program";

/// Finds every picture below the spec's root, in order of its path.
pub(crate) fn find(spec: &ImagesSpec, base: &Path) -> Result<Found> {
    let root = base.join(&spec.root);
    let missing =
        |what: &str| DataError::Missing { what: what.to_owned(), remedy: LAYOUT.to_owned(), path: root.clone() };
    if !root.is_dir() {
        return Err(missing("folder of pictures"));
    }
    let (paths, others) = paths(&root)?;
    if paths.is_empty() {
        return Err(missing("picture in the folder"));
    }
    let record = |path| Record { path, pid: -1, camera: 0, hidden: None, usable: true, stamp: 0 };
    let splits = Splits::from([(Split::Pool, paths.into_iter().map(record).collect())]);
    let notes = match others {
        0 => Vec::new(),
        others => vec![format!("ignored {others} files that are no pictures")],
    };
    let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
    Ok(Found { name, root, synthetic: false, splits, notes })
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

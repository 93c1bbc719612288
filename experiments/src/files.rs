//! A file and the files it builds on, lowest layer first.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node, shorten};
use crate::source::{Place, Source, shown_path};
use crate::{suggest, yaml};

/// Most files that one experiment may be spread over.
const MAX_FILES: usize = 64;

/// The files of an experiment.
pub(crate) struct Files {
    /// Their trees, lowest layer first; the last is that of the file itself.
    pub(crate) layers: Vec<Node>,
    /// Whether every file could be read.
    pub(crate) is_complete: bool,
}

/// Reads `path` and everything it extends.
pub(crate) fn read_chain(path: &Path, issues: &mut Issues) -> Files {
    let mut chain = Chain { issues, seen: Vec::new(), stack: Vec::new(), layers: Vec::new(), failures: 0 };
    chain.read(path, None);
    Files { is_complete: chain.failures == 0, layers: chain.layers }
}

/// The chain while it is read.
struct Chain<'a> {
    issues: &'a mut Issues,
    /// Files by their real path: a file that two others extend is one layer, where it first stands.
    seen: Vec<PathBuf>,
    stack: Vec<PathBuf>,
    layers: Vec<Node>,
    /// Files that were named but give no layer.
    failures: usize,
}

impl Chain<'_> {
    /// Reads a file that `asked` names; none for the file of the command line.
    fn read(&mut self, path: &Path, asked: Option<&Node>) {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if self.stack.contains(&real) {
            let chain = self.stack.iter().chain([&real]).map(|path| shown_path(path)).collect::<Vec<_>>().join(" -> ");
            self.fail(asked, path, "spec::extends-cycle", "this file extends itself", &format!("the chain is {chain}"));
            return;
        }
        if self.seen.contains(&real) {
            return;
        }
        if self.seen.len() == MAX_FILES {
            let message = format!("more than {MAX_FILES} files");
            self.fail(asked, path, "spec::too-many-files", &message, "merge some of them");
            return;
        }
        let rank = self.seen.len();
        self.seen.push(real.clone());
        let Some(text) = self.text(path, asked) else { return };
        let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let source = Arc::new(Source { name: shown_path(path), text, dir, rank });
        let Some(mut tree) = yaml::parse(&source, 0, self.issues) else {
            self.nothing_written(&source);
            return;
        };
        if matches!(tree.kind, Kind::Null) {
            self.nothing_written(&source);
            return;
        }
        if !matches!(tree.kind, Kind::Map(_)) {
            let message = format!("expected a map of fields, found {}", tree.what());
            let issue = Issue::error("spec::wrong-type", message).at(tree.mark(), "");
            self.failures += 1;
            self.issues.push(issue.help("a spec starts with fields such as `backbone:` and `pretrain:`"));
            return;
        }
        if asked.is_some() {
            tree.remove("name");
            tree.remove("description");
        }
        self.stack.push(real);
        if let Some(extends) = tree.remove("extends") {
            self.bases(&extends, &source.dir);
        }
        self.stack.pop();
        self.layers.push(tree);
    }

    fn bases(&mut self, extends: &Node, dir: &Path) {
        let items = match &extends.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(extends),
        };
        for item in items {
            match item.text() {
                Some(name) if !name.is_empty() => self.read(&dir.join(name), Some(item)),
                _ => {
                    let message = format!("`extends` is {}, but must name files", item.what());
                    let issue = item.label(Issue::error("spec::wrong-type", message), "");
                    self.issues.push(issue.help("write `extends: base.yaml` or `extends: [a.yaml, b.yaml]`"));
                }
            }
        }
    }

    /// The file's text, or an issue that says why there is none.
    fn text(&mut self, path: &Path, asked: Option<&Node>) -> Option<String> {
        if path.is_dir() {
            self.fail(asked, path, "spec::no-file", "this is a folder", "name a YAML file in it");
            return None;
        }
        let mut bytes = Vec::new();
        let limit = yaml::MAX_BYTES as u64 + 1;
        if let Err(error) = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            let help = neighbor(path).unwrap_or_else(|| "check the path and its permissions".to_owned());
            self.fail(asked, path, "spec::no-file", &error.to_string(), &help);
            return None;
        }
        if bytes.len() > yaml::MAX_BYTES {
            let message = format!("larger than {} KiB", yaml::MAX_BYTES >> 10);
            self.fail(asked, path, "spec::too-large", &message, "a spec is a few hundred lines at most");
            return None;
        }
        match String::from_utf8(bytes) {
            Ok(text) => Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..valid].split(|&byte| byte == b'\n').count();
                let message = format!("line {line} is not UTF-8");
                self.fail(asked, path, "spec::encoding", &message, "save the file as UTF-8");
                None
            }
        }
    }

    /// A file that cannot be used, at the place that names it.
    fn fail(&mut self, asked: Option<&Node>, path: &Path, code: &'static str, why: &str, help: &str) {
        self.failures += 1;
        let name = shown_path(path);
        let issue = Issue::error(code, format!("cannot use `{}`: {why}", shorten_path(&name))).help(help);
        let issue = if let Some(node) = asked {
            node.label(issue, "named here")
        } else {
            let source = Source { name, text: String::new(), dir: PathBuf::new(), rank: 0 };
            issue.at(Place::start_of(&Arc::new(source)), "")
        };
        self.issues.push(issue);
    }

    /// A file without a document, unless it failed to parse.
    fn nothing_written(&mut self, source: &Arc<Source>) {
        self.failures += 1;
        let about_it = |issue: &Issue| issue.labels.iter().any(|label| Arc::ptr_eq(&label.place.source, source));
        if !self.issues.0.iter().any(about_it) {
            let issue = Issue::error("spec::empty", "the file says nothing").at(Place::start_of(source), "");
            self.issues.push(issue.help("`experiments/quickstart.yaml` is a small spec to start from"));
        }
    }
}

/// A file of a similar name in the same folder.
fn neighbor(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> =
        std::fs::read_dir(parent).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|ext| ext == "yaml" || ext == "yml"));
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    suggest::closest(wanted, &names).map(|name| format!("did you mean `{}`?", shorten(name)))
}

/// A path for a message, without control characters.
fn shorten_path(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

//! What became of every tensor of a file and of every tensor of the encoder.

use std::fmt;

/// Names shown of a list; the rest is counted.
const SHOWN: usize = 6;

/// An import, name by name. Lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `PyTorch` or `safetensors`.
    pub format: &'static str,
    /// The part of the file that was read, such as `teacher.backbone`; empty for all of it.
    pub part: String,
    /// Names of ours that got their numbers from the file.
    pub used: Vec<String>,
    /// Those of them that were changed on the way, with what was done.
    pub reshaped: Vec<(String, String)>,
    /// Names of the encoder in the file, in timm's words, that nothing of ours takes.
    pub unused: Vec<String>,
    /// Heads, decoders and what the spec says to ignore.
    pub left_out: Vec<String>,
    /// Names of ours that the file lacks.
    pub missing: Vec<String>,
    /// Names on both sides whose shapes differ, with both.
    pub unfit: Vec<(String, String)>,
    /// Number of tensors in other parts of the file.
    pub elsewhere: usize,
    /// What to do about it, if there is something.
    pub help: Vec<String>,
}

impl Report {
    /// Whether all of the encoder in the file is used, and all of ours comes from it.
    pub fn is_complete(&self) -> bool {
        self.unused.is_empty() && self.missing.is_empty() && self.unfit.is_empty()
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, names: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let count = names.len();
    if count == 0 {
        return Ok(());
    }
    write!(f, "\n  {what} {count}: {}", names.take(SHOWN).collect::<Vec<_>>().join(", "))?;
    if count > SHOWN { write!(f, " and {} more", count - SHOWN) } else { Ok(()) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = if self.part.is_empty() { String::new() } else { format!(" under `{}`", self.part) };
        write!(f, "{}{part}: {} tensors used", self.format, self.used.len())?;
        if self.elsewhere > 0 {
            write!(f, ", {} in other parts", self.elsewhere)?;
        }
        let pairs = |pairs: &[(String, String)]| -> Vec<String> {
            pairs.iter().map(|(name, text)| format!("{name} {text}")).collect()
        };
        list(f, "reshaped", pairs(&self.reshaped).into_iter())?;
        list(f, "left out", self.left_out.iter().cloned())?;
        list(f, "unused", self.unused.iter().cloned())?;
        list(f, "missing", self.missing.iter().cloned())?;
        list(f, "of another shape", pairs(&self.unfit).into_iter())?;
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

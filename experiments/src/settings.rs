//! Machine settings: where things lie and how many threads work. Never science, so that no result
//! depends on someone's home directory.
//!
//! Layers, later wins: defaults, the user's file, `REID_RUN_*` variables, the command line.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use figment::Figment;
use figment::providers::Serialized;
use reid_backbones::InstructionSet;
use serde::{Deserialize, Serialize};

/// Prefix of environment variables that are settings.
pub const ENV_PREFIX: &str = "REID_RUN_";
/// Variables with the prefix that belong to other parts of the program.
const OTHER_VARIABLES: [&str; 3] = ["REID_RUN_BUILD_COMMIT", "REID_RUN_BUILD_DIRTY", "REID_RUN_LOG"];

/// The setting that takes the machine's best instructions.
pub const BEST_ISA: &str = "best";

/// Settings of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of finished stages and results.
    pub out: PathBuf,
    /// Folder of rendered data and of what is remembered of checked files.
    pub cache: PathBuf,
    /// Threads that compute; 0 for one per processor.
    pub threads: usize,
    /// Stages that are computed at the same time, with an equal share of the threads each.
    pub jobs: NonZeroUsize,
    /// Threads that load pictures while others compute; 0 loads in between.
    pub workers: usize,
    /// Whether decoded pictures are kept in the cache folder too, for data sets that do not fit in memory.
    pub pack: bool,
    /// Where tensors live: `cpu`, `cuda:N` or `metal`; see [`DeviceName`].
    pub device: String,
    /// Instructions that the kernels use: `best`, or the name of a set.
    pub isa: String,
}

impl Settings {
    /// Results in `runs`, a cache folder in the user's own, all processors.
    pub fn defaults(cache: PathBuf) -> Self {
        Self {
            out: PathBuf::from("runs"),
            cache,
            threads: 0,
            jobs: NonZeroUsize::MIN,
            workers: 1,
            pack: false,
            device: "cpu".to_owned(),
            isa: BEST_ISA.to_owned(),
        }
    }

    /// Threads that compute one stage: all of them, or with several [`Self::jobs`] an equal share, at least one; 0 for
    /// one per processor.
    pub fn threads_of_a_job(&self) -> usize {
        match (self.jobs.get(), self.threads) {
            (1, threads) => threads,
            (jobs, 0) => (std::thread::available_parallelism().map_or(1, NonZeroUsize::get) / jobs).max(1),
            (jobs, threads) => (threads / jobs).max(1),
        }
    }
}

/// Where tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of that number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = || format!("there is no device `{name}`; use `cpu`, `cuda:N` such as `cuda:0`, or `metal`");
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "metal" => Ok(Self::Metal),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_e| unknown()),
            _ => Err(unknown()),
        }
    }
}

/// What a layer may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialSettings {
    /// As [`Settings::out`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// As [`Settings::cache`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// As [`Settings::threads`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// As [`Settings::jobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroUsize>,
    /// As [`Settings::workers`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// As [`Settings::pack`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<bool>,
    /// As [`Settings::device`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// As [`Settings::isa`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isa: Option<String>,
}

/// Merges the layers.
///
/// # Errors
/// A text that names the file or variable and the remedy.
pub fn settings(
    defaults: &Settings,
    user_file: &Path,
    environment: impl Iterator<Item = (String, String)>,
    command_line: &PartialSettings,
) -> Result<Settings, String> {
    let file = match std::fs::read_to_string(user_file) {
        Ok(text) if text.trim().is_empty() => PartialSettings::default(),
        Ok(text) => {
            serde_yaml::from_str(&text).map_err(|e| format!("machine settings: {e}: {}", user_file.display()))?
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => PartialSettings::default(),
        Err(e) => {
            return Err(format!(
                "machine settings cannot be read ({e}); mend or remove the file: {}",
                user_file.display()
            ));
        }
    };
    let merged = Figment::new()
        .merge(Serialized::defaults(defaults))
        .merge(Serialized::defaults(file))
        .merge(Serialized::defaults(from_environment(environment)?))
        .merge(Serialized::defaults(command_line));
    let settings: Settings = merged.extract().map_err(|e| format!("machine settings: {e}"))?;
    let _: DeviceName = settings.device.parse()?;
    let sets = InstructionSet::available();
    if settings.isa != BEST_ISA && !sets.iter().any(|set| set.name() == settings.isa) {
        let names: Vec<&str> = sets.iter().map(|set| set.name()).collect();
        return Err(format!(
            "instruction set `{}` is not on this machine; use `{BEST_ISA}` or one of {}",
            settings.isa,
            names.join(", ")
        ));
    }
    Ok(settings)
}

fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Result<PartialSettings, String> {
    let known = ["out", "cache", "threads", "jobs", "workers", "pack", "device", "isa"];
    let mut fields = BTreeMap::new();
    for (name, text) in variables {
        let Some(field) = name.strip_prefix(ENV_PREFIX).map(str::to_lowercase) else { continue };
        if OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        if !known.contains(&field.as_str()) {
            return Err(format!(
                "environment variable {name} is no setting; settings are {}; science comes from the spec only",
                known.map(|k| format!("{ENV_PREFIX}{}", k.to_uppercase())).join(", ")
            ));
        }
        let value = match field.as_str() {
            "threads" | "jobs" | "workers" => {
                let number: usize = text
                    .trim()
                    .parse()
                    .map_err(|_e| format!("environment variable {name} must be a whole number, got {text:?}"))?;
                if field == "jobs" && number == 0 {
                    return Err(format!("environment variable {name} must be at least 1"));
                }
                serde_json::Value::from(number)
            }
            "pack" => {
                let flag: bool = text
                    .trim()
                    .parse()
                    .map_err(|_e| format!("environment variable {name} must be `true` or `false`, got {text:?}"))?;
                serde_json::Value::from(flag)
            }
            _ => serde_json::Value::from(text),
        };
        fields.insert(field, value);
    }
    serde_json::from_value(serde_json::to_value(fields).unwrap_or_default()).map_err(|e| format!("environment: {e}"))
}

//! Rules between fields. Each looks at a whole resolved run and says what does not fit; where the fields
//! were written is found afterwards, so that a rule is a pure function.

mod augment;
mod batch;
mod contrast;
mod data;
mod decoder;
mod durations;
mod evaluation;
mod geometry;
mod length;
mod mask;
mod mim_dino;
mod probe;
mod region;
mod spcl;
mod supervised;
mod take;
mod teacher;
mod usl;
mod variants;

use reid_backbones::spec::{BackboneSpec, VitSpec};
use reid_objectives::spec::{
    LinearProbeSpec, MimDinoSpec, ObjectiveSpec, PersonMaeSpec, ProtocolSpec, SupervisedSpec, UpReidSpec, UslSpec,
};

use crate::diagnostic::Severity;
use crate::spec::{PretrainImage, RunSpec};

/// What a rule found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Dotted paths of the fields that do not fit, with what to say beside each.
    pub(crate) at: Vec<(String, String)>,
    pub(crate) help: String,
}

impl Finding {
    fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), at: Vec::new(), help: String::new() }
    }

    fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    fn at(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.at.push((path.into(), text.into()));
        self
    }

    fn help(mut self, text: impl Into<String>) -> Self {
        self.help = text.into();
        self
    }
}

/// Runs every rule on each part of a run.
pub(crate) fn all(run: &RunSpec) -> Vec<Finding> {
    let (source, target) = run.legs();
    let Some(source) = source else { return of_part(run) };
    // What the parts have in common is said once.
    let mut found: Vec<Finding> =
        evaluation::of_adaptation(run).into_iter().chain(supervised::of_adaptation(run)).collect();
    for (part, names) in [(target, &UDA_TARGET[..]), (source, &UDA_SOURCE[..])] {
        for mut finding in of_part(&part) {
            for (path, _) in &mut finding.at {
                if let Some((from, to)) = names.iter().find(|(from, _)| path.starts_with(from)) {
                    *path = format!("{to}{}", &path[from.len()..]);
                }
            }
            if !found.iter().any(|known| known.message == finding.message && known.at == finding.at) {
                found.push(finding);
            }
        }
    }
    found
}

/// Where the fields of a part of domain adaptation stand.
const UDA_TARGET: [(&str, &str); 1] = [(USL, "protocol.uda.usl")];
const UDA_SOURCE: [(&str, &str); 3] =
    [(SUPERVISED, "protocol.uda.supervised"), ("data", "protocol.uda.source"), ("test_on.other", "data")];

fn of_part(run: &RunSpec) -> Vec<Finding> {
    let rules: [fn(&RunSpec) -> Vec<Finding>; 19] = [
        geometry::check,
        variants::check,
        mask::check,
        region::check,
        teacher::check,
        mim_dino::check,
        decoder::check,
        augment::check,
        batch::check,
        contrast::check,
        durations::check,
        length::check,
        evaluation::check,
        probe::check,
        spcl::check,
        supervised::check,
        usl::check,
        take::check,
        data::check,
    ];
    rules.iter().flat_map(|rule| rule(run)).collect()
}

pub(crate) use length::{at_length, pool};

/// Whether a run has validation identities to choose on.
pub(crate) fn has_validation(run: &RunSpec) -> bool {
    data::has_validation(run)
}

/// Path of the fields of `person_mae`.
const PERSON_MAE: &str = "pretrain.objective.person_mae";

/// Path of the fields of `mim_dino`.
const MIM_DINO: &str = "pretrain.objective.mim_dino";

/// Path of the fields of `up_reid`.
const UP_REID: &str = "pretrain.objective.up_reid";

/// Path of the supervised protocol's fields.
const SUPERVISED: &str = "protocol.supervised";

/// Path of the unsupervised protocol's fields.
const USL: &str = "protocol.usl";

/// Path of the frozen protocol's fields.
const FROZEN: &str = "protocol.frozen";

fn vit(run: &RunSpec) -> &VitSpec {
    let BackboneSpec::Vit(vit) = &run.backbone;
    vit
}

/// The field that says how large the pictures of the pre-training are.
fn pretrain_image(run: &RunSpec) -> &'static str {
    match run.pretrain.image {
        PretrainImage::Backbone => "backbone.vit.image",
        PretrainImage::Pixels(_) => "pretrain.image.pixels",
    }
}

fn person_mae(run: &RunSpec) -> Option<&PersonMaeSpec> {
    match &run.pretrain.objective {
        ObjectiveSpec::PersonMae(spec) => Some(spec),
        ObjectiveSpec::None(_) | ObjectiveSpec::Imported(_) | ObjectiveSpec::MimDino(_) | ObjectiveSpec::UpReid(_) => {
            None
        }
    }
}

fn mim_dino(run: &RunSpec) -> Option<&MimDinoSpec> {
    if let ObjectiveSpec::MimDino(spec) = &run.pretrain.objective { Some(spec) } else { None }
}

fn up_reid(run: &RunSpec) -> Option<&UpReidSpec> {
    match &run.pretrain.objective {
        ObjectiveSpec::UpReid(spec) => Some(spec),
        _ => None,
    }
}

fn supervised(run: &RunSpec) -> Option<&SupervisedSpec> {
    match &run.protocol {
        ProtocolSpec::Supervised(spec) => Some(spec),
        _ => None,
    }
}

fn usl(run: &RunSpec) -> Option<&UslSpec> {
    match &run.protocol {
        ProtocolSpec::Usl(spec) => Some(spec),
        _ => None,
    }
}

fn linear_probe(run: &RunSpec) -> Option<&LinearProbeSpec> {
    match &run.protocol {
        ProtocolSpec::Frozen(spec) => spec.linear_probe(),
        _ => None,
    }
}

/// Rows and columns of patches.
fn grid(vit: &VitSpec) -> [usize; 2] {
    vit.image.map(|side| side / vit.patch)
}

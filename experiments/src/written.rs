//! What may be written at the top of a file: a run's fields and the language's own.

use std::sync::LazyLock;

use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::usl;

use crate::shape::{ChoiceShape, Field, ListShape, MapShape, Shape, Special, Variant};
use crate::spec::RunSpec;

/// What a table shows, and on which split its best row is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Metrics, in the order of the columns: by bare name, or with a split or an end of the training before it.
    pub metrics: Vec<String>,
    /// Split that the best row is chosen on.
    pub choose_on: ChooseOn,
    /// Label of the runs that all others are compared with.
    pub against: Option<String>,
}

/// A split to choose on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChooseOn {
    /// The validation identities.
    Validation,
    /// The test identities: the table says so.
    Test,
}

impl ChooseOn {
    /// Name in specs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The shape of a file.
pub(crate) fn file_shape() -> &'static Shape {
    static SHAPE: LazyLock<Shape> = LazyLock::new(build);
    &SHAPE
}

fn build() -> Shape {
    let Shape::Map(run) = Shape::of::<RunSpec>() else { unreachable!("a run is a map of fields") };
    let text = || Shape::Text { is_path: false };
    let mut fields = vec![
        field("name", "Name of the experiment; the file's own name if absent. Not taken from `extends`.", text()),
        field("description", "What the experiment asks. Not taken from `extends`.", text()),
        field(
            "extends",
            "Files to build on, relative to this one. Later files win over earlier ones and this file over all; maps \
             merge, lists and other values replace, and a choice replaces another choice.",
            Shape::Special(Special::Extends),
        ),
    ];
    fields.extend(run.fields);
    fields.push(field(
        "seeds",
        "Seeds of the runs: a list drives pre-training and the protocol alike; `{pretrain: [..], downstream: [..]}` \
         runs every downstream seed on every pre-training. Seeds never change the data or its splits. Default: `[0]`.",
        Shape::Special(Special::Seeds),
    ));
    fields.push(field("sweep", "Which settings are varied.", Shape::Special(Special::Sweep)));
    fields.push(field(
        "tune",
        "Settings that every initialisation (every point of the sweep) chooses for itself from a grid, by its mean on \
         the validation identities, before it runs with the experiment's seeds.",
        Shape::Special(Special::Tune),
    ));
    fields.push(field("table", "What the table shows.", table()));
    Shape::Map(MapShape {
        def: "Experiment".to_owned(),
        doc: "An experiment of reid-run: one run, or a sweep of runs.".to_owned(),
        fields,
    })
}

fn field(name: &str, doc: &str, shape: Shape) -> Field {
    Field { name: name.to_owned(), doc: doc.to_owned(), shape, required: false, default: None }
}

fn table() -> Shape {
    let known = metrics();
    let metrics = names("Metric", "A thing that is measured.", known.iter().map(|name| (name.as_str(), "")));
    let splits = [
        (ChooseOn::Validation.name(), "The validation identities."),
        (ChooseOn::Test.name(), "The test identities; the table then says that it chose on test."),
    ];
    let fields = vec![
        field(
            "metrics",
            "Metrics to show, in the order of the columns. Default: `[map, rank1]`.",
            Shape::List(ListShape { item: Box::new(metrics), min: 1, max: None }),
        ),
        field(
            "choose_on",
            "Split that the best row is chosen on. Default: `validation` where every run has validation identities, \
             else `test`.",
            names("Split", "A split to choose on.", splits.into_iter()),
        ),
        field(
            "against",
            "Label of the runs that all others are compared with, seed by seed: the first metric's mean difference and \
             its 95 % confidence interval. Default: none.",
            Shape::Text { is_path: false },
        ),
    ];
    Shape::Map(MapShape { def: "Table".to_owned(), doc: "What the table shows.".to_owned(), fields })
}

/// What a column can show: metrics by bare name, retrieval on other splits, and how good the clusters were that a
/// training has begun and ended with.
fn metrics() -> Vec<String> {
    let retrieval = [
        MetricKey::Map,
        MetricKey::Rank1,
        MetricKey::Rank5,
        MetricKey::Rank10,
        MetricKey::Minp,
        MetricKey::MapHiddenLow,
        MetricKey::MapHiddenMid,
        MetricKey::MapHiddenHigh,
    ];
    let of =
        |part: &str, keys: &[MetricKey]| keys.iter().map(|key| format!("{part}.{}", key.name())).collect::<Vec<_>>();
    let mut all: Vec<String> = MetricKey::ALL.iter().map(|key| key.name().to_owned()).collect();
    for split in ["validation", "occluded", "source_only"] {
        all.extend(of(split, &retrieval));
    }
    for end in ["start", "end"] {
        all.extend(of(end, &usl::REPORTED));
    }
    all
}

/// A choice between mere names.
fn names<'a>(def: &str, doc: &str, names: impl Iterator<Item = (&'a str, &'a str)>) -> Shape {
    let variants = names.map(|(name, doc)| Variant { name: name.to_owned(), doc: doc.to_owned(), payload: None });
    Shape::Choice(ChoiceShape {
        def: def.to_owned(),
        doc: doc.to_owned(),
        variants: variants.collect(),
        presets: Vec::new(),
    })
}

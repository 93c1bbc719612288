//! `data synth`: render the built-in data, show them, audit them.

use std::fmt::Write;
use std::path::Path;

use reid_data::spec::{DataSpec, SyntheticSpec};
use reid_data::synthetic::{AuditFeature, AuditFeatures, audit_features, chance_map, contact_sheet, write_dataset};
use reid_objectives::math::distance::normalize_rows;
use reid_objectives::math::ranking::{Labels, RankSpec, SquaredEuclidean, rank};

use super::{Setup, print};
use crate::cli::{Common, SynthArgs};
use crate::commands::run::measure;
use crate::exit::RunError;
use crate::store::atomic::write_atomic;

/// Pictures of a contact sheet's rows, and its rows.
const SHEET: (usize, usize) = (12, 8);

pub(super) fn synth(args: &SynthArgs) -> Result<(), RunError> {
    if args.out.is_none() && args.sheet.is_none() && !args.audit {
        return Err(RunError::Usage("nothing to do; give --out DIR, --sheet FILE.png or --audit".to_owned()));
    }
    let common = Common { out: None, machine: args.machine.clone() };
    let setup = Setup::new(&common)?;
    let mut parts: Vec<&'static str> = Vec::new();
    let spec = match &args.spec {
        None => SyntheticSpec::default(),
        Some(path) => {
            let experiment = setup.load(path, &args.overrides, args.machine.color)?;
            // There is nothing to take away from a spec that sweeps or tunes nothing.
            parts.extend((!experiment.swept.is_empty()).then_some("~sweep"));
            parts.extend(experiment.tuning.is_some().then_some("~tune"));
            match experiment.runs.first().map(|run| run.spec.data.clone()) {
                Some(DataSpec::Synthetic(spec)) => spec,
                _ => return Err(RunError::Usage(format!("the spec's data are not built in: {}", path.display()))),
            }
        }
    };
    let report = |what: &str, done: usize, total: usize| setup.progress.bar_data(what, done as u64, total as u64);
    if let Some(folder) = &args.out {
        write_dataset(&spec, folder, setup.settings.threads, &report)?;
        print(format!("{}\n", folder.display()).as_bytes())?;
    }
    if let Some(path) = &args.sheet {
        write_atomic(path, &contact_sheet(&spec, SHEET.0, SHEET.1).to_png())?;
        print(format!("{}\n", path.display()).as_bytes())?;
    }
    if args.audit {
        let mut violated = show(&audit(&spec, setup.settings.threads)?)?;
        if let Some(path) = &args.spec {
            violated += show(&trained(args, &common, path, &parts)?)?;
        }
        if violated > 0 {
            return Err(RunError::Audit(violated));
        }
    }
    Ok(())
}

/// What is measured, and what it has to be.
struct Finding {
    name: &'static str,
    value: f64,
    /// The rule in words, and whether it holds.
    rule: Option<(&'static str, bool)>,
}

/// Prints findings, a line each. Returns how many rules do not hold.
fn show(findings: &[Finding]) -> Result<usize, RunError> {
    let mut text = String::new();
    for Finding { name, value, rule } in findings {
        let _ = write!(text, "  {name:<34} {:>5.1}", value * 100.0);
        let _ = match rule {
            None => writeln!(text),
            Some((wanted, true)) => writeln!(text, "   {wanted}: holds"),
            Some((wanted, false)) => writeln!(text, "   {wanted}: VIOLATED"),
        };
    }
    print(text.as_bytes())?;
    Ok(findings.iter().filter(|finding| finding.rule.is_some_and(|(_, holds)| !holds)).count())
}

/// How hard the test split is, without any training.
fn audit(spec: &SyntheticSpec, threads: usize) -> Result<Vec<Finding>, RunError> {
    let AuditFeatures { query, gallery } = audit_features(spec, threads)?;
    let labels = |side: &[AuditFeature]| side.iter().map(|picture| (picture.pid, picture.camera)).collect::<Vec<_>>();
    let chance = chance_map(&labels(&query), &labels(&gallery));
    let map = |feature: fn(&AuditFeature) -> &Vec<f32>| map_of(&query, &gallery, feature);
    let histograms = map(|picture| &picture.histogram);
    let painted_out = map(|picture| &picture.without_person);
    let oracle = map(|picture| &picture.oracle);
    print(b"built-in synthetic data, test split, mAP in per cent\n")?;
    let finding = |name, value, wanted, holds| Finding { name, value, rule: Some((wanted, holds)) };
    let is_chance = (painted_out - chance).abs() <= 0.02;
    Ok(vec![
        Finding { name: "chance", value: chance, rule: None },
        finding("color histograms in 6 stripes", histograms, "below 35", histograms < 0.35),
        finding("the same, person painted out", painted_out, "within 2 of chance", is_chance),
        finding("oracle on the true attributes", oracle, "at least 95", oracle >= 0.95),
    ])
}

fn map_of(query: &[AuditFeature], gallery: &[AuditFeature], feature: fn(&AuditFeature) -> &Vec<f32>) -> f64 {
    let flat = |side: &[AuditFeature]| side.iter().flat_map(|picture| feature(picture).clone()).collect::<Vec<f32>>();
    let width = query.first().map_or(1, |picture| feature(picture).len());
    let (mut q, mut g) = (flat(query), flat(gallery));
    normalize_rows(&mut q, width);
    normalize_rows(&mut g, width);
    let pids = |side: &[AuditFeature]| side.iter().map(|picture| picture.pid).collect::<Vec<_>>();
    let cameras = |side: &[AuditFeature]| side.iter().map(|picture| picture.camera).collect::<Vec<_>>();
    let (qp, qc, gp, gc) = (pids(query), cameras(query), pids(gallery), cameras(gallery));
    let (query, gallery) = (Labels { pids: &qp, cameras: &qc }, Labels { pids: &gp, cameras: &gc });
    let distances = SquaredEuclidean::new(&q, &g, width);
    rank(&distances, query, gallery, RankSpec::default(), 1).map
}

/// `untrained` and `none` at the spec's own budget, less these parts of it: there must be room both ways.
fn trained(args: &SynthArgs, common: &Common, path: &Path, parts: &[&str]) -> Result<Vec<Finding>, RunError> {
    let with = |extra: &[&str]| -> Vec<String> {
        let removed = parts.iter().copied().chain(["seeds=[0]", "pretrain.objective=none"]);
        args.overrides.iter().cloned().chain(removed.chain(extra.iter().copied()).map(str::to_owned)).collect()
    };
    let untrained = measure(path, &with(&["protocol=frozen"]), common)?;
    let none = measure(path, &with(&[]), common)?;
    let rule = Some(("between 25 and 65", (0.25..=0.65).contains(&none)));
    Ok(vec![
        Finding { name: "untrained (random weights)", value: untrained, rule: None },
        Finding { name: "none (no pre-training)", value: none, rule },
    ])
}

//! Broken specs and what is said about them, beside each other as `name.yaml` and `name.txt`.
//!
//! `REID_BLESS=1 cargo test --release --workspace` writes the texts anew.

use std::path::{Path, PathBuf};

use reid_experiments::load;

use super::{codes, fixture, load_text};

fn specs(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut specs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    specs.sort();
    specs
}

/// Overrides that a fixture's first line asks for.
fn overrides(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("# overrides: ").map_or_else(Vec::new, |rest| rest.split(" | ").map(str::to_owned).collect())
}

#[test]
fn broken_specs_are_explained() {
    let bless = std::env::var_os("REID_BLESS").is_some();
    let specs = specs("invalid");
    assert!(specs.len() >= 35, "only {} broken specs", specs.len());
    let mut differ = Vec::new();
    for spec in specs {
        let Err(issues) = load(&spec, &overrides(&spec)) else { panic!("{} is accepted", spec.display()) };
        for issue in &issues.0 {
            let complete = issue.code.starts_with("spec::") && !issue.labels.is_empty() && issue.help.is_some();
            assert!(complete, "{}: {issue:?}", spec.display());
            assert_ne!(issue.code, "spec::internal", "{}: {}", spec.display(), issue.message);
        }
        let text = issues.render(false);
        let expected = spec.with_extension("txt");
        if bless {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&text) {
            differ.push(format!("{}:\n{text}", spec.display()));
        }
    }
    assert!(differ.is_empty(), "not as written beside the fixture:\n{}", differ.join("\n"));
}

#[test]
fn valid_specs_are_accepted() {
    for spec in specs("valid") {
        if let Err(issues) = load(&spec, &[]) {
            panic!("{}:\n{issues}", spec.display());
        }
    }
}

#[test]
fn shipped_specs_are_accepted() {
    let folders = ["../experiments", "../experiments/papers"].map(|folder| std::fs::read_dir(folder).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut specs: Vec<_> = files.filter(|path| path.extension().is_some_and(|suffix| suffix == "yaml")).collect();
    specs.sort();
    assert!(specs.len() >= 10, "{specs:?}");
    for path in specs {
        let experiment = load(&path, &[]).unwrap_or_else(|issues| panic!("{issues}"));
        assert_eq!(Some(experiment.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        assert!(experiment.warnings.is_empty(), "{}: {:?}", path.display(), experiment.warnings);
    }
    let ablation = load(Path::new("../experiments/ablation.yaml"), &[]).unwrap();
    assert_eq!(ablation.runs.len(), 5 * 3);
    assert!(ablation.description.starts_with("Masking ratio"), "not the base's");
}

#[test]
fn schema_is_committed() {
    let schema = serde_json::to_string_pretty(&reid_experiments::schema()).unwrap() + "\n";
    let path = Path::new("../experiments/schema.json");
    if std::env::var_os("REID_BLESS").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == schema,
        "experiments/schema.json is not what `schema()` gives; write it anew with REID_BLESS=1"
    );
}

#[test]
fn schema_references_exist() {
    fn visit(value: &serde_json::Value, root: &serde_json::Value, count: &mut usize) {
        if let Some(reference) = value.get("$ref").and_then(serde_json::Value::as_str) {
            assert!(root.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            *count += 1;
        }
        match value {
            serde_json::Value::Object(fields) => fields.values().for_each(|value| visit(value, root, count)),
            serde_json::Value::Array(items) => items.iter().for_each(|value| visit(value, root, count)),
            _ => {}
        }
    }
    let schema = reid_experiments::schema();
    let mut count = 0;
    visit(&schema, &schema, &mut count);
    assert!(count > 100, "{count}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let large = [b"# ".as_slice(), &vec![b'x'; 2 << 20]].concat();
    let cases = [
        (dir.path().join("ablatoin.yaml"), "spec::no-file", "did you mean `ablation.yaml`?"),
        (dir.path().to_path_buf(), "spec::no-file", "this is a folder"),
        (write("latin1.yaml", b"name: a\nname: caf\xe9\n"), "spec::encoding", "line 2 is not UTF-8"),
        (write("large.yaml", &large), "spec::too-large", "larger than 1024 KiB"),
        (write("empty.yaml", b""), "spec::empty", "the file says nothing"),
    ];
    write("ablation.yaml", b"name: a");
    for (path, code, part) in cases {
        let issues = load(&path, &[]).unwrap_err();
        assert_eq!(codes(&issues), [code]);
        let text = issues.render(false);
        assert!(text.contains(part) && text.contains(&path.display().to_string()), "{text}");
    }
}

#[test]
fn colors_are_optional() {
    let issues = load_text("backbon: vit\n", &[]).unwrap_err();
    assert!(issues.render(true).contains('\u{1b}'));
    assert!(!issues.render(false).contains('\u{1b}'));
    assert!(issues.to_string().contains("error[spec::unknown-key]: unknown key `backbon`"));
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_harmless() {
    let text = format!("\u{feff}{}", super::BASE.replace('\n', "\r\n"));
    assert_eq!(super::run_of(&text).spec, super::run_of(super::BASE).spec);
    let issues = load_text(&text.replace("mask_ratio", "mask_rätio"), &[]).unwrap_err();
    assert!(issues.render(false).contains(":4:37"), "{issues}");
}

/// Specs that can be run but cannot work, and what is said about them.
#[test]
fn warnings_name_the_field_and_the_remedy() {
    let bless = std::env::var_os("REID_BLESS").is_some();
    let specs = specs("warned");
    assert!(specs.len() >= 8, "only {} specs", specs.len());
    let mut differ = Vec::new();
    for spec in specs {
        let experiment = load(&spec, &overrides(&spec)).unwrap_or_else(|issues| panic!("{issues}"));
        assert!(!experiment.warnings.is_empty(), "{} is beyond reproach", spec.display());
        for issue in &experiment.warnings {
            assert!(!issue.labels.is_empty() && issue.help.is_some(), "{}: {issue:?}", spec.display());
        }
        let text = reid_experiments::Issues(experiment.warnings).render(false);
        let expected = spec.with_extension("txt");
        if bless {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&text) {
            differ.push(format!("{}:\n{text}", spec.display()));
        }
    }
    assert!(differ.is_empty(), "not as written beside the fixture:\n{}", differ.join("\n"));
}

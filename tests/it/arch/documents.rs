//! What the documents promise.

use std::path::Path;

use reid_data::spec::DataSpec;
use reid_data::synthetic::contact_sheet;
use reid_experiments::settings::Settings;
use reid_runner::exit::ExitCode;
use reid_tests::golden::workspace_root;

use super::{CRATES, text, texts};

/// The two commands of the first screen: the main job, and the tests.
const COMMANDS: [&str; 2] = ["cargo run --release -- experiments/quickstart.yaml", "cargo test --release --workspace"];

/// Where the recipe for a new objective stands.
const RECIPE: (&str, &str) = (".github/CONTRIBUTING.md", "## Adding an objective");

/// Overrides of `experiments/quickstart.yaml` that the contact sheet is made with.
const SHEET_OVERRIDES: [&str; 1] = ["data.synthetic.test_identities=7"];

/// Most words of the architecture text: three pages.
const MOST_WORDS: usize = 1650;

/// Code blocks of a language.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = markdown.split(&fence).skip(1);
    parts.map(|part| part.split("\n```").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// Texts between backticks, outside of code blocks.
fn quoted(markdown: &str) -> Vec<String> {
    let prose: String = markdown.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_readme_are_those_of_ci() {
    let (readme, ci) = (text("README.md"), text(".ci/run"));
    let first_screen: String = readme.lines().take(60).collect::<Vec<_>>().join("\n");
    for command in COMMANDS {
        assert!(blocks(&first_screen, "sh").iter().any(|block| block.contains(command)), "README: {command}");
        let run = ci.lines().any(|line| line.contains(command) && !line.trim_start().starts_with('#'));
        assert!(run, ".ci/run does not run `{command}`");
    }
}

#[test]
fn links_lead_to_files() {
    let mut links = 0;
    for (name, text) in texts("md") {
        let folder = workspace_root().join(&name).parent().unwrap().to_owned();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let pictures = text.split("src=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(target, _)| target);
        for target in targets.chain(pictures) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            links += 1;
            assert!(folder.join(path).exists(), "{name}: broken link {target}");
        }
    }
    assert!(links > 3, "only {links} links found");
}

#[test]
fn files_that_documents_name_exist() {
    let mut named = 0;
    for (name, text) in texts("md") {
        for token in quoted(&text) {
            let in_a_crate = token.split_once('/').is_some_and(|(folder, _)| CRATES.contains(&folder));
            if !in_a_crate || token.contains(['<', '*', ' ', '=']) || token.contains("NAME") {
                continue;
            }
            named += 1;
            assert!(workspace_root().join(&token).exists(), "{name} names {token}, which is not there");
        }
    }
    assert!(named > 20, "only {named} names found");
}

#[test]
fn the_recipe_names_the_files_that_it_touches() {
    let (file, heading) = RECIPE;
    let contributing = text(file);
    let (_, rest) = contributing.split_once(heading).unwrap_or_else(|| panic!("{file} has no `{heading}`"));
    let recipe = rest.split("\n## ").next().unwrap();
    for needed in [
        "objectives/src/spec.rs",
        "objectives/src/task.rs",
        "runner/src/engine/build.rs",
        "experiments/schema.json",
        "experiments/src/check/mod.rs",
        "tests/golden",
        "tests/fixtures/valid",
        "tests/fixtures/invalid",
        "runner/CHANGELOG.md",
    ] {
        assert!(recipe.contains(&format!("`{needed}`")), "the recipe does not name {needed}");
    }
    // Each place where the compiler stops whoever adds a variant is a step of the recipe.
    for (name, text) in texts("rs") {
        if name.contains("/src/") && text.contains("ObjectiveSpec::PersonMae") {
            assert!(recipe.contains(&name), "{name} matches on objectives, but the recipe does not name it");
        }
    }
}

#[test]
fn every_choice_is_documented() {
    let readme = quoted(&text("README.md"));
    let schema = reid_experiments::schema();
    for kind in ["ObjectiveSpec", "ProtocolSpec", "DataSpec"] {
        let forms = schema["$defs"][kind]["oneOf"].as_array().unwrap();
        let maps = forms.iter().filter_map(|form| form["required"][0].as_str());
        let names: Vec<&str> = maps.chain(forms.iter().filter_map(|form| form["const"].as_str())).collect();
        assert!(names.len() > 1, "{kind}: {names:?}");
        for name in names {
            assert!(readme.iter().any(|token| token == name), "README does not explain `{name}` ({kind})");
        }
    }
}

#[test]
fn exit_codes_and_settings_are_documented() {
    let readme = text("README.md");
    for code in ExitCode::ALL {
        let row = format!("| {} | {} |", code.code(), code.describe());
        assert!(readme.contains(&row), "README lacks {row}");
    }
    let settings = serde_json::to_value(Settings::defaults("cache".into())).unwrap();
    for name in settings.as_object().unwrap().keys() {
        let row = format!("| `{name}` | `REID_RUN_{}` |", name.to_uppercase());
        assert!(readme.contains(&row), "README lacks {row}");
    }
}

#[test]
fn specs_in_the_readme_are_valid() {
    let specs = blocks(&text("README.md"), "yaml");
    assert!(specs.len() >= 3, "only {} specs found", specs.len());
    let folder = tempfile::tempdir().unwrap();
    for name in ["quickstart.yaml", "ablation.yaml"] {
        std::fs::copy(workspace_root().join("experiments").join(name), folder.path().join(name)).unwrap();
    }
    for spec in specs {
        let path = folder.path().join("readme.yaml");
        std::fs::write(&path, &spec).unwrap();
        if let Err(issues) = reid_experiments::load(&path, &[]) {
            panic!("{issues}\n{spec}");
        }
    }
}

#[test]
fn the_contact_sheet_is_the_renderers() {
    let overrides = SHEET_OVERRIDES.map(str::to_owned);
    let spec = workspace_root().join("experiments/quickstart.yaml");
    let experiment = reid_experiments::load(&spec, &overrides).unwrap_or_else(|issues| panic!("{issues}"));
    let DataSpec::Synthetic(data) = &experiment.runs[0].spec.data else { panic!("quickstart's data are built in") };
    let path = "data/assets/contact_sheet.png";
    let command = format!(
        "cargo run --release -- data synth --spec experiments/quickstart.yaml {} --sheet {path}",
        SHEET_OVERRIDES.join(" ")
    );
    let committed = std::fs::read(workspace_root().join(path)).unwrap();
    assert!(committed == contact_sheet(data, 12, 8).to_png(), "{path} is out of date; make it anew: {command}");
    assert!(text("README.md").contains(&command), "README lacks: {command}");
}

#[test]
fn the_architecture_fits_three_pages_and_names_every_crate() {
    let text = text("runner/ARCHITECTURE.md");
    let words = text.split_whitespace().count();
    assert!(words <= MOST_WORDS, "{words} words");
    assert_eq!(text.matches("**Invariant:**").count(), CRATES.len(), "one invariant per crate");
    for test in quoted(&text).iter().filter(|token| token.starts_with("it::")) {
        let name = test.rsplit("::").next().unwrap();
        let known =
            texts("rs").iter().any(|(file, text)| file.starts_with("tests/") && text.contains(&format!("fn {name}(")));
        assert!(known, "no test is called {test}");
    }
    for folder in CRATES {
        assert!(Path::new(&workspace_root().join(folder)).is_dir());
        assert!(text.contains(&format!("`{folder}`")), "no word about {folder}");
    }
}

//! Encoders out of the program and into it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use reid_backbones::weights::Checkpoint;
use reid_tests::golden::workspace_root;
use reid_tests::tensors::bits;

use super::TINY;
use super::program::Lab;

fn read(path: &Path) -> BTreeMap<String, Tensor> {
    let checkpoint = Checkpoint::open(path).expect("weights");
    checkpoint.names().map(|name| (name.to_owned(), checkpoint.read(name).expect("a tensor"))).collect()
}

/// A spec whose encoder comes from a file and is only evaluated.
fn importing(path: &str) -> String {
    let (_, rest) = TINY.split_once("data:").expect("data");
    let (rest, _) = rest.split_once("pretrain:").expect("a pre-training");
    format!("name: imported\ndata:{rest}pretrain: {{objective: {{imported: {{path: {path}}}}}}}\nprotocol: frozen\n")
}

#[test]
fn an_exported_encoder_is_imported_again_and_ranks_the_same() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml", "protocol=frozen"]);
    lab.done(&["export", "tiny.yaml", "protocol=frozen", "--to", "encoder.safetensors"]);
    lab.write("again.yaml", &importing("encoder.safetensors"));
    let check = lab.done(&["check", "again.yaml"]);
    assert!(check.err.contains("safetensors: 54 tensors used"), "{}", check.err);
    let run = lab.done(&["again.yaml"]);
    assert!(run.err.contains("1 stage computed"), "{}", run.err);
    let rows = lab.rows("runs");
    let [a, b] = rows.as_slice() else { panic!("{} rows", rows.len()) };
    assert_eq!(a.metrics, b.metrics, "the same encoder");
    assert_ne!(a.stage_evaluate, b.stage_evaluate);

    // The content counts, not the name, and is looked at anew.
    std::fs::rename(lab.path("encoder.safetensors"), lab.path("other.safetensors")).expect("renamed");
    lab.run(&["again.yaml"]).assert_error(5, &["pretrain.objective.imported.path", "encoder.safetensors"]);
    lab.write("again.yaml", &importing("other.safetensors"));
    assert_eq!(lab.done(&["again.yaml"]).computed(), 0);
    let mut bytes = std::fs::read(lab.path("other.safetensors")).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(lab.path("other.safetensors"), &bytes).expect("written");
    assert_eq!(lab.done(&["again.yaml"]).computed(), 1, "another content is another stage");
    bytes.truncate(bytes.len() - 1);
    std::fs::write(lab.path("other.safetensors"), &bytes).expect("written");
    for arguments in [&["again.yaml"][..], &["plan", "again.yaml"], &["check", "again.yaml"]] {
        lab.run(arguments).assert_error(5, &["lies outside the file", "other.safetensors"]);
    }
}

#[test]
fn a_frozen_teacher_is_known_by_its_content() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml", "protocol=frozen"]);
    lab.done(&["export", "tiny.yaml", "protocol=frozen", "--to", "a.safetensors"]);
    let teacher = |path: &str| {
        let vit = format!("{{backbone: {{size: micro, image: [32, 16], patch: 8}}, weights: {{path: {path}}}}}");
        format!("pretrain.objective.person_mae.teacher={{frozen: {{vit: {vit}}}}}")
    };
    let run = |path: &str| lab.run(&["tiny.yaml", "protocol=frozen", &teacher(path)]);
    let check = lab.done(&["check", "tiny.yaml", &teacher("a.safetensors")]);
    assert!(check.err.contains("frozen teacher: safetensors: 54 tensors used"), "{}", check.err);
    assert_eq!(run("a.safetensors").computed(), 2, "another objective than with a moving average");
    std::fs::rename(lab.path("a.safetensors"), lab.path("b.safetensors")).expect("renamed");
    assert_eq!(run("b.safetensors").computed(), 0, "the same file under another name");
    run("a.safetensors").assert_error(5, &["person_mae.teacher.frozen.vit.weights.path", "a.safetensors"]);

    let mut bytes = std::fs::read(lab.path("b.safetensors")).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(lab.path("b.safetensors"), &bytes).expect("written");
    assert_eq!(run("b.safetensors").computed(), 2, "another content is another stage");
    let beit = "pretrain.objective.person_mae.teacher={frozen: {beit: {path: b.safetensors}}}";
    lab.run(&["tiny.yaml", beit]).assert_error(5, &["person_mae.teacher.frozen.beit", "missing", "dinov2"]);
}

#[test]
fn exports_have_what_other_programs_need() {
    let lab = Lab::with("tiny.yaml", TINY);
    let sweep = format!("{TINY}sweep: {{list: [{{pretrain.objective: none}}, {{backbone.vit.positions: sin_cos}}]}}\n");
    lab.write("sweep.yaml", &sweep);
    lab.done(&["sweep.yaml"]);
    let id = |label: &str| {
        let rows = lab.rows("runs");
        rows.into_iter().find(|row| row.label == label).expect("a row").run_id
    };
    let (none, trained) = (id("none"), id("person_mae"));
    lab.run(&["export", "sweep.yaml", "--to", "x.onnx"]).assert_error(2, &["2 runs", &none, &trained]);
    lab.run(&["export", "tiny.yaml", "--to", "x.onnx"]).assert_error(4, &["none of the spec's runs is finished"]);
    lab.run(&["export", "nobody", "--to", "x.onnx"]).assert_error(4, &["no such run", &none]);
    lab.run(&["export", &none, "--to", "x.bin"]).assert_error(2, &[".safetensors", ".onnx", "x.bin"]);
    lab.run(&["export", &none, "--to", "x.onnx", "--after", "pretrain"]).assert_error(4, &["no pretrain stage", &none]);
    lab.run(&["export", &none, "seeds=[1]", "--to", "x.onnx"]).assert_error(2, &["seeds=[1]"]);

    lab.done(&["export", &trained, "--to", "train.safetensors"]);
    lab.done(&["export", &trained, "--to", "pretrain.safetensors", "--after", "pretrain"]);
    let (train, pretrain) = (read(&lab.path("train.safetensors")), read(&lab.path("pretrain.safetensors")));
    assert!(train.keys().eq(pretrain.keys()), "both are an encoder");
    assert_ne!(bits(&train["norm.weight"]), bits(&pretrain["norm.weight"]));
    // timm has no fixed positions: they are written out, the class token's row zero.
    assert_eq!(train["pos_embed"].dims(), [1, 9, 96]);
    assert!(bits(&train["pos_embed"])[..96].iter().all(|&bits| bits == 0));

    lab.done(&["export", &trained, "--to", "train.onnx"]);
    let onnx = std::fs::read(lab.path("train.onnx")).expect("a file");
    let raw: Vec<u8> = bits(&train["norm.weight"]).iter().flat_map(|bits| bits.to_le_bytes()).collect();
    assert!(onnx.windows(raw.len()).any(|window| window == raw), "the weights are in it");
    for word in ["images", "feature", "tokens", "batch", "LayerNormalization", "Softmax", "Erf", &trained] {
        assert!(onnx.windows(word.len()).any(|window| window == word.as_bytes()), "no {word}");
    }
}

#[test]
fn the_stem_s_statistics_are_learned_with_the_protocol() {
    let lab = Lab::with("tiny.yaml", TINY);
    let overrides = ["pretrain.objective=none", "backbone.vit.stem=ics"];
    lab.done(&["tiny.yaml", overrides[0], overrides[1]]);
    lab.done(&["export", "tiny.yaml", overrides[0], overrides[1], "--to", "stem.safetensors"]);
    let tensors = read(&lab.path("stem.safetensors"));
    for (name, start) in [("1.BN.running_mean", 0.0_f32), ("4.BN.running_var", 1.0), ("7.running_mean", 0.0)] {
        let values = bits(&tensors[&format!("patch_embed.conv.{name}")]);
        assert!(values.iter().all(|&bits| bits != start.to_bits()), "{name} has not moved");
    }
}

#[test]
fn weights_that_do_not_fit_are_found_before_anything_is_computed() {
    let lab = Lab::new();
    let file = workspace_root().join("tests/fixtures/weights/dino.pth");
    lab.write("spec.yaml", &importing(&file.display().to_string()));
    let sizes = "width 4, 2 blocks and patches of 4 px, ours width 96, 4 blocks and patches of 8 px";
    for arguments in [&["spec.yaml"][..], &["plan", "spec.yaml"], &["check", "spec.yaml"]] {
        let parts = ["PyTorch under `teacher.backbone`", "missing 24: blocks.2.attn.proj.bias", sizes, "dino.pth"];
        lab.run(arguments).assert_error(5, &parts);
    }
    assert!(lab.rows("runs").is_empty());
}

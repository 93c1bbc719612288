//! A pre-training on other pictures, or without the overlap of patches, than what follows.

use std::collections::BTreeSet;
use std::fs::File;

use polars::prelude::{ParquetReader, SerReader};

use super::TINY;
use super::program::Lab;

/// An import of a file, evaluated as it is on pictures of twice the height.
fn importing(path: &str) -> String {
    let (_, rest) = TINY.split_once("data:").expect("data");
    let (rest, _) = rest.split_once("pretrain:").expect("a pre-training");
    let rest = rest.replace("image: [32, 16]", "image: [64, 16]");
    let imported = format!("{{path: {path}, positions_ratio: {{ratio: 2}}}}");
    format!("name: imported\ndata:{rest}pretrain: {{objective: {{imported: {imported}}}}}\nprotocol: frozen\n")
}

#[test]
fn an_encoder_is_resized_as_if_it_were_imported() {
    let lab = Lab::with("tiny.yaml", TINY);
    let larger = ["backbone.vit.image=[64, 16]", "pretrain.image={pixels: [32, 16]}", "protocol=frozen"];
    let run = lab.done(&[&["tiny.yaml"][..], &larger].concat());
    assert_eq!(run.computed(), 2);
    // It is the pre-training of the smaller pictures, which is there for them too.
    assert_eq!(lab.done(&["tiny.yaml", "protocol=frozen"]).computed(), 1);

    lab.done(&[&["export", "tiny.yaml", "--to", "small.safetensors"][..], &larger].concat());
    lab.write("again.yaml", &importing("small.safetensors"));
    let again = lab.done(&["again.yaml"]);
    assert!(again.err.contains("4 x 2 -> 8 x 2, bilinear"), "{}", again.err);
    let rows = lab.rows("runs");
    let metrics = |label: &str, image: &str| {
        let row = rows.iter().find(|row| row.label == label && row.config_json.contains(image));
        &row.unwrap_or_else(|| panic!("no {label} of {image}")).metrics
    };
    let large = r#""image":[64,16]"#;
    assert_eq!(metrics("person_mae", large), metrics("imported", large), "the same weights, resampled in the same way");
    assert_ne!(metrics("person_mae", large), metrics("person_mae", r#""vit":{"size":"micro","image":[32,16]"#));

    // Features of single pictures come from the same model.
    let embed = |run: &str, overrides: &[&str], to: &str| {
        lab.done(&[&["embed", run][..], overrides, &["--data", "tiny.yaml", "--split", "query", "--to", to]].concat());
        let features = ParquetReader::new(File::open(lab.path(to)).expect("features"));
        features.finish().expect("a table").column("feature").expect("a column").clone()
    };
    let (one, two) = (embed("tiny.yaml", &larger, "one.parquet"), embed("again.yaml", &[], "two.parquet"));
    assert!(one.equals(&two), "features differ");
}

#[test]
fn one_pre_training_serves_patches_with_and_without_overlap() {
    // Every 7 pixels there are as many patches of 8 as side by side.
    let grid = "backbone.vit.stride: [patch, {pixels: 6}, {pixels: 7}, {pixels: 8}], protocol: [frozen, {supervised: {train: {epochs: 1, batch: 8}, \
                identities_per_batch: 4}}]";
    let lab = Lab::with("tiny.yaml", &format!("{TINY}sweep: {{grid: {{{grid}}}}}\n"));
    let said = lab.done(&["tiny.yaml"]);
    assert_eq!(said.computed(), 1 + 3 + 6, "{}", said.err);
    assert!(said.err.contains("pretrain person_mae s0: started"), "{}", said.err);
    let rows = lab.rows("runs");
    assert_eq!(rows.len(), 6, "a stride of the patch's side is no other run");
    let frozen = rows.iter().filter(|row| row.stage_train.is_none()).map(|row| format!("{:?}", row.metrics));
    let distinct: BTreeSet<String> = frozen.collect();
    assert_eq!(distinct.len(), 3, "{distinct:?}");
}

#[test]
fn pictures_of_a_pre_training_divide_into_patches_too() {
    let lab = Lab::with("tiny.yaml", TINY);
    let check = |image: &str| lab.run(&["check", "tiny.yaml", &format!("pretrain.image={{pixels: {image}}}")]);
    check("[30, 16]").assert_error(3, &["spec::patch-divides-image", "pretrain.image={pixels", "use `[32, 16]`"]);
    check("[8, 8]").assert_error(3, &["spec::"]);
    check("[64, 32]").assert_code(0);
}

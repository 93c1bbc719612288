//! Checkpoints of other projects, as `tests/fixtures/weights/make.py` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use reid_backbones::spec::{Positions, Stem, VitDims, VitSpec};
use reid_backbones::vit::{Resampling, resize_weights};
use reid_backbones::weights::spec::{ImportedSpec, PartTokens, PositionsRatio, PositionsResize};
use reid_backbones::weights::{Checkpoint, Report, import};
use reid_backbones::{BackboneError, ParamStore, Result, Vit, weights};
use reid_tests::golden::{max_abs, workspace_root};
use reid_tests::tensors::{randomize, values};

const DIMS: VitDims = VitDims { width: 4, depth: 2, heads: 1 };
const PREFIX: &str = "encoder.";

fn fixture(name: &str) -> PathBuf {
    workspace_root().join("tests/fixtures/weights").join(name)
}

/// Patches of 4 pixels over 16 x 8: a grid of 4 x 2.
fn spec() -> VitSpec {
    VitSpec { image: [16, 8], patch: 4, drop_path: 0.0, ..VitSpec::default() }
}

fn encoder(spec: &VitSpec) -> (Vit, ParamStore) {
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(DIMS, spec, PREFIX, &mut store, &|_| Box::new(|| 0.5)).unwrap();
    randomize(&store, 3);
    (vit, store)
}

fn spec_of(path: &Path) -> ImportedSpec {
    ImportedSpec::new(path.display().to_string())
}

/// As `make.py` has it.
fn value(name: &str, i: usize) -> f64 {
    let sum: usize = name.bytes().map(usize::from).sum();
    ((37 * i + 11 * name.len() + sum) % 101) as f64 / 64.0 - 50.0 / 64.0
}

fn expected(name: &str, len: usize) -> Vec<f64> {
    (0..len).map(|i| value(name, i)).collect()
}

fn get(store: &ParamStore, name: &str) -> Vec<f64> {
    values(&store.get(&format!("{PREFIX}{name}")).unwrap().unwrap())
}

/// Every tensor but those of `apart` has the numbers of its name.
fn assert_named(store: &ParamStore, apart: &[&str]) {
    for name in store.names().map(|name| name.strip_prefix(PREFIX).unwrap()) {
        if !apart.contains(&name) {
            let found = get(store, name);
            assert_eq!(found, expected(name, found.len()), "{name}");
        }
    }
}

fn refused(spec: &ImportedSpec, vit: &VitSpec) -> String {
    let (vit, store) = encoder(vit);
    let before = store.tensors().unwrap();
    let error = import(spec, &vit, &store, PREFIX).expect_err("an import that does not fit").to_string();
    for (name, tensor) in store.tensors().unwrap() {
        assert_eq!(values(&tensor), values(&before[&name]), "{name} was changed by an import that failed");
    }
    error
}

#[test]
fn every_project_s_format() -> Result<()> {
    let cases: [(&str, &str, &[&str]); 11] = [
        ("mae.pth", "model", &["decoder_blocks.0.norm1.weight", "mask_token"]),
        ("dino.pth", "teacher.backbone", &[]),
        ("ibot.pt", "state_dict", &["head.mlp.0.weight"]),
        ("msn.pth", "target_encoder.module", &[]),
        ("moco_v3.pth", "state_dict.module.base_encoder", &["head.0.weight"]),
        ("transreid.pth", "base", &["fc.bias", "fc.weight", "sie_embed"]),
        ("pass.pth", "", &["part1_pos", "part_token3"]),
        ("timm.safetensors", "", &["head.bias", "head.weight"]),
        ("timm_f16.safetensors", "", &[]),
        ("hugging_face.safetensors", "vit", &[]),
        ("hugging_face.bin", "", &["pooler.dense.weight"]),
    ];
    for (file, part, left_out) in cases {
        let (vit, store) = encoder(&spec());
        let import_spec = ImportedSpec {
            ignore: vec!["sie_embed".to_owned()],
            part_tokens: PartTokens::Drop,
            ..spec_of(&fixture(file))
        };
        let report = import(&import_spec, &vit, &store, PREFIX)?;
        assert_eq!(report.part, part, "{file}");
        assert!(report.is_complete() && report.used.len() == store.names().count(), "{file}: {report}");
        for name in left_out {
            assert!(report.left_out.iter().any(|left| left == name), "{file}: {name} in {:?}", report.left_out);
        }
        assert_named(&store, &[]);
    }
    Ok(())
}

#[test]
fn keys_without_a_bias_get_zeros() -> Result<()> {
    let (vit, store) = encoder(&spec());
    let report = import(&spec_of(&fixture("bootmae.pth")), &vit, &store, PREFIX)?;
    let biases = ["blocks.0.attn.qkv.bias", "blocks.1.attn.qkv.bias"];
    assert_named(&store, &biases);
    for name in biases {
        let mut wanted = expected(name, 3 * DIMS.width);
        wanted[DIMS.width..2 * DIMS.width].fill(0.0);
        assert_eq!(get(&store, name), wanted);
        assert!(report.reshaped.contains(&(name.to_owned(), "stacked, keys' bias 0".to_owned())), "{report}");
    }
    Ok(())
}

#[test]
fn a_part_may_be_named() -> Result<()> {
    let (vit, store) = encoder(&spec());
    let import_spec = ImportedSpec { part: "student".to_owned(), ..spec_of(&fixture("dino.pth")) };
    let report = import(&import_spec, &vit, &store, PREFIX)?;
    assert_eq!(report.part, "student.module.backbone");
    assert_eq!(get(&store, "norm.weight"), expected("norm.weight", 4).iter().map(|v| -v).collect::<Vec<_>>());
    let error = refused(&ImportedSpec { part: "ema".to_owned(), ..import_spec }, &spec());
    assert!(error.contains("under `ema`") && error.contains("student, teacher"), "{error}");
    Ok(())
}

#[test]
fn part_tokens_are_used_or_dropped_by_choice() -> Result<()> {
    let with_parts = VitSpec { part_tokens: 3, ..spec() };
    let (vit, store) = encoder(&with_parts);
    let report = import(&spec_of(&fixture("pass.pth")), &vit, &store, PREFIX)?;
    assert_named(&store, &[]);
    assert_eq!(report.used.iter().filter(|name| name.starts_with("part")).count(), 6);
    let error = refused(&spec_of(&fixture("pass.pth")), &spec());
    assert!(error.contains("part_tokens: drop"), "{error}");
    Ok(())
}

/// timm's file with other positions, as safetensors.
fn with_positions(folder: &Path, cells: usize) -> (PathBuf, Tensor) {
    let checkpoint = Checkpoint::open(&fixture("timm_f16.safetensors")).unwrap();
    let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
    let mut tensors: BTreeMap<String, Tensor> =
        names.into_iter().map(|name| (name.clone(), checkpoint.read(&name).unwrap())).collect();
    let table = reid_tests::tensors::normal(7, (1, 1 + cells, DIMS.width));
    tensors.insert("pos_embed".to_owned(), table.clone());
    let path = folder.join(format!("{cells}.safetensors"));
    weights::write(&path, &tensors).unwrap();
    (path, table)
}

#[test]
fn positions_of_another_grid_are_resampled() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for (cells, ratio, old) in [
        (9, PositionsRatio::Auto, (3, 3)),
        (18, PositionsRatio::Auto, (6, 3)),
        (3, PositionsRatio::Ratio(3.0), (3, 1)),
        (8, PositionsRatio::Ratio(0.5), (2, 4)),
    ] {
        for (resize, rule) in [
            (PositionsResize::Bilinear, Resampling::Bilinear),
            (PositionsResize::Bicubic, Resampling::Bicubic),
            (PositionsResize::BicubicAntialias, Resampling::BicubicAntialias),
        ] {
            let (path, table) = with_positions(folder.path(), cells);
            let (vit, store) = encoder(&spec());
            let import_spec = ImportedSpec { positions_ratio: ratio, positions_resize: resize, ..spec_of(&path) };
            let report = import(&import_spec, &vit, &store, PREFIX)?;
            assert_eq!(report.reshaped.len(), 1, "{report}");
            let found = get(&store, "pos_embed");
            let table = values(&table);
            assert_eq!(found[..DIMS.width], table[..DIMS.width], "the class token's row stays");
            let weights = resize_weights(rule, old, (4, 2));
            let wanted: Vec<f64> = weights
                .chunks_exact(cells)
                .flat_map(|row| {
                    let table = &table;
                    (0..DIMS.width).map(move |d| {
                        let cell = |(i, weight): (usize, &f32)| f64::from(*weight) * table[(1 + i) * DIMS.width + d];
                        row.iter().enumerate().map(cell).sum::<f64>()
                    })
                })
                .collect();
            assert!(max_abs(&found[DIMS.width..], &wanted) < 1e-5, "{cells} cells, {rule:?}");
        }
    }
    let (path, _) = with_positions(folder.path(), 7);
    let error = refused(&spec_of(&path), &spec());
    assert!(error.contains("7 positions are no grid of that ratio"), "{error}");
    Ok(())
}

#[test]
fn fixed_positions_take_only_their_own() -> Result<()> {
    let fixed = VitSpec { positions: Positions::SinCos, ..spec() };
    let error = refused(&spec_of(&fixture("mae.pth")), &fixed);
    assert!(error.contains("set `backbone.vit.positions: learned`"), "{error}");
    // The same file with our fixed table instead.
    let folder = tempfile::tempdir().unwrap();
    let (vit, store) = encoder(&fixed);
    let mut tensors = weights::with_prefix(&store, PREFIX)?;
    tensors.insert("pos_embed".to_owned(), vit.fixed_positions().unwrap().clone());
    let path = folder.path().join("fixed.safetensors");
    weights::write(&path, &tensors)?;
    assert!(import(&spec_of(&path), &vit, &store, PREFIX)?.is_complete());
    Ok(())
}

#[test]
fn the_convolutional_stem_comes_with_its_statistics() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let with_stem = VitSpec { stem: Stem::Ics, ..spec() };
    let (_, theirs) = encoder(&with_stem);
    let path = folder.path().join("ics.safetensors");
    let named = |(name, tensor): (String, Tensor)| (format!("module.backbone.{name}"), tensor);
    weights::write(&path, &weights::with_prefix(&theirs, PREFIX)?.into_iter().map(named).collect())?;
    let (vit, ours) = encoder(&with_stem);
    for (name, tensor) in ours.tensors()? {
        ours.set(&name, &tensor.zeros_like()?)?;
    }
    let report = import(&spec_of(&path), &vit, &ours, PREFIX)?;
    assert!(report.used.contains(&"patch_embed.conv.7.running_var".to_owned()));
    for (name, tensor) in ours.tensors()? {
        assert_eq!(values(&tensor), values(&theirs.get(&name).unwrap()?), "{name}");
    }
    let error = refused(&spec_of(&path), &spec());
    assert!(error.contains("set `backbone.vit.stem: ics`"), "{error}");
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let file = fixture("mae.pth");
    let smaller = refused(&spec_of(&file), &VitSpec { patch: 2, image: [8, 4], ..spec() });
    assert!(smaller.contains("patch_embed.proj.weight [4, 3, 4, 4], ours [4, 3, 2, 2]"), "{smaller}");
    assert!(smaller.contains("patches of 4 px, ours width 4, 2 blocks and patches of 2 px"), "{smaller}");
    assert!(smaller.ends_with(&file.display().to_string()), "{smaller}");

    let strict = spec_of(&fixture("transreid.pth"));
    let error = refused(&strict, &spec());
    assert!(error.contains("unused 1: sie_embed") && error.contains("add it to `ignore`"), "{error}");
    let (vit, store) = encoder(&spec());
    let report: Report = import(&ImportedSpec { strict: false, ..strict }, &vit, &store, PREFIX)?;
    assert!(!report.is_complete() && report.missing.is_empty());
    assert_named(&store, &[]);

    // What is missing keeps its random start in a lenient import.
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = weights::with_prefix(&store, PREFIX)?;
    tensors.remove("norm.bias");
    let path = folder.path().join("part.safetensors");
    weights::write(&path, &tensors)?;
    let error = refused(&spec_of(&path), &spec());
    assert!(error.contains("missing 1: norm.bias"), "{error}");
    let (vit, store) = encoder(&spec());
    let before = get(&store, "norm.bias");
    let report = import(&ImportedSpec { strict: false, ..spec_of(&path) }, &vit, &store, PREFIX)?;
    assert_eq!(report.missing, ["norm.bias"]);
    assert_eq!(get(&store, "norm.bias"), before);
    Ok(())
}

#[test]
fn numbers_that_are_none_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (_, store) = encoder(&spec());
    let mut tensors = weights::with_prefix(&store, PREFIX)?;
    tensors.insert("norm.bias".to_owned(), Tensor::new(&[1_f32, f32::NAN, 0.0, 0.0], &Device::Cpu)?);
    let path = folder.path().join("nan.safetensors");
    weights::write(&path, &tensors)?;
    let (vit, store) = encoder(&spec());
    let error = import(&spec_of(&path), &vit, &store, PREFIX).expect_err("a NaN");
    assert!(matches!(&error, BackboneError::File { reason, .. } if reason.contains("norm.bias")), "{error}");
    Ok(())
}

//! Features of an encoder that others have trained, predicted instead of those of a moving average.

use std::path::Path;

use candle_core::{Device, Tensor};
use reid_backbones::frozen::FrozenEncoder;
use reid_backbones::frozen::spec::{FrozenEncoderSpec, FrozenVitSpec};
use reid_backbones::spec::{VitSize, VitSpec};
use reid_backbones::weights;
use reid_backbones::weights::spec::{ImportedNormalisation, ImportedSpec};
use reid_data::spec::{Normalisation, Size};
use reid_objectives::Result;
use reid_objectives::metric::MetricKey;
use reid_objectives::person_mae::spec::{DecoderSpec, PersonMaeSpec, Target, TeacherSpec};
use reid_objectives::person_mae::{FrozenTeacher, PersonMae, pooling_weights};
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::spec::Duration;
use reid_objectives::task::{StepOutput, Task};
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, in_pool, randomize, values};

use super::fixture::{SIZE, backbone, batch, clock, scalar, train};

/// Sums in another order, through an encoder of random weights.
const REORDERED: f64 = 2e-5;

/// An encoder of random weights in a file.
fn write(path: &Path, vit: &VitSpec) -> Result<FrozenEncoderSpec> {
    let model = EncoderModel::random(vit, 5, &Device::Cpu)?;
    randomize(model.parts().1, 4);
    weights::write(path, &weights::with_prefix(model.parts().1, ENCODER)?)?;
    let weights = ImportedSpec::new(path.display().to_string());
    Ok(FrozenEncoderSpec::Vit(FrozenVitSpec { backbone: vit.clone(), weights }))
}

/// Features only, at their full weight from the start.
fn spec(teacher: TeacherSpec) -> PersonMaeSpec {
    let decoder = DecoderSpec { depth: 1, ..DecoderSpec::default() };
    PersonMaeSpec {
        target: Target::Feature,
        feature_ramp: Duration::Steps(0.0),
        feature_decoder: DecoderSpec { width: 32, heads: 2, ..decoder },
        teacher,
        ..PersonMaeSpec::default()
    }
}

fn build(teacher: TeacherSpec) -> Result<PersonMae> {
    PersonMae::build(&spec(teacher), &backbone(), 8, 5, &Device::Cpu)
}

fn feature_loss(output: &StepOutput) -> Vec<u32> {
    let found = output.stats.iter().find(|(name, _)| *name == MetricKey::LossFeature);
    bits(&found.expect("a feature loss").1)
}

#[test]
fn a_frozen_copy_of_the_start_is_the_average_of_the_start() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("start.safetensors");
    let average = build(PersonMaeSpec::default().teacher)?;
    weights::write(&path, &average.product()?)?;
    let weights = ImportedSpec::new(path.display().to_string());
    let copy = FrozenEncoderSpec::Vit(FrozenVitSpec { backbone: backbone(), weights });
    let mut frozen = build(TeacherSpec::Frozen(copy))?;
    let batch = batch(8, 2, 1);
    let (a, b) = (average.step(&batch, clock(0, 10))?, frozen.step(&batch, clock(0, 10))?);
    assert_eq!(feature_loss(&a), feature_loss(&b));

    // Its state is its file: a checkpoint holds none of it.
    assert!(!average.save()?.tensors.is_empty());
    let losses = train(&mut frozen, &batch, 40, 3e-3)?;
    assert!(frozen.save()?.tensors.is_empty());
    assert!(losses[39] < 0.7 * losses[0], "{} to {}", losses[0], losses[39]);
    Ok(())
}

#[test]
fn a_wider_teacher_of_other_pictures_can_be_predicted() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let other = VitSpec { size: VitSize::Tiny, image: [48, 40], drop_path: 0.0, patch: 8, ..VitSpec::default() };
    let teacher = write(&folder.path().join("tiny.safetensors"), &other)?;
    let mut task = build(TeacherSpec::Frozen(teacher))?;
    let batch = batch(8, 2, 1);
    let losses = train(&mut task, &batch, 60, 3e-3)?;
    let (first, last) = (losses[0], losses[59]);
    assert!(first > 1.0 && last < 0.8 * first, "{first} to {last}");

    let again = task.step(&batch, clock(0, 10))?;
    let on_five = in_pool(5, || task.step(&batch, clock(0, 10)))?;
    assert_eq!(bits(&again.loss), bits(&on_five.loss));
    assert!(scalar(&again.loss).is_finite());
    Ok(())
}

/// Pictures of one colour each stay so when they are resized, and pooling is an average of cells.
#[test]
fn the_teacher_sees_regions_in_its_own_size_and_colours() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let vit = VitSpec { size: VitSize::Micro, image: [48, 40], patch: 8, drop_path: 0.0, ..VitSpec::default() };
    let FrozenEncoderSpec::Vit(mut of_vit) = write(&folder.path().join("a.safetensors"), &vit)? else {
        unreachable!("a ViT was written");
    };
    of_vit.weights.normalisation = ImportedNormalisation::Half;
    let spec = FrozenEncoderSpec::Vit(of_vit);
    let (encoder, _) = FrozenEncoder::open(&spec, &Device::Cpu)?;
    let plain = FrozenEncoder::open(&spec, &Device::Cpu)?.0;
    let teacher = FrozenTeacher::new(encoder, &spec, (SIZE, (4, 2)), Normalisation::Imagenet, &Device::Cpu)?;

    let colours = [[0.2_f32, 0.9, 0.4], [0.7, 0.1, 0.3]];
    let filled = |Size(h, w), normalisation: Normalisation| -> Result<Tensor> {
        let (mean, std) = normalisation.mean_std();
        let plane = |colour: &[f32; 3], c: usize| std::iter::repeat_n((colour[c] - mean[c]) / std[c], h * w);
        let pixels: Vec<f32> = colours.iter().flat_map(|colour| (0..3).flat_map(move |c| plane(colour, c))).collect();
        Ok(Tensor::from_vec(pixels, (2, 3, h, w), &Device::Cpu)?)
    };
    let found = teacher.features(&filled(SIZE, Normalisation::Imagenet)?)?;
    let cells = values(&plain.features(&filled(Size(48, 40), Normalisation::Half)?)?); // 6 x 5 cells
    assert_eq!(found.dims(), [2, 8, 96]);
    // Rows 0..6 of four: 0-1, 1-2, 3-4, 4-5; columns 0..5 of two: 0-2, 2-4.
    let (rows, cols) = ([[0, 1], [1, 2], [3, 4], [4, 5]], [[0, 1, 2], [2, 3, 4]]);
    let mut expected = Vec::new();
    for picture in 0..2 {
        for of_row in rows {
            for of_col in cols {
                for channel in 0..96 {
                    let at = |row: usize, col: usize| cells[((picture * 30 + row * 5 + col) * 96) + channel];
                    let sum: f64 = of_row.iter().flat_map(|&row| of_col.map(|col| at(row, col))).sum();
                    expected.push(sum / 6.0);
                }
            }
        }
    }
    let scale = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    assert!(max_abs(&values(&found), &expected) < REORDERED * scale.max(1.0));
    Ok(())
}

#[test]
fn pooling_covers_every_cell_and_weighs_to_one() {
    for (old, new) in [((37, 37), (16, 8)), ((24, 24), (16, 8)), ((6, 5), (6, 5)), ((3, 2), (8, 4)), ((1, 1), (4, 2))] {
        let weights = pooling_weights(old, new);
        let cells = old.0 * old.1;
        assert_eq!(weights.len(), cells * new.0 * new.1);
        for row in weights.chunks_exact(cells) {
            let sum: f64 = row.iter().map(|&weight| f64::from(weight)).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{old:?} to {new:?}: {sum}");
        }
        let seen = |cell: usize| weights.iter().skip(cell).step_by(cells).any(|&weight| weight > 0.0);
        assert!((0..cells).all(seen), "{old:?} to {new:?}");
    }
}

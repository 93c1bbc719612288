//! Fused losses and normalisations against the same formulas in f64, out of candle's operations.

use candle_core::{DType, Device, Tensor, Var};
use reid_backbones::Result;
use reid_backbones::ops::{cross_entropy, l2_normalize, squared_error, standardise};
use reid_tests::tensors::{bits, in_pool, normal};

use super::ops::compare;

/// Rows and widths: single ones, no multiples of any vector, more rows than a task takes.
const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 7), (3, 16), (5, 33), (65, 19), (130, 751)];

fn labels(rows: usize, classes: usize) -> Result<Tensor> {
    let labels = (0..rows as u32).map(|row| row * 37 % classes as u32).collect();
    Ok(Tensor::from_vec(labels, rows, &Device::Cpu)?)
}

#[test]
fn cross_entropy_equals_its_formula() -> Result<()> {
    for (rows, classes) in SHAPES {
        let labels = labels(rows, classes)?;
        let logits = Var::from_tensor(&(normal(1, (rows, classes)) * 4.0)?)?;
        for smoothing in [0.0, 0.1] {
            // A single class has loss 0, and no largest value to compare with.
            if classes == 1 {
                assert!(cross_entropy(&logits, &labels, smoothing)?.to_scalar::<f32>()?.abs() < 1e-6);
                continue;
            }
            compare(
                &format!("cross-entropy of {rows} x {classes}, smoothing {smoothing}"),
                &[(&logits, &[])],
                DType::F64,
                || cross_entropy(&logits, &labels, smoothing),
                |twins| cross_entropy(&twins[0], &labels, smoothing),
            )?;
        }
    }
    Ok(())
}

#[test]
fn cross_entropy_names_what_does_not_fit() -> Result<()> {
    let logits = normal(2, (3, 4));
    let outside = cross_entropy(&logits, &Tensor::from_vec(vec![0u32, 4, 1], 3, &Device::Cpu)?, 0.0);
    assert!(outside.is_err_and(|error| error.to_string().contains("label 4 of 4 classes")));
    assert!(cross_entropy(&logits, &labels(2, 4)?, 0.0).is_err());
    Ok(())
}

#[test]
fn squared_error_equals_its_formula() -> Result<()> {
    for (rows, width) in SHAPES {
        let prediction = Var::from_tensor(&normal(3, (rows, width)))?;
        let target = normal(4, (rows, width));
        let mask: Vec<f32> = (0..rows).map(|row| f32::from(u8::from(row % 3 != 1))).collect();
        let mask = Tensor::from_vec(mask, rows, &Device::Cpu)?;
        for weights in [None, Some(&mask)] {
            compare(
                &format!("squared error of {rows} x {width}, mask {}", weights.is_some()),
                &[(&prediction, &[])],
                DType::F64,
                || squared_error(&prediction, &target, weights),
                |twins| {
                    let weights = weights.map(|weights| weights.to_dtype(DType::F64)).transpose()?;
                    squared_error(&twins[0], &target.to_dtype(DType::F64)?, weights.as_ref())
                },
            )?;
        }
    }
    let target = normal(4, (2, 3));
    assert!(squared_error(&normal(3, (3, 2)), &target, None).is_err(), "another shape");
    assert!(squared_error(&normal(3, (2, 3)), &target, Some(&normal(5, 3))).is_err(), "a weight too many");
    Ok(())
}

#[test]
fn unit_rows_and_standard_rows_equal_their_formulas() -> Result<()> {
    for (rows, width) in SHAPES {
        let x = Var::from_tensor(&normal(6, (rows, width)))?;
        compare(
            &format!("unit rows of {rows} x {width}"),
            &[(&x, &[])],
            DType::F64,
            || l2_normalize(&x, 1e-12),
            |twins| l2_normalize(&twins[0], 1e-12),
        )?;
        // One value alone is always its own mean.
        if width > 1 {
            compare(
                &format!("standard rows of {rows} x {width}"),
                &[(&x, &[])],
                DType::F64,
                || standardise(&x, 1e-6),
                |twins| standardise(&twins[0], 1e-6),
            )?;
        }
    }
    Ok(())
}

/// A row of zeros stays one and gets a finite gradient.
#[test]
fn a_zero_row_has_no_direction() -> Result<()> {
    let x = Var::from_tensor(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?)?;
    let y = l2_normalize(&x, 1e-12)?;
    assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.0; 6]);
    let gradients = y.sum_all()?.backward()?;
    let gradient = gradients.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
    assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
    Ok(())
}

#[test]
fn losses_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let (rows, width) = (515, 97);
    let (x, target) = (Var::from_tensor(&normal(7, (rows, width)))?, normal(8, (rows, width)));
    let labels = labels(rows, width)?;
    let run = || -> Result<Vec<Vec<u32>>> {
        let unit = l2_normalize(&x, 1e-12)?;
        let losses = [
            cross_entropy(&x, &labels, 0.1)?,
            squared_error(&standardise(&x, 1e-6)?, &target, None)?,
            squared_error(&unit, &target, None)?,
        ];
        let gradients = Tensor::stack(&losses, 0)?.sum_all()?.backward()?;
        let mut all: Vec<Vec<u32>> = losses.iter().map(bits).collect();
        all.push(bits(gradients.get(&x).expect("a gradient")));
        Ok(all)
    };
    let one = in_pool(1, run)?;
    for threads in [2, 3, 5] {
        assert!(in_pool(threads, run)? == one, "{threads} threads");
    }
    Ok(())
}

//! Operators that make and move tokens, against candle's ordinary operations in f64.

use candle_core::{DType, Device, Tensor, Var};
use reid_backbones::Result;
use reid_backbones::init::Init;
use reid_backbones::ops::{Arrangement, Keep, arrange, assemble, patch_embed, take_tokens};
use reid_backbones::params::{ParamDef, Role};
use reid_tests::tensors::{normal, rng};

use super::ops::{compare, module, part};

/// Some cells of each sample, in no order.
fn some_cells(samples: usize, cells: usize, per_sample: usize) -> Keep {
    let of_sample = |sample| {
        let mut order: Vec<u32> = (0..cells as u32).collect();
        rng(17, sample as u32).shuffle(&mut order);
        order.truncate(per_sample);
        order
    };
    Keep { cells: (0..samples).flat_map(of_sample).collect(), per_sample }
}

/// Row numbers of kept cells in a table of `stride` rows per sample.
fn flat_rows(keep: &Keep, stride: usize, first: usize) -> Result<Tensor> {
    let rows = keep.cells.chunks(keep.per_sample).enumerate();
    let index: Vec<u32> = rows
        .flat_map(|(sample, cells)| cells.iter().map(move |cell| (sample * stride + first) as u32 + cell))
        .collect();
    let len = index.len();
    Ok(Tensor::from_vec(index, len, &Device::Cpu)?)
}

#[test]
fn patch_embed_is_a_convolution_of_the_kept_patches() -> Result<()> {
    // Beside each other, overlapping, and more patches than are embedded at a time.
    for (b, c, rows, cols, p, stride, d) in [(3, 2, 4, 3, 5, 5, 7), (2, 3, 4, 5, 4, 3, 6), (19, 1, 7, 5, 2, 2, 3)] {
        let side = |cells: usize| (cells - 1) * stride + p;
        let images = Var::from_tensor(&normal(18, (b, c, side(rows), side(cols))))?;
        let shape = vec![d, c, p, p];
        let weight = ParamDef { name: "weight", shape, role: Role::Weight, init: Init::Constant(0.0) };
        let bias = ParamDef { name: "bias", shape: vec![d], role: Role::Bias, init: Init::Constant(0.0) };
        for defs in [vec![weight.clone(), bias], vec![weight]] {
            let (store, id) = module(&defs, 22)?;
            let entries = &store.module(id).entries;
            for keep in [Keep::all(b, rows * cols), some_cells(b, rows * cols, 5), some_cells(b, rows * cols, 1)] {
                compare(
                    &format!("{} patches, {} tensors", keep.per_sample, defs.len()),
                    &[(&images, &[]), (store.module(id).var(), entries)],
                    DType::F64,
                    || patch_embed(&images, &store.training(), id, stride, &keep),
                    |twins| {
                        let map = twins[0].conv2d(&part(&twins[1], &entries[0])?, 0, stride, 1, 1)?;
                        let mut all = map.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // [b, rows * cols, d]
                        if let Some(bias) = entries.get(1) {
                            all = all.broadcast_add(&part(&twins[1], bias)?)?;
                        }
                        let picked = all.flatten_to(1)?.index_select(&flat_rows(&keep, rows * cols, 0)?, 0)?;
                        Ok(picked.reshape((b, keep.per_sample, d))?)
                    },
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn patches_that_are_not_there_are_refused() -> Result<()> {
    let weight = ParamDef { name: "weight", shape: vec![2, 3, 4, 4], role: Role::Weight, init: Init::Constant(0.0) };
    let (store, id) = module(&[weight], 23)?;
    let embed = |shape: [usize; 4], stride, keep: Keep| {
        let refused = patch_embed(&normal(24, shape.to_vec()), &store.training(), id, stride, &keep);
        refused.map(|_| ()).expect_err("refused").to_string()
    };
    assert!(embed([1, 3, 8, 10], 4, Keep::all(1, 4)).contains("do not give"), "a side does not divide the picture");
    assert!(embed([1, 1, 8, 8], 4, Keep::all(1, 4)).contains("do not give"), "another number of channels");
    assert!(embed([2, 3, 8, 8], 4, Keep::all(1, 4)).contains("do not give"), "cells of one picture for two");
    let beyond = Keep { cells: vec![4], per_sample: 1 };
    assert!(embed([1, 3, 8, 8], 4, beyond).contains("patch 4 of a picture that has 4"));
    Ok(())
}

#[test]
fn assemble_places_tokens() -> Result<()> {
    let (b, cells, d) = (3, 12, 10);
    for per_sample in [12, 5, 1] {
        let keep = some_cells(b, cells, per_sample);
        let patches = Var::from_tensor(&normal(19, (b, per_sample, d)))?;
        let class = Var::from_tensor(&normal(20, (1, 1, d)))?;
        let positions = Var::from_tensor(&normal(21, (1, 1 + cells, d)))?;
        compare(
            &format!("{per_sample} of {cells} tokens"),
            &[(&patches, &[]), (&class, &[]), (&positions, &[])],
            DType::F64,
            || assemble(&patches, &class, &positions, &keep),
            |twins| {
                let table = twins[2].squeeze(0)?;
                let picked = table.index_select(&flat_rows(&keep, 0, 1)?, 0)?.reshape((b, per_sample, d))?;
                let class = (&twins[1] + twins[2].narrow(1, 0, 1)?)?.broadcast_as((b, 1, d))?;
                Ok(Tensor::cat(&[&class.contiguous()?, &(&twins[0] + picked)?], 1)?)
            },
        )?;
    }
    Ok(())
}

/// Memory read twice, not at all and out of order; with and without the fill token.
#[test]
fn arrange_reads_any_token_anywhere() -> Result<()> {
    let (b, m, p, d) = (11, 4, 6, 5);
    for fill in [true, false] {
        let mut arrangement = Arrangement::new(7);
        for i in 0..b as u32 * 7 {
            let source = if fill && i % 3 == 0 { Arrangement::FILL } else { i * 5 % 3 };
            arrangement.push(source, i * 7 % p as u32);
        }
        let memory = Var::from_tensor(&normal(26, (b, m, d)))?;
        let token = Var::from_tensor(&normal(27, (1, 1, d)))?;
        let positions = Var::from_tensor(&normal(28, (1, p, d)))?;
        compare(
            &format!("arranged tokens, fill {fill}"),
            &[(&memory, &[]), (&token, &[]), (&positions, &[])],
            DType::F64,
            || arrange(&memory, &token, &positions, &arrangement),
            |twins| arrange(&twins[0], &twins[1], &twins[2], &arrangement),
        )?;
        let outside = arrange(&memory.narrow(1, 0, 2)?, &token, &positions, &arrangement);
        assert!(outside.is_err(), "a token that the memory does not have");
    }
    Ok(())
}

#[test]
fn take_tokens_is_a_slice() -> Result<()> {
    for (first, count) in [(0, 1), (2, 3), (4, 1), (0, 5)] {
        let x = Var::from_tensor(&normal(29, (3, 5, 7)))?;
        compare(
            &format!("tokens {first}..{}", first + count),
            &[(&x, &[])],
            DType::F64,
            || take_tokens(&x, first, count),
            |twins| Ok(twins[0].narrow(1, first, count)?),
        )?;
    }
    assert!(take_tokens(&normal(29, (3, 5, 7)), 4, 2).is_err());
    Ok(())
}

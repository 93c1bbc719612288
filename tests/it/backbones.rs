//! Tests of the backbones: operators against slow twins in f64, the encoder, parameters, optimizers.

mod differences;
mod distillation;
mod fixture;
mod frozen;
mod hostile;
mod imports;
mod losses;
mod machine;
mod ops;
mod optim;
mod params;
mod tokens;
mod vit;
mod weights;

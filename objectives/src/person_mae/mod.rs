//! PersonMAE.

pub mod spec;

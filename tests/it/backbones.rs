//! Tests of the backbones.

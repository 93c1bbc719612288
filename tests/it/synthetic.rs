//! Tests of the synthetic.

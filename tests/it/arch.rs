//! Tests of the arch.

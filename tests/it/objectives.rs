//! Tests of the objectives.

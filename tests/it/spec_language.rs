//! Tests of the spec_language.

//! Golden: losses.

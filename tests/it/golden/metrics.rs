//! Golden: metrics.

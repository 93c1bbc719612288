//! Golden: mae.

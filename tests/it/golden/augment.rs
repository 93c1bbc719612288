//! Golden: augment.

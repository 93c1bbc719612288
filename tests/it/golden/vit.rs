//! Golden: vit.

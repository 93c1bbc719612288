//! Downstream protocols: what is trained, and what is evaluated.

pub mod losses;
pub mod neck;

//! Downstream protocols: what is trained, and what is evaluated.

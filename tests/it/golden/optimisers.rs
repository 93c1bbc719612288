//! Golden: optimisers.

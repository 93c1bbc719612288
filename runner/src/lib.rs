//! The command line, the store, the train loop.

//! Clusters of pictures that nobody has named: the Jaccard distance of their neighbours, DBSCAN, how good the clusters are,
//! and a memory of them to learn by.
//!
//! Exact, and without an array of n x n values: of each picture only its nearest neighbours are kept, and distances
//! between pictures that share no neighbour are known to be 1.

pub mod dbscan;
pub mod hybrid;
pub mod jaccard;
pub mod memory;
pub mod quality;
pub mod reliable;

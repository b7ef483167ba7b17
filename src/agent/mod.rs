//! What runs inside the cluster, from the same executable.

pub mod nfs_ready;

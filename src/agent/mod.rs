//! What runs inside the cluster, from the same executable. Stub.

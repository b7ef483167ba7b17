//! The database: members, roles, Services, credentials. Stub.

use anyhow::Result;
use kube::core::DynamicObject;

use super::images::ImageSet;
use crate::{cluster::manifests::part, spec::LabSpec};

/// A healthy database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The host name of the one writer, inside the cluster.
    pub write_host: String,
    /// The host name of the readers, inside the cluster.
    pub read_host: String,
    /// The members' pods.
    pub members: Vec<String>,
}

/// Stub.
///
/// # Errors
/// Stub.
pub fn objects(_spec: &LabSpec, _images: &ImageSet) -> Result<Vec<DynamicObject>> {
    part("database")
}

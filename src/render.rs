//! Prints exactly what would be applied to a cluster, for those who keep it elsewhere. (Body: the lead.)

use anyhow::{Result, bail};

use crate::spec::LabSpec;

/// Every object of the lab as YAML documents, in the order in which `up` applies them; Secrets have no values.
///
/// # Errors
/// A manifest of ours is broken.
pub async fn render(_spec: &LabSpec) -> Result<String> {
    bail!("not built yet")
}

//! What the lab is made of. Each part has an `ensure` that looks before it acts and returns what the next part needs.

pub mod autoscale;
pub mod database;
pub mod frontend;
pub mod images;
pub mod storage;

#[cfg(test)]
mod testing;

use anyhow::{Context, Result};
use images::{ImageSet, Role};

/// The name under which a role's image is on the nodes.
fn reference(images: &ImageSet, role: Role) -> Result<&str> {
    let image = images.0.get(&role).with_context(|| format!("there is no image for {role:?}"))?;
    Ok(&image.reference)
}

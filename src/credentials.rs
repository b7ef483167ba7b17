//! Tells the generated passwords to who asks for them. (Body: the lead.)

use anyhow::{Result, bail};
use serde::Serialize;

use crate::spec::LabName;

/// What one logs in with. No `Debug`, so that it cannot end in a message.
#[derive(Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credentials {
    /// WordPress' login page.
    pub login_url: String,
    /// WordPress' administrator.
    pub admin_user: String,
    /// The administrator's password.
    pub admin_password: String,
    /// The database's `root` password.
    pub database_root_password: String,
    /// The password of the database user `wordpress`.
    pub database_wordpress_password: String,
}

/// Reads a lab's Secrets.
///
/// # Errors
/// [`crate::list::NoSuchLab`], the cluster does not answer, or there are no Secrets yet.
pub async fn credentials(_lab: &LabName) -> Result<Credentials> {
    bail!("not built yet")
}

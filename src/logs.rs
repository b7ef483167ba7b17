//! The logs of a lab's containers, line by line. (Body: the lead.)

use std::time::Duration;

use anyhow::{Result, bail};

use crate::spec::LabName;

/// Which logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// A part (`database`, `frontend`, `storage`, `autoscale`) or a pod's name; all of them when there is none.
    pub of: Option<String>,
    /// Only what was written within this time.
    pub since: Option<Duration>,
    /// Also the containers before the last restart.
    pub previous: bool,
    /// Goes on with new lines until it is interrupted.
    pub follow: bool,
}

/// Tells each line with its pod and container in front.
///
/// # Errors
/// [`crate::list::NoSuchLab`], no such part or pod, or the cluster does not answer.
pub async fn logs(_lab: &LabName, _options: &LogOptions, _told: impl FnMut(&str) + Send) -> Result<()> {
    bail!("not built yet")
}

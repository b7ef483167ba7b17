//! Stub of the database owner's room, with its signatures.

use std::path::Path;

use anyhow::{Result, bail};

pub mod member {
    //! Stub.
    use anyhow::{Result, bail};

    /// What to do as, or in, a database pod.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum MemberCommand {
        /// PID 1.
        Mysql,
        /// Open this member for writes.
        Promote,
    }

    /// Runs one of the member's commands.
    ///
    /// # Errors
    /// Stub.
    pub async fn main(_command: MemberCommand) -> Result<()> {
        bail!("not built yet")
    }
}

/// Copies this executable to `dir/wplab`.
///
/// # Errors
/// Stub.
pub fn install(_dir: &Path) -> Result<()> {
    bail!("not built yet")
}

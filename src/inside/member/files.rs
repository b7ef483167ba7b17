//! Files that every member writes: one with passwords that lives only while a server reads it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{inside::gone, wire::hex};

/// The marker on a member's volume whose accounts do not have the Secret's passwords (yet): the server's next start gives them
/// these. A snapshot that is restored with new passwords comes with it (`host/nodes/roots/snapshots.sh`).
pub(super) const ACCOUNTS_PENDING: &str = "accounts-pending";

/// A file with passwords that only we can read, and that is removed when this is dropped.
pub(super) struct InitFile(PathBuf);

impl InitFile {
    /// Writes it into `dir`, replacing one that was left behind.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn write(dir: &Path, sql: &str) -> Result<InitFile> {
        let path = dir.join("init.sql");
        gone(fs::remove_file(&path)).context("cannot remove an old init file")?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let init = InitFile(path);
        file.and_then(|mut file| file.write_all(sql.as_bytes())).context("cannot write the init file")?;
        Ok(init)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for InitFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Sixteen hexadecimal digits that change with the text.
pub(super) fn fingerprint(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_init_file_is_private_and_short_lived() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("init.sql"), "left behind").expect("written");
        let init = InitFile::write(root.path(), "SELECT 1;\n").expect("written");
        let path = init.path().to_owned();
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        drop(init);
        assert!(!path.exists());
    }
}

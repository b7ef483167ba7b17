//! Files of this machine, written whole or not at all.

use std::{os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

/// Writes an executable beside its place and renames it: a program that runs can be replaced, but not written to.
pub(crate) fn executable(path: &Path, content: &[u8]) -> Result<()> {
    let shown = path.display();
    let folder = path.parent().with_context(|| format!("{shown} is no file in a folder"))?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file =
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    std::io::Write::write_all(&mut file, content).with_context(|| format!("cannot write {shown}"))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file.path(), mode).with_context(|| format!("cannot make {shown} executable"))?;
    file.persist(path).with_context(|| format!("cannot write {shown}"))?;
    Ok(())
}

/// Writes a file that is not there yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<()> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut file = std::fs::File::create_new(path).with_context(|| format!("cannot make {shown}"))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).with_context(|| format!("cannot write {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bin/tool");
        executable(&path, b"one").expect("installed");
        executable(&path, b"two").expect("replaced");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o755);
    }
}

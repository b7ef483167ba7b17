//! Programs of this machine: where they are, and whether one runs.

use std::{ffi::OsString, os::unix::fs::PermissionsExt, path::PathBuf};

use crate::host::folders::bin_home;

/// Whether a process of this name runs on this machine.
pub fn running(program: &str) -> bool {
    let named = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|c| c.trim() == program)
    };
    std::fs::read_dir("/proc").is_ok_and(|entries| entries.flatten().any(named))
}

/// Where a program is: in PATH, in our own cache's `bin`, or among the administrator's programs, which a user's PATH
/// often lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    search(program, &std::env::var_os("PATH").unwrap_or_default())
}

fn search(program: &str, path: &OsString) -> Option<PathBuf> {
    let executable = |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let folders = std::env::split_paths(path).filter(|p| p.is_absolute());
    folders
        .chain([bin_home(), PathBuf::from("/usr/local/sbin"), PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(program))
        .find(executable)
}

/// PATH for a child that looks for programs itself: the user's, then everywhere [`find`] looks.
pub fn child_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [bin_home(), PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::join_paths(std::env::split_paths(&path).chain(more)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_seen_by_its_name() {
        let own = std::fs::read_to_string("/proc/self/comm").expect("a name");
        assert!(running(own.trim()));
        assert!(!running("no-such-process"));
    }

    #[test]
    fn a_program_is_found_when_it_is_an_executable_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wplab-test-program");
        std::fs::write(&file, "").expect("written");
        let path = OsString::from(folder.path());
        assert_eq!(search("wplab-test-program", &path), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("mode set");
        assert_eq!(search("wplab-test-program", &path), Some(file));
    }
}

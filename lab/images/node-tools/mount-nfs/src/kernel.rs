//! Leaves the mount to the kernel's own client, where there is one.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The real mount.nfs, where the node image keeps it.
const REAL: &str = "/sbin/mount.nfs.kernel";
/// Set to anything: use our own client all the same. For tests.
const FORCE_USERSPACE: &str = "MOUNT_NFS_USERSPACE";

/// Becomes the real mount.nfs if the kernel can do the work; returns if not.
pub fn hand_over() {
    if std::env::var_os(FORCE_USERSPACE).is_some() || !Path::new(REAL).exists() {
        return;
    }
    let available = has_client() || (load_module() && has_client());
    if !available {
        return;
    }
    let mut args = std::env::args_os();
    // It tells mount.nfs from mount.nfs4 by its own name.
    let name = args.next().unwrap_or_else(|| "mount.nfs".into());
    let error = Command::new(REAL).arg0(name).args(args).exec();
    eprintln!("mount.nfs: {REAL}: {error}");
}

fn has_client() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| lists_nfs4(&list))
}

fn lists_nfs4(filesystems: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().next_back() == Some("nfs4"))
}

/// Module `nfs` brings both file system types.
fn load_module() -> bool {
    Command::new("/sbin/modprobe")
        .args(["-q", "nfs"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::lists_nfs4;

    #[test]
    fn only_the_client_counts() {
        assert!(lists_nfs4("nodev\tproc\nnodev\tnfs4\n"));
        assert!(!lists_nfs4("nodev\tnfsd\nnodev\tfuse\n\text4\n"));
    }
}

//! Where this user's labs keep their files, as the XDG base directory specification wants it.

use std::path::PathBuf;

/// The folder of all labs on this machine, one folder each: kubeconfig, lock, diagnostics. `$XDG_DATA_HOME/wplab`.
pub fn data_home() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".local/share");
    std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()).map_or_else(home, PathBuf::from).join("wplab")
}

/// What may be thrown away and made again: `$XDG_CACHE_HOME/wplab`.
pub fn cache_home() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map_or_else(home, PathBuf::from).join("wplab")
}

/// Executables that `--fix` fetched for this user: `bin` in [`cache_home`].
pub fn bin_home() -> PathBuf {
    cache_home().join("bin")
}

//! Stub of the host owner's room, with its signature.

use std::ffi::OsString;

use anyhow::{Error, anyhow};

/// Becomes runc with these arguments; returns only when that fails.
pub fn become_runc(_args: &[OsString]) -> Error {
    anyhow!("not built yet")
}

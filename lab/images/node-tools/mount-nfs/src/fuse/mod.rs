//! The FUSE side: how the kernel sees the server's files.

mod fs;
mod locks;
mod state;

pub use fs::Fs;

//! `mount.nfs` for a node whose kernel has no NFS client: NFSv4.1 in user space,
//! shown through FUSE. Where the kernel has one, the real `mount.nfs` runs instead.

mod daemon;
mod fuse;
mod kernel;
mod nfs;
mod options;

fn main() {
    if let Err(message) = run() {
        eprintln!("mount.nfs: {message}");
        std::process::exit(daemon::EXIT_MOUNT_FAILED);
    }
}

fn run() -> Result<(), String> {
    let daemon = daemon::is_daemon();
    if !daemon {
        kernel::hand_over();
    }
    let options = options::parse(std::env::args().skip(1))?;
    if daemon { daemon::serve(options) } else { daemon::launch(options) }
}

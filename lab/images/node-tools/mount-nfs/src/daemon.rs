//! mount(8) expects its helper to return once the mount is there, so the file
//! system is served by a second process, which tells the first how it went.

use crate::fuse::Fs;
use crate::nfs::Client;
use crate::options::Options;
use fuser::{Config, SessionACL};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use std::time::Duration;

/// mount(8)'s code for "mount failure".
pub const EXIT_MOUNT_FAILED: i32 = 32;
/// Marks the second process.
const DAEMON: &str = "MOUNT_NFS_DAEMON";
/// Where the second process writes its log; nowhere by default.
const LOG: &str = "MOUNT_NFS_LOG";
/// The descriptor on which the second process reports.
const REPORT_FD: i32 = 3;
/// The report of success; anything else is an error message.
const MOUNTED: &str = "+";
/// Requests of the kernel served at the same time.
const THREADS: usize = 8;

/// Whether this is the second process.
pub fn is_daemon() -> bool {
    std::env::var_os(DAEMON).is_some()
}

/// Starts the second process and waits until it has mounted.
pub fn launch(options: Options) -> Result<(), String> {
    let (report, reporter) = pipe().map_err(|e| e.to_string())?;
    let log = std::env::var(LOG).unwrap_or_else(|_| "/dev/null".into());
    let open = |path: &str| File::options().append(true).create(true).open(path);
    let (out, err) = open(&log).and_then(|f| Ok((f.try_clone()?, f))).map_err(|e| format!("{log}: {e}"))?;
    let target = std::fs::canonicalize(&options.target).map_err(|e| format!("{}: {e}", options.target))?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;

    // A fresh process image with nothing inherited: mount(8)'s caller waits
    // until the pipes it gave us are closed.
    let mut daemon = Command::new(program);
    daemon.arg0("mount.nfs").arg(&options.spec).arg(target);
    daemon.args(std::env::args().skip(1).filter(|arg| *arg != options.spec && *arg != options.target));
    daemon.env(DAEMON, "1").current_dir("/").stdin(Stdio::null()).stdout(out).stderr(err);
    let fd = reporter.as_raw_fd();
    // SAFETY: only system calls that are allowed between fork and exec.
    unsafe {
        daemon.pre_exec(move || {
            libc::setsid();
            if libc::dup2(fd, REPORT_FD) < 0 {
                return Err(io::Error::last_os_error());
            }
            // dup2 onto itself would have kept close-on-exec
            if libc::fcntl(REPORT_FD, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            // what the caller of mount(8) left open
            for inherited in REPORT_FD + 1..256 {
                libc::fcntl(inherited, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            Ok(())
        });
    }
    daemon.spawn().map_err(|e| e.to_string())?;
    drop(reporter);
    let mut said = String::new();
    let _ = File::from(report).read_to_string(&mut said);
    match said.as_str() {
        MOUNTED => Ok(()),
        "" => Err("the mount daemon died".into()),
        _ => Err(said),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array is large enough, and both descriptors are ours alone.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Mounts, reports, and serves until the unmount.
pub fn serve(options: Options) -> Result<(), String> {
    // SAFETY: the first process put the pipe there for us.
    let mut report = unsafe { File::from_raw_fd(REPORT_FD) };
    match mount(options) {
        Ok(mounted) => {
            let _ = report.write_all(MOUNTED.as_bytes());
            drop(report);
            mounted.join()
        }
        Err(message) => {
            let _ = report.write_all(message.as_bytes());
            Err(message)
        }
    }
}

struct Mounted {
    session: fuser::BackgroundSession,
    client: Arc<Client>,
}

impl Mounted {
    fn join(self) -> Result<(), String> {
        let result = self.session.join().map_err(|e| e.to_string());
        self.client.goodbye();
        result
    }
}

fn mount(options: Options) -> Result<Mounted, String> {
    let failed = |e: io::Error| format!("mounting {} on {}: {e}", options.spec, options.target);
    let client = Arc::new(Client::new(&options.host, options.port, options.timeo));
    client.set_limit(Some(options.retry));
    let root = client.mount(&options.path).map_err(|e| failed(io::Error::from_raw_os_error(e)))?;
    client.set_limit(options.limit());

    let fs = Fs::new(client.clone(), root, options.ttl);
    let shared = fs.0.clone();
    let mut config = Config::default();
    config.mount_options = options.flags.clone();
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    let session = fuser::Session::new(fs, &options.target, &config).map_err(failed)?;
    let device = session.as_fd().try_clone_to_owned().map_err(failed)?;
    let session = session.spawn().map_err(failed)?;
    let _ = shared.notifier.set(session.notifier());

    let keeper = client.clone();
    std::thread::spawn(move || {
        let mut idle = 0;
        while !unmounted(&device, Duration::from_secs(1)) {
            // Held locks are asked after each second, to take them again soon after a restart.
            idle += 1;
            if shared.keep_locks() || idle >= keeper.lease.load(Relaxed) / 3 {
                keeper.renew();
                idle = 0;
            }
        }
        keeper.closing.store(true, Relaxed);
    });
    Ok(Mounted { session, client })
}

/// Waits for the mount to go away: its device then reports an error.
fn unmounted(device: &OwnedFd, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd: device.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid entry.
    unsafe { libc::poll(&mut poll, 1, wait.as_millis() as i32) > 0 }
}

//! What the mount knows: nodes, open handles, callers, and writes not yet safe.

use super::locks::Locks;
use crate::nfs::{
    Attr, Client, Cred, Entry, FILE_SYNC, Handle as NfsHandle, MAX_IO, Res, UNSTABLE, Verifier, at,
};
use fuser::{FileAttr, FileHandle, FileType, Generation, INodeNo, Notifier, Request, TimeOrNow};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unstable bytes of one file after which they are committed.
const COMMIT_AT: usize = 16 << 20;
/// The inode number of the root, by FUSE's rules.
pub(super) const ROOT: u64 = 1;

/// A file that the kernel knows.
pub struct Node {
    pub(super) ino: u64,
    pub(super) fh: NfsHandle,
    pub(super) generation: Generation,
    pub(super) state: Mutex<NodeState>,
    /// Writes the server has taken but may still lose; held over each write and commit.
    pub(super) pending: Mutex<Pending>,
    pub(super) locks: Mutex<Locks>,
}
/// A folder, and a name in it.
type Place = (NfsHandle, Vec<u8>);

#[derive(Default)]
pub(super) struct NodeState {
    pub(super) nlookup: u64,
    pub(super) opens: u32,
    /// The change attribute at the last open: the kernel's pages are good while it stands.
    pub(super) change: u64,
    /// Where an unlinked open file lives until its last close.
    pub(super) silly: Option<Place>,
}
#[derive(Default)]
pub(super) struct Pending {
    pub(super) list: Vec<(u64, Vec<u8>)>,
    pub(super) bytes: usize,
    pub(super) verf: Verifier,
}
/// An open file or directory, of one caller.
pub(super) struct OpenFile {
    pub(super) node: Arc<Node>,
    pub(super) cred: Arc<Cred>,
    pub(super) dir: Mutex<Vec<Entry>>,
}

type Creds = HashMap<(u32, u32, u32), (Instant, Arc<Cred>)>;

impl Node {
    /// Counts one more open handle if there is one already.
    fn hold_if_open(&self) -> bool {
        let mut state = self.state.lock();
        let open = state.opens > 0;
        state.opens += u32::from(open);
        open
    }

    /// Counts one open handle less; with the last one, where the file is hidden.
    fn let_go(&self) -> Option<Place> {
        let mut state = self.state.lock();
        state.opens = state.opens.saturating_sub(1);
        if state.opens == 0 { state.silly.take() } else { None }
    }
}

/// The state of a mount.
pub struct Shared {
    pub(super) client: Arc<Client>,
    pub(super) root: NfsHandle,
    pub(super) root_attr: Mutex<Attr>,
    pub(super) ttl: Duration,
    pub notifier: OnceLock<Notifier>,
    pub(super) nodes: Mutex<HashMap<u64, Arc<Node>>>,
    pub(super) handles: Mutex<HashMap<u64, Arc<OpenFile>>>,
    pub(super) open_files: AtomicUsize,
    pub(super) creds: Mutex<Creds>,
}
/// The kernel's file type for the protocol's.
pub(super) fn kind(t: u64) -> FileType {
    match t {
        2 => FileType::Directory,
        3 => FileType::BlockDevice,
        4 => FileType::CharDevice,
        5 => FileType::Symlink,
        6 => FileType::Socket,
        7 => FileType::NamedPipe,
        _ => FileType::RegularFile,
    }
}

pub(super) fn time((s, ns): (u64, u32)) -> SystemTime {
    let (s, fraction) = (s as i64, Duration::from_nanos(ns.into()));
    let whole = Duration::from_secs(s.unsigned_abs());
    let seconds = if s >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    seconds.and_then(|t| t.checked_add(fraction)).unwrap_or(UNIX_EPOCH)
}

/// A time to set; `None` is the server's clock.
pub(super) fn nfs_time(t: TimeOrNow) -> Option<(i64, u32)> {
    match t {
        TimeOrNow::Now => None,
        TimeOrNow::SpecificTime(t) => Some(match t.duration_since(UNIX_EPOCH) {
            Ok(d) => (d.as_secs() as i64, d.subsec_nanos()),
            // fuser takes the kernel's seconds and nanoseconds apart as if both counted backwards before 1970.
            Err(e) => (-(e.duration().as_secs() as i64), e.duration().subsec_nanos()),
        }),
    }
}

impl Shared {
    pub(super) fn new(client: Arc<Client>, root: NfsHandle, attr: Attr, ttl: Duration) -> Shared {
        let shared = Shared {
            client,
            root: root.clone(),
            root_attr: attr.into(),
            ttl,
            notifier: OnceLock::new(),
            nodes: Default::default(),
            handles: Default::default(),
            open_files: AtomicUsize::new(0),
            creds: Default::default(),
        };
        shared.learn(root, &attr);
        shared
    }

    pub(super) fn ino(&self, fh: &[u8], a: &Attr) -> u64 {
        match a.get(at::FILEID) {
            _ if fh == self.root => ROOT,
            ROOT => 1 << 63 | ROOT,
            id => id,
        }
    }

    /// What the kernel is told of a file. The name under which a removed file lives on until its last close is no link.
    pub(super) fn file_attr(&self, node: &Node, a: &Attr) -> FileAttr {
        let hidden = u32::from(node.state.lock().silly.is_some());
        FileAttr {
            ino: INodeNo(node.ino),
            size: a.get(at::SIZE),
            blocks: a.get(at::USED).div_ceil(512),
            atime: time(a.0[at::ATIME]),
            mtime: time(a.0[at::MTIME]),
            ctime: time(a.0[at::CTIME]),
            crtime: UNIX_EPOCH,
            kind: kind(a.get(at::TYPE)),
            perm: a.get(at::MODE) as u16 & 0o7777,
            nlink: (a.get(at::NLINK) as u32).saturating_sub(hidden),
            uid: a.get(at::OWNER) as u32,
            gid: a.get(at::GROUP) as u32,
            rdev: a.get(at::RAWDEV) as u32,
            blksize: MAX_IO as u32,
            flags: 0,
        }
    }

    /// The node of a handle the kernel is about to learn, with one more lookup on it.
    pub(super) fn learn(&self, fh: NfsHandle, a: &Attr) -> Arc<Node> {
        let ino = self.ino(&fh, a);
        let mut nodes = self.nodes.lock();
        let before = match nodes.get(&ino) {
            Some(n) if n.fh == fh => {
                n.state.lock().nlookup += 1;
                return n.clone();
            }
            // The file id now names another file; the kernel tells them by generation.
            Some(n) => n.state.lock().nlookup,
            None => 0,
        };
        let mut h = DefaultHasher::new();
        fh.hash(&mut h);
        let state = NodeState { nlookup: before + 1, ..Default::default() };
        let generation = Generation(h.finish());
        let node = Arc::new(Node {
            ino,
            fh,
            generation,
            state: state.into(),
            pending: Default::default(),
            locks: Default::default(),
        });
        nodes.insert(ino, node.clone());
        node
    }

    pub(super) fn node(&self, ino: INodeNo) -> Res<Arc<Node>> {
        self.nodes.lock().get(&ino.0).cloned().ok_or(libc::ESTALE)
    }

    pub(super) fn handle(&self, fh: FileHandle) -> Res<Arc<OpenFile>> {
        self.handles.lock().get(&fh.0).cloned().ok_or(libc::EBADF)
    }

    /// The caller, with the supplementary groups that FUSE does not pass on.
    pub(super) fn cred(&self, r: &Request) -> Arc<Cred> {
        let key = (r.pid(), r.uid(), r.gid());
        let mut creds = self.creds.lock();
        if let Some((_, c)) = creds.get(&key).filter(|c| c.0.elapsed() < Duration::from_secs(1)) {
            return c.clone();
        }
        let mut groups = vec![];
        if r.uid() != 0 && r.pid() != 0 {
            let status = std::fs::read_to_string(format!("/proc/{}/status", r.pid())).unwrap_or_default();
            if let Some(l) = status.lines().find_map(|l| l.strip_prefix("Groups:")) {
                groups = l.split_whitespace().filter_map(|g| g.parse().ok()).take(16).collect();
            }
        }
        let c = Arc::new(Cred { uid: r.uid(), gid: r.gid(), groups });
        if creds.len() > 1000 {
            creds.clear();
        }
        creds.insert(key, (Instant::now(), c.clone()));
        c
    }

    pub(super) fn open_handle(&self, node: Arc<Node>, cred: Arc<Cred>, dir: Vec<Entry>) -> FileHandle {
        let id = self.client.unique();
        self.handles.lock().insert(id, Arc::new(OpenFile { node, cred, dir: dir.into() }));
        FileHandle(id)
    }

    pub(super) fn opened(&self, node: &Node) {
        node.state.lock().opens += 1;
        self.open_files.fetch_add(1, Relaxed);
    }

    /// Sends again, to stable storage, what a restarted server may have lost.
    pub(super) fn replay(&self, cred: &Cred, node: &Node, p: &mut Pending) -> Res<()> {
        eprintln!("server restarted: {} writes sent again", p.list.len());
        for (off, data) in &p.list {
            self.client.write(cred, &node.fh, *off, data, FILE_SYNC)?;
        }
        (p.list, p.bytes) = (vec![], 0);
        Ok(())
    }

    pub(super) fn commit(&self, cred: &Cred, node: &Node, p: &mut Pending) -> Res<()> {
        if p.list.is_empty() {
            return Ok(());
        }
        if self.client.commit(cred, &node.fh)? != p.verf {
            return self.replay(cred, node, p);
        }
        (p.list, p.bytes) = (vec![], 0);
        Ok(())
    }

    pub(super) fn write(&self, h: &OpenFile, off: u64, data: &[u8]) -> Res<()> {
        let mut p = h.node.pending.lock();
        let (unstable, verf) = self.client.write(&h.cred, &h.node.fh, off, data, UNSTABLE)?;
        if unstable {
            let restarted = !p.list.is_empty() && p.verf != verf;
            p.list.push((off, data.to_vec()));
            p.bytes += data.len();
            p.verf = verf;
            if restarted {
                self.replay(&h.cred, &h.node, &mut p)?;
            } else if p.bytes > COMMIT_AT {
                self.commit(&h.cred, &h.node, &mut p)?;
            }
        }
        Ok(())
    }

    pub(super) fn sync(&self, fh: FileHandle) -> Res<()> {
        let h = self.handle(fh)?;
        self.commit(&h.cred, &h.node, &mut h.node.pending.lock())
    }

    /// Hides `name` if it is an open file: from now on it is only its open handles'. The file, if it was hidden; it
    /// counts as open until the caller lets it go.
    pub(super) fn hide_open(&self, c: &Cred, dir: &[u8], name: &[u8]) -> Res<Option<Arc<Node>>> {
        if self.open_files.load(Relaxed) == 0 {
            return Ok(None);
        }
        let (fh, a) = self.client.lookup(c, dir, name)?;
        let Some(node) = self.nodes.lock().get(&self.ino(&fh, &a)).cloned() else {
            return Ok(None);
        };
        if node.fh != fh || a.get(at::NLINK) > 1 || !node.hold_if_open() {
            return Ok(None);
        }
        let new = format!(".nfs{:016x}{:08x}", node.ino, self.client.unique()).into_bytes();
        if let Err(e) = self.client.rename(c, dir, name, dir, &new) {
            self.let_go(c, &node);
            return Err(e);
        }
        node.state.lock().silly = Some((dir.to_vec(), new));
        Ok(Some(node))
    }

    /// Gives a hidden file its name back, because nothing took its place. No lock is held while the server is asked.
    pub(super) fn show_again(&self, c: &Cred, node: &Node, dir: &[u8], name: &[u8]) {
        let Some((_, hidden)) = node.state.lock().silly.take() else { return };
        if let Err(e) = self.client.rename(c, dir, &hidden, dir, name) {
            eprintln!("file {} keeps its hidden name: errno {e}", node.ino);
            node.state.lock().silly = Some((dir.to_vec(), hidden));
        }
    }

    /// One open handle less; with the last one a hidden file goes.
    pub(super) fn let_go(&self, c: &Cred, node: &Node) {
        if let Some((dir, name)) = node.let_go() {
            let _ = self.client.remove(c, &dir, &name);
        }
    }

    pub(super) fn forget_one(&self, ino: u64, n: u64) {
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.get(&ino) else { return };
        let left = {
            let mut state = node.state.lock();
            state.nlookup = state.nlookup.saturating_sub(n);
            state.nlookup
        };
        if left == 0 && ino != ROOT {
            nodes.remove(&ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount of a server that is never asked.
    fn shared() -> Shared {
        let client = Client::new("192.0.2.1", 2049, Duration::from_secs(1));
        Shared::new(client.into(), b"root".to_vec(), attr(100, 2), Duration::from_secs(1))
    }

    fn attr(id: u64, links: u64) -> Attr {
        let mut a = Attr::NONE;
        a.0[at::FILEID] = (id, 0);
        a.0[at::NLINK] = (links, 0);
        a.0[at::MODE] = (0o100_6751, 0);
        a.0[at::USED] = (513, 0);
        a
    }

    #[test]
    fn times_before_1970_are_times_as_well() {
        let back = Duration::from_millis(1250);
        assert_eq!(time((-2_i64 as u64, 750_000_000)), UNIX_EPOCH - back);
        for (s, ns) in [(0_i64, 0), (1, 999_999_999), (-1, 0), (-1, 500_000_000), (-7, 1), (1 << 40, 3)] {
            // what fuser makes of them
            let d = Duration::new(s.unsigned_abs(), ns);
            let given = if s < 0 { UNIX_EPOCH - d } else { UNIX_EPOCH + d };
            assert_eq!(nfs_time(TimeOrNow::SpecificTime(given)), Some((s, ns)), "{s} s {ns} ns");
        }
        assert_eq!(nfs_time(TimeOrNow::Now), None, "the server's clock");
    }

    #[test]
    fn the_root_is_inode_1_and_no_other_file_is() {
        let s = shared();
        assert_eq!(s.ino(b"root", &attr(100, 2)), ROOT);
        assert_ne!(s.ino(b"f", &attr(ROOT, 1)), ROOT);
        assert_eq!(s.ino(b"f", &attr(100, 1)), 100);
    }

    #[test]
    fn a_file_is_forgotten_with_its_last_lookup_and_the_root_never() {
        let s = shared();
        let first = s.learn(b"f".to_vec(), &attr(5, 1));
        assert!(Arc::ptr_eq(&first, &s.learn(b"f".to_vec(), &attr(5, 1))));
        s.forget_one(5, 1);
        assert!(s.node(INodeNo(5)).is_ok());
        s.forget_one(5, 1);
        assert_eq!(s.node(INodeNo(5)).err(), Some(libc::ESTALE));
        s.forget_one(ROOT, 99);
        assert!(s.node(INodeNo(ROOT)).is_ok());
    }

    #[test]
    fn a_file_id_that_names_another_file_is_told_by_its_generation() {
        let s = shared();
        let old = s.learn(b"old".to_vec(), &attr(5, 1));
        let new = s.learn(b"new".to_vec(), &attr(5, 1));
        assert_ne!(old.generation, new.generation);
        // The kernel forgets both with one number.
        s.forget_one(5, 2);
        assert!(s.node(INodeNo(5)).is_err());
    }

    #[test]
    fn a_hidden_file_has_no_link_and_goes_with_its_last_handle() {
        let s = shared();
        let node = s.learn(b"f".to_vec(), &attr(5, 1));
        assert!(!node.hold_if_open(), "nobody has it open");
        assert_eq!((s.file_attr(&node, &attr(5, 1)).nlink, node.let_go()), (1, None));
        s.opened(&node);
        assert!(node.hold_if_open());
        let place: Place = (b"root".to_vec(), b".nfs1".to_vec());
        node.state.lock().silly = Some(place.clone());
        assert_eq!(s.file_attr(&node, &attr(5, 1)).nlink, 0);
        assert_eq!(node.let_go(), None, "one handle is left");
        assert_eq!(node.let_go(), Some(place));
        assert_eq!(node.let_go(), None, "once");
    }

    #[test]
    fn the_kernel_sees_modes_without_the_type_and_whole_blocks() {
        let s = shared();
        let node = s.learn(b"f".to_vec(), &attr(5, 1));
        let seen = s.file_attr(&node, &attr(5, 1));
        assert_eq!((seen.perm, seen.blocks, seen.kind), (0o6751, 2, FileType::RegularFile));
    }
}

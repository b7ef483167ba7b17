//! The requests of the kernel. Inodes are NFS file handles, `ino` is the file id.

use super::state::{ROOT, Shared, kind, nfs_time};
use crate::nfs::{Attr, Client, Enc, Handle as NfsHandle, MAX_IO, Range, Res, Sattr, at};
use fuser::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

/// The file system of one mount.
pub struct Fs(pub Arc<Shared>);

impl Fs {
    pub fn new(client: Arc<Client>, (root, attr): (NfsHandle, Attr), ttl: Duration) -> Fs {
        Fs(Arc::new(Shared::new(client, root, attr, ttl)))
    }

    fn entry(&self, reply: ReplyEntry, r: Res<(NfsHandle, Attr)>) {
        match r {
            Ok((fh, a)) => {
                let n = self.0.learn(fh, &a);
                reply.entry(&self.0.ttl, &self.0.file_attr(&n, &a), n.generation)
            }
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }
}

fn done(reply: ReplyEmpty, r: Res<()>) {
    match r {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(Errno::from_i32(e)),
    }
}

impl Filesystem for Fs {
    fn init(&mut self, _: &Request, k: &mut KernelConfig) -> std::io::Result<()> {
        let _ = k.set_max_write(MAX_IO as u32);
        let _ = k.set_max_readahead(4 * MAX_IO as u32);
        let _ = k.set_max_background(32);
        let wanted = InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_POSIX_LOCKS
            | InitFlags::FUSE_FLOCK_LOCKS;
        let _ = k.add_capabilities(wanted & k.capabilities());
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let s = &self.0;
        let r = s.node(parent).and_then(|p| s.client.lookup(&s.cred(req), &p.fh, name.as_bytes()));
        self.entry(reply, r)
    }

    fn forget(&self, _: &Request, ino: INodeNo, n: u64) {
        self.0.forget_one(ino.0, n)
    }

    fn getattr(&self, req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let s = &self.0;
        let r = (|| {
            let node = match fh.and_then(|h| s.handle(h).ok()) {
                Some(h) => h.node.clone(),
                None => s.node(ino)?,
            };
            if ino.0 != ROOT {
                let a = s.client.getattr(&s.cred(req), &node.fh, at::ALL)?;
                return Ok(s.file_attr(&node, &a));
            }
            let mut last = s.root_attr.lock();
            match s.client.getattr_soon(&s.cred(req), &node.fh, at::ALL) {
                Err(libc::ETIMEDOUT) => (),
                x => *last = x?,
            }
            Ok(s.file_attr(&node, &last))
        })();
        match r {
            Ok(a) => reply.attr(&s.ttl, &a),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let s = &self.0;
        let r = (|| {
            let set = Sattr { size, mode, uid, gid, atime: atime.map(nfs_time), mtime: mtime.map(nfs_time) };
            let h = fh.and_then(|h| s.handle(h).ok());
            let node = match &h {
                Some(h) => h.node.clone(),
                None => s.node(ino)?,
            };
            let cred = h.map_or_else(|| s.cred(req), |h| h.cred.clone());
            // What is replayed later must not undo a truncation.
            let mut p = node.pending.lock();
            if size.is_some() {
                s.commit(&cred, &node, &mut p)?;
            }
            let a = s.client.setattr(&cred, &node.fh, &set)?;
            Ok(s.file_attr(&node, &a))
        })();
        match r {
            Ok(a) => reply.attr(&s.ttl, &a),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        let s = &self.0;
        match s.node(ino).and_then(|n| s.client.readlink(&s.cred(req), &n.fh)) {
            Ok(t) => reply.data(&t),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (s, name) = (&self.0, name.as_bytes());
        let set = Sattr { mode: Some(mode), ..Default::default() };
        let (mut data, cred) = (Enc::default(), s.cred(req));
        let kind = match mode & libc::S_IFMT {
            libc::S_IFBLK => 3,
            libc::S_IFCHR => 4,
            libc::S_IFSOCK => 6,
            libc::S_IFIFO => 7,
            _ => 1,
        };
        if kind == 3 || kind == 4 {
            data.u32(libc::major(rdev.into())).u32(libc::minor(rdev.into()));
        }
        let r = s.node(parent).and_then(|p| match kind {
            1 => s.client.create(&cred, &p.fh, name, true, &set),
            _ => s.client.mknod(&cred, &p.fh, name, kind, &data, &set),
        });
        self.entry(reply, r)
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let s = &self.0;
        let set = Sattr { mode: Some(mode), ..Default::default() };
        let r = s
            .node(parent)
            .and_then(|p| s.client.mknod(&s.cred(req), &p.fh, name.as_bytes(), 2, &Enc::default(), &set));
        self.entry(reply, r)
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let s = &self.0;
        let mut data = Enc::default();
        data.opaque(target.as_os_str().as_bytes());
        let r = s
            .node(parent)
            .and_then(|p| s.client.mknod(&s.cred(req), &p.fh, name.as_bytes(), 5, &data, &Sattr::default()));
        self.entry(reply, r)
    }

    fn link(&self, req: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let s = &self.0;
        let r = s
            .node(ino)
            .and_then(|n| s.client.link(&s.cred(req), &n.fh, &s.node(parent)?.fh, name.as_bytes()));
        self.entry(reply, r)
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (s, cred, name) = (&self.0, self.0.cred(req), name.as_bytes());
        done(
            reply,
            s.node(parent).and_then(|p| match s.hide_open(&cred, &p.fh, name)? {
                Some(node) => {
                    s.let_go(&cred, &node);
                    Ok(())
                }
                None => s.client.remove(&cred, &p.fh, name),
            }),
        )
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let s = &self.0;
        done(reply, s.node(parent).and_then(|p| s.client.remove(&s.cred(req), &p.fh, name.as_bytes())))
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (s, cred, new) = (&self.0, self.0.cred(req), new.as_bytes());
        done(
            reply,
            (|| {
                let (p, to) = (s.node(parent)?, s.node(to)?);
                let mut hidden = None;
                if flags == RenameFlags::RENAME_NOREPLACE {
                    if s.client.lookup(&cred, &to.fh, new).is_ok() {
                        return Err(libc::EEXIST);
                    }
                } else if !flags.is_empty() {
                    return Err(libc::EINVAL);
                } else {
                    match s.hide_open(&cred, &to.fh, new) {
                        Ok(node) => hidden = node,
                        Err(libc::ENOENT) => (),
                        Err(e) => return Err(e),
                    }
                }
                let r = s.client.rename(&cred, &p.fh, name.as_bytes(), &to.fh, new);
                if let Some(node) = hidden {
                    if r.is_err() {
                        s.show_again(&cred, &node, &to.fh, new);
                    }
                    s.let_go(&cred, &node);
                }
                r
            })(),
        )
    }

    fn open(&self, req: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let (s, cred) = (&self.0, self.0.cred(req));
        let r = s.node(ino).and_then(|n| Ok((s.client.getattr(&cred, &n.fh, &[at::CHANGE])?, n)));
        match r {
            Ok((a, n)) => {
                let change = a.get(at::CHANGE);
                let same = std::mem::replace(&mut n.state.lock().change, change) == change;
                if let (false, Some(k)) = (same, s.notifier.get()) {
                    let _ = k.inval_inode(ino, -1, 0);
                }
                s.opened(&n);
                let flags = if same { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
                reply.opened(s.open_handle(n, cred, vec![]), flags)
            }
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (s, cred) = (&self.0, self.0.cred(req));
        let size = (flags & libc::O_TRUNC != 0).then_some(0);
        let set = Sattr { mode: Some(mode), size, ..Default::default() };
        let excl = flags & libc::O_EXCL != 0;
        match s.node(parent).and_then(|p| s.client.create(&cred, &p.fh, name.as_bytes(), excl, &set)) {
            Ok((fh, a)) => {
                let n = s.learn(fh, &a);
                s.opened(&n);
                let h = s.open_handle(n.clone(), cred, vec![]);
                reply.created(&s.ttl, &s.file_attr(&n, &a), n.generation, h, FopenFlags::empty())
            }
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        off: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let s = &self.0;
        match s.handle(fh).and_then(|h| s.client.read(&h.cred, &h.node.fh, off, size as usize)) {
            Ok(d) => reply.data(&d),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        off: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.handle(fh).and_then(|h| self.0.write(&h, off, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, fh: FileHandle, owner: LockOwner, reply: ReplyEmpty) {
        let r = self.0.sync(fh);
        self.0.release_locks(fh, owner.0);
        done(reply, r)
    }

    fn getlk(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        let s = &self.0;
        let r = Range { start, end, typ };
        match s.handle(fh).and_then(|h| s.client.test_lock(&h.cred, &h.node.fh, owner.0, r)) {
            Ok(None) => reply.locked(start, end, libc::F_UNLCK, 0),
            Ok(Some(r)) => reply.locked(r.start, r.end, r.typ, 0),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        _: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let h = match self.0.handle(fh) {
            Ok(h) => h,
            Err(e) => return reply.error(Errno::from_i32(e)),
        };
        let r = Range { start, end, typ };
        match self.0.set_lock(&h, owner.0, r) {
            Err(libc::EAGAIN) if sleep => {
                // The server calls nobody back here: ask until it is free.
                let s = self.0.clone();
                std::thread::spawn(move || {
                    loop {
                        std::thread::sleep(Duration::from_millis(100));
                        match s.set_lock(&h, owner.0, r) {
                            Err(libc::EAGAIN) => (),
                            x => return done(reply, x),
                        }
                    }
                });
            }
            x => done(reply, x),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.0.sync(fh))
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        owner: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let s = &self.0;
        let r = s.sync(fh);
        if let Some(o) = owner {
            s.release_locks(fh, o.0); // flock
        }
        if let Some(h) = s.handles.lock().remove(&fh.0) {
            s.open_files.fetch_sub(1, Relaxed);
            s.let_go(&h.cred, &h.node);
        }
        done(reply, r)
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.node(ino) {
            Ok(n) => reply.opened(self.0.open_handle(n, self.0.cred(req), vec![]), FopenFlags::empty()),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, off: u64, mut reply: ReplyDirectory) {
        let s = &self.0;
        let r = s.handle(fh).and_then(|h| {
            let mut list = h.dir.lock();
            if off == 0 {
                *list = [b".".to_vec(), b"..".to_vec()].map(|n| (ino.0, 2, n)).to_vec();
                list.extend(s.client.readdir(&h.cred, &h.node.fh)?);
            }
            for (i, (id, t, name)) in list.iter().enumerate().skip(off as usize) {
                if reply.add(INodeNo(*id), i as u64 + 1, kind(*t as u64), OsStr::from_bytes(name)) {
                    break;
                }
            }
            Ok(())
        });
        match r {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.handles.lock().remove(&fh.0);
        reply.ok()
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok()
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let s = &self.0;
        let want = &[at::FILES_FREE, at::FILES_TOTAL, at::SPACE_AVAIL, at::SPACE_FREE, at::SPACE_TOTAL];
        let r = match s.node(ino).and_then(|n| s.client.getattr_soon(&s.cred(req), &n.fh, want)) {
            Err(libc::ETIMEDOUT) => Ok(Attr::NONE),
            r => r,
        };
        match r {
            Ok(a) => {
                let b = |x| a.get(x) / 4096;
                reply.statfs(
                    b(at::SPACE_TOTAL),
                    b(at::SPACE_FREE),
                    b(at::SPACE_AVAIL),
                    a.get(at::FILES_TOTAL),
                    a.get(at::FILES_FREE),
                    4096,
                    255,
                    4096,
                )
            }
            Err(e) => reply.error(Errno::from_i32(e)),
        }
    }
}

//! What can be asked of the server: one method for each file operation.

use super::client::{Client, Reply};
use super::compound::Ops;
use super::proto::*;
use super::xdr::{Dec, Enc};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long `getattr_soon` waits for a server that does not answer.
const SOON: Duration = Duration::from_secs(2);
// OPEN's arguments (RFC 8881, 18.16)
const WANT_NO_DELEGATION: u32 = 0x400;
const OPEN_CREATE: u32 = 1;
const CREATE_UNCHECKED: u32 = 0;
const CREATE_EXCLUSIVE4_1: u32 = 3;
const CLAIM_NULL: u32 = 0;
const CLAIM_FH: u32 = 4;
/// Reading and writing.
pub const ACCESS_BOTH: u32 = 3;
pub const ACCESS_READ: u32 = 1;

/// One entry of a directory: file id, type and name.
pub type Entry = (u64, u32, Vec<u8>);

impl Client {
    /// Walks the pseudo filesystem to the export and reads the server's limits.
    pub fn mount(&self, path: &str) -> Res<(Handle, Attr)> {
        let mut ops = Ops::default().bare(op::PUTROOTFH);
        let names: Vec<_> = path.split('/').filter(|n| !n.is_empty()).collect();
        for n in &names {
            ops = ops.name(op::LOOKUP, n.as_bytes());
        }
        let limits = &[at::LEASE, at::MAXREAD, at::MAXWRITE];
        let mut d = self.call(&Cred::default(), ops.handle_and_attr().getattr(limits))?.d;
        d.op(op::PUTROOTFH)?;
        for _ in names {
            d.op(op::LOOKUP)?;
        }
        let root = handle_and_attr(&mut d)?;
        let slots = self.session.lock().slots;
        self.pool.lock().retain(|s| s.idx < slots);
        let l = d.op(op::GETATTR)?.attr()?;
        self.lease.store(l.get(at::LEASE).clamp(3, 3600), Relaxed);
        for (max, a) in [(&self.max_read, at::MAXREAD), (&self.max_write, at::MAXWRITE)] {
            max.store(l.get(a).clamp(4096, MAX_IO as u64) as u32, Relaxed);
        }
        Ok(root)
    }

    /// Runs operations on one file.
    fn on(&self, c: &Cred, fh: &[u8], f: impl FnOnce(Ops) -> Ops) -> Res<Reply> {
        let mut r = self.call(c, f(Ops::on(fh)))?;
        r.d.op(op::PUTFH)?;
        Ok(r)
    }

    pub fn lookup(&self, c: &Cred, dir: &[u8], name: &[u8]) -> Res<(Handle, Attr)> {
        let mut d = self.on(c, dir, |o| o.name(op::LOOKUP, name).handle_and_attr())?.d;
        handle_and_attr(d.op(op::LOOKUP)?)
    }

    pub fn getattr(&self, c: &Cred, fh: &[u8], attrs: &[usize]) -> Res<Attr> {
        self.on(c, fh, |o| o.getattr(attrs))?.d.op(op::GETATTR)?.attr()
    }

    /// A getattr that gives up: umount(8) and kubelet look at a mount point before they unmount it.
    pub fn getattr_soon(&self, c: &Cred, fh: &[u8], attrs: &[usize]) -> Res<Attr> {
        let mut d = self.call_within(c, Ops::on(fh).getattr(attrs), Some(SOON))?.d;
        d.op(op::PUTFH)?.op(op::GETATTR)?.attr()
    }

    pub fn setattr(&self, c: &Cred, fh: &[u8], s: &Sattr) -> Res<Attr> {
        let mut d = self.on(c, fh, |o| o.setattr(s).getattr(at::ALL))?.d;
        d.op(op::SETATTR)?.skip_bitmap()?;
        d.op(op::GETATTR)?.attr()
    }

    /// Creates or opens a regular file. The OPEN is closed in the same COMPOUND.
    pub fn create(&self, c: &Cred, dir: &[u8], name: &[u8], excl: bool, s: &Sattr) -> Res<(Handle, Attr)> {
        let n = self.unique().to_be_bytes();
        let verf = (self.unique() ^ u64::from_be_bytes(self.boot)).to_be_bytes();
        let mut d = self
            .on(c, dir, |o| {
                let o = o.op(op::OPEN, |e| {
                    e.u32(0).u32(WANT_NO_DELEGATION | ACCESS_BOTH).u32(0).u64(0).opaque(&n).u32(OPEN_CREATE);
                    if excl {
                        e.u32(CREATE_EXCLUSIVE4_1).raw(&verf);
                    } else {
                        e.u32(CREATE_UNCHECKED);
                    }
                    s.encode(e);
                    e.u32(CLAIM_NULL).opaque(name)
                });
                let o = o.bare(op::GETFH);
                // An exclusive create left its verifier in the times.
                let now = Sattr { atime: Some(None), mtime: Some(None), ..Default::default() };
                let o = if excl { o.setattr(&now) } else { o };
                o.getattr(at::ALL).op(op::CLOSE, |e| e.u32(0).raw(&CURRENT)).once()
            })?
            .d;
        open_result(d.op(op::OPEN)?)?;
        let fh = d.op(op::GETFH)?.opaque()?;
        if excl {
            d.op(op::SETATTR)?.skip_bitmap()?;
        }
        Ok((fh, d.op(op::GETATTR)?.attr()?))
    }

    /// Makes anything but a regular file; `data` is the type's own argument.
    pub fn mknod(
        &self,
        c: &Cred,
        dir: &[u8],
        name: &[u8],
        kind: u32,
        data: &Enc,
        s: &Sattr,
    ) -> Res<(Handle, Attr)> {
        let mut r = self.on(c, dir, |o| {
            o.op(op::CREATE, |e| s.encode(e.u32(kind).raw(&data.0).opaque(name))).handle_and_attr().once()
        })?;
        match r.d.op(op::CREATE) {
            Err(libc::EEXIST) if r.again => return self.lookup(c, dir, name),
            x => x?,
        };
        r.d.fixed(20)?;
        r.d.skip_bitmap()?;
        handle_and_attr(&mut r.d)
    }

    pub fn link(&self, c: &Cred, fh: &[u8], dir: &[u8], name: &[u8]) -> Res<(Handle, Attr)> {
        let mut r =
            self.on(c, fh, |o| o.bare(op::SAVEFH).name(op::PUTFH, dir).name(op::LINK, name).once())?;
        r.d.op(op::SAVEFH)?.op(op::PUTFH)?;
        match r.d.op(op::LINK) {
            Err(libc::EEXIST) if r.again => (),
            x => drop(x?),
        }
        self.lookup(c, dir, name)
    }

    pub fn remove(&self, c: &Cred, dir: &[u8], name: &[u8]) -> Res<()> {
        let mut r = self.on(c, dir, |o| o.name(op::REMOVE, name).once())?;
        match r.d.op(op::REMOVE) {
            Err(libc::ENOENT) if r.again => Ok(()),
            x => x.map(drop),
        }
    }

    pub fn rename(&self, c: &Cred, dir: &[u8], name: &[u8], to: &[u8], new: &[u8]) -> Res<()> {
        let mut r = self.on(c, dir, |o| {
            let o = o.bare(op::SAVEFH).name(op::PUTFH, to);
            o.op(op::RENAME, |e| e.opaque(name).opaque(new)).once()
        })?;
        r.d.op(op::SAVEFH)?.op(op::PUTFH)?;
        match r.d.op(op::RENAME) {
            Err(libc::ENOENT) if r.again => self.lookup(c, to, new).map(drop),
            x => x.map(drop),
        }
    }

    pub fn readlink(&self, c: &Cred, fh: &[u8]) -> Res<Vec<u8>> {
        self.on(c, fh, |o| o.bare(op::READLINK))?.d.op(op::READLINK)?.opaque()
    }

    /// The whole directory: file id, type and name of each entry.
    pub fn readdir(&self, c: &Cred, fh: &[u8]) -> Res<Vec<Entry>> {
        let (mut out, mut cookie, mut verf) = (vec![], 0, [0; 8]);
        loop {
            let mut d = self
                .on(c, fh, |o| {
                    o.op(op::READDIR, |e| {
                        e.u64(cookie).raw(&verf).u32(65536).u32(262144).bitmap(&[
                            at::TYPE,
                            at::RDATTR_ERROR,
                            at::FILEID,
                        ])
                    })
                })?
                .d;
            verf = d.op(op::READDIR)?.verifier()?;
            let before = out.len();
            while d.u32()? == 1 {
                cookie = d.u64()?;
                let name = d.opaque()?;
                let a = d.attr()?;
                out.push((a.get(at::FILEID), a.get(at::TYPE) as u32, name));
            }
            if d.u32()? == 1 {
                return Ok(out);
            }
            if out.len() == before {
                return Err(libc::EIO); // neither an entry nor the end: it would go on for ever
            }
        }
    }

    pub fn read(&self, c: &Cred, fh: &[u8], mut off: u64, len: usize) -> Res<Vec<u8>> {
        let mut out = vec![];
        while out.len() < len {
            let n = (len - out.len()).min(self.max_read.load(Relaxed) as usize) as u32;
            let mut d = self.on(c, fh, |o| o.op(op::READ, |e| e.raw(&ANON).u64(off).u32(n)))?.d;
            let eof = d.op(op::READ)?.u32()? == 1;
            let mut data = d.opaque()?;
            data.truncate(n as usize);
            off += data.len() as u64;
            let none = data.is_empty();
            if out.is_empty() {
                out = data;
            } else {
                out.extend(data);
            }
            if eof || none {
                break;
            }
        }
        Ok(out)
    }

    /// Writes it all; whether any of it is not yet stable, and the write verifier.
    pub fn write(
        &self,
        c: &Cred,
        fh: &[u8],
        mut off: u64,
        mut data: &[u8],
        stable: u32,
    ) -> Res<(bool, Verifier)> {
        let (mut unstable, mut verf) = (false, [0; 8]);
        while !data.is_empty() {
            let n = data.len().min(self.max_write.load(Relaxed) as usize);
            let mut d = self
                .on(c, fh, |o| o.op(op::WRITE, |e| e.raw(&ANON).u64(off).u32(stable).opaque(&data[..n])))?
                .d;
            let done = d.op(op::WRITE)?.u32()? as usize;
            unstable |= d.u32()? == UNSTABLE;
            verf = d.verifier()?;
            if done == 0 || done > n {
                return Err(libc::EIO);
            }
            off += done as u64;
            data = &data[done..];
        }
        Ok((unstable, verf))
    }

    /// An OPEN of a known file, held only while byte-range locks are.
    pub fn open(&self, c: &Cred, fh: &[u8], access: u32) -> Res<StateId> {
        let n = self.unique().to_be_bytes();
        let mut r = self.on(c, fh, |o| {
            let o = o.op(op::OPEN, |e| {
                e.u32(0).u32(WANT_NO_DELEGATION | access).u32(0).u64(0).opaque(&n).u32(0).u32(CLAIM_FH)
            });
            o.once()
        })?;
        open_result(r.d.op(op::OPEN)?)
    }

    pub fn close(&self, c: &Cred, fh: &[u8], id: &StateId) -> Res<()> {
        self.on(c, fh, |o| o.op(op::CLOSE, |e| e.u32(0).raw(id)))?.d.op(op::CLOSE).map(drop)
    }

    /// LOCK for `owner`, by its own stateid or, the first time, by the file's OPEN.
    pub fn lock(
        &self,
        c: &Cred,
        fh: &[u8],
        owner: u64,
        open: &StateId,
        id: Option<StateId>,
        r: Range,
    ) -> Res<StateId> {
        let mut d = self
            .on(c, fh, |o| {
                let o = o.op(op::LOCK, |e| {
                    e.u32(r.kind()).u32(0).u64(r.start).u64(r.len());
                    match id {
                        Some(id) => e.u32(0).raw(&id).u32(0),
                        None => e.u32(1).u32(0).raw(open).u32(0).u64(0).opaque(&owner.to_be_bytes()),
                    }
                });
                o.once()
            })?
            .d;
        d.op(op::LOCK)?.stateid()
    }

    pub fn unlock(&self, c: &Cred, fh: &[u8], id: &StateId, r: Range) -> Res<StateId> {
        let unlock = |o: Ops| o.op(op::LOCKU, |e| e.u32(1).u32(0).raw(id).u64(r.start).u64(r.len())).once();
        self.on(c, fh, unlock)?.d.op(op::LOCKU)?.stateid()
    }

    /// The lock that stands in the way, if one does.
    pub fn test_lock(&self, c: &Cred, fh: &[u8], owner: u64, r: Range) -> Res<Option<Range>> {
        let mut d = self
            .on(c, fh, |o| {
                o.op(op::LOCKT, |e| {
                    e.u32(r.kind()).u64(r.start).u64(r.len()).u64(0).opaque(&owner.to_be_bytes())
                })
            })?
            .d;
        match d.op(op::LOCKT) {
            Ok(_) => Ok(None),
            Err(libc::EAGAIN) => {
                let (start, len, kind) = (d.u64()?, d.u64()?, d.u32()?);
                let end = if len == u64::MAX { EOF } else { start.saturating_add(len.saturating_sub(1)) };
                let typ = if kind % 2 == 1 { libc::F_RDLCK } else { libc::F_WRLCK };
                Ok(Some(Range { start, end, typ }))
            }
            Err(e) => Err(e),
        }
    }

    pub fn commit(&self, c: &Cred, fh: &[u8]) -> Res<Verifier> {
        self.on(c, fh, |o| o.op(op::COMMIT, |e| e.u64(0).u32(0)))?.d.op(op::COMMIT)?.verifier()
    }
}

/// A file's handle and attributes, as `Ops::handle_and_attr` asked for them.
fn handle_and_attr(d: &mut Dec) -> Res<(Handle, Attr)> {
    let fh = d.op(op::GETFH)?.opaque()?;
    Ok((fh, d.op(op::GETATTR)?.attr()?))
}

/// Reads past OPEN's result to its end, for its stateid.
fn open_result(d: &mut Dec) -> Res<StateId> {
    let id = d.stateid()?;
    d.fixed(20 + 4)?;
    d.skip_bitmap()?;
    match d.u32()? {
        0 => (),
        3 => match d.u32()? {
            1 | 2 => drop(d.u32()?),
            _ => (),
        },
        _ => return Err(libc::EIO),
    }
    Ok(id)
}

//! The protocol's numbers and plain types (RFC 8881, RFC 5662).

use super::xdr::Enc;

/// A result whose error is an errno, as FUSE wants it.
pub type Res<T> = Result<T, i32>;
/// A server's handle of a file: opaque bytes.
pub type Handle = Vec<u8>;
/// Identifies state (an OPEN, a lock) at the server.
pub type StateId = [u8; 16];
/// Changes when a server restarts, and with it what unstable writes are worth.
pub type Verifier = [u8; 8];

/// The anonymous stateid: I/O without an OPEN.
pub const ANON: StateId = [0; 16];
/// Stands for the stateid of the operation before, in the same COMPOUND.
pub const CURRENT: StateId = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// How a WRITE is to be stored.
pub const UNSTABLE: u32 = 0;
pub const FILE_SYNC: u32 = 2;
/// The largest read or write in one request.
pub const MAX_IO: usize = 1 << 20;
/// The last byte offset that fcntl knows; a lock up to it has no end.
pub const EOF: u64 = i64::MAX as u64;

/// Operation numbers.
pub mod op {
    pub const CLOSE: u32 = 4;
    pub const COMMIT: u32 = 5;
    pub const CREATE: u32 = 6;
    pub const GETATTR: u32 = 9;
    pub const GETFH: u32 = 10;
    pub const LINK: u32 = 11;
    pub const LOCK: u32 = 12;
    pub const LOCKT: u32 = 13;
    pub const LOCKU: u32 = 14;
    pub const LOOKUP: u32 = 15;
    pub const OPEN: u32 = 18;
    pub const PUTFH: u32 = 22;
    pub const PUTROOTFH: u32 = 24;
    pub const READ: u32 = 25;
    pub const READDIR: u32 = 26;
    pub const READLINK: u32 = 27;
    pub const REMOVE: u32 = 28;
    pub const RENAME: u32 = 29;
    pub const SAVEFH: u32 = 32;
    pub const SETATTR: u32 = 34;
    pub const WRITE: u32 = 38;
    pub const EXCHANGE_ID: u32 = 42;
    pub const CREATE_SESSION: u32 = 43;
    pub const DESTROY_SESSION: u32 = 44;
    pub const SEQUENCE: u32 = 53;
    pub const DESTROY_CLIENTID: u32 = 57;
    pub const RECLAIM_COMPLETE: u32 = 58;
}

/// Attribute numbers (RFC 8881 section 5); `Attr` is indexed by them.
pub mod at {
    pub const TYPE: usize = 1;
    pub const CHANGE: usize = 3;
    pub const SIZE: usize = 4;
    pub const LEASE: usize = 10;
    pub const RDATTR_ERROR: usize = 11;
    pub const FILEID: usize = 20;
    pub const FILES_AVAIL: usize = 21;
    pub const FILES_FREE: usize = 22;
    pub const FILES_TOTAL: usize = 23;
    pub const MAXREAD: usize = 30;
    pub const MAXWRITE: usize = 31;
    pub const MODE: usize = 33;
    pub const NLINK: usize = 35;
    pub const OWNER: usize = 36;
    pub const GROUP: usize = 37;
    pub const RAWDEV: usize = 41;
    pub const SPACE_AVAIL: usize = 42;
    pub const SPACE_FREE: usize = 43;
    pub const SPACE_TOTAL: usize = 44;
    pub const USED: usize = 45;
    pub const ATIME: usize = 47;
    pub const ATIME_SET: usize = 48;
    pub const CTIME: usize = 52;
    pub const MTIME: usize = 53;
    pub const MTIME_SET: usize = 54;
    pub const ALL: &[usize] =
        &[TYPE, CHANGE, SIZE, FILEID, MODE, NLINK, OWNER, GROUP, RAWDEV, USED, ATIME, CTIME, MTIME];
}

/// Status codes that a whole call reacts to, instead of its caller.
pub mod status {
    pub const DELAY: u32 = 10008;
    pub const GRACE: u32 = 10013;
    pub const RETRY_UNCACHED_REP: u32 = 10068;
}

/// A file's attributes, indexed by number; the second half is a time's nanoseconds.
#[derive(Clone, Copy)]
pub struct Attr(pub [(u64, u32); 64]);

impl Attr {
    pub const NONE: Attr = Attr([(0, 0); 64]);

    pub fn get(&self, a: usize) -> u64 {
        self.0[a].0
    }
}

/// Attributes to set; a time of `Some(None)` is the server's clock.
#[derive(Default)]
pub struct Sattr {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<Option<(i64, u32)>>,
    pub mtime: Option<Option<(i64, u32)>>,
}

impl Sattr {
    pub fn encode<'a>(&self, e: &'a mut Enc) -> &'a mut Enc {
        let (mut set, mut v) = (vec![], Enc::default());
        if let Some(s) = self.size {
            set.push(at::SIZE);
            v.u64(s);
        }
        if let Some(m) = self.mode {
            set.push(at::MODE);
            v.u32(m & 0o7777);
        }
        for (a, id) in [(at::OWNER, self.uid), (at::GROUP, self.gid)] {
            if let Some(id) = id {
                set.push(a);
                v.opaque(id.to_string().as_bytes());
            }
        }
        for (a, t) in [(at::ATIME_SET, self.atime), (at::MTIME_SET, self.mtime)] {
            if let Some(t) = t {
                set.push(a);
                match t {
                    None => v.u32(0),
                    Some((s, ns)) => v.u32(1).u64(s as u64).u32(ns),
                };
            }
        }
        e.bitmap(&set).opaque(&v.0)
    }
}

/// A byte-range lock as fcntl has it: `end` is inclusive.
#[derive(Clone, Copy)]
pub struct Range {
    pub start: u64,
    pub end: u64,
    pub typ: i32,
}

impl Range {
    pub fn len(&self) -> u64 {
        if self.end >= EOF || self.end < self.start {
            u64::MAX
        } else {
            (self.end - self.start).saturating_add(1)
        }
    }

    pub fn kind(&self) -> u32 {
        if self.typ == libc::F_RDLCK { 1 } else { 2 }
    }
}

/// Whom a request is made for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Cred {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// The errno for a failed operation's status.
pub fn errno(status: u32) -> i32 {
    match status {
        1 | 2 | 5 | 6 | 13 | 17 | 18 | 20 | 21 | 22 | 27 | 28 | 30 | 31 => status as i32,
        63 => libc::ENAMETOOLONG,
        66 => libc::ENOTEMPTY,
        69 => libc::EDQUOT,
        70 | 10001 | 10014 => libc::ESTALE,
        10003 | 10007 | 10039 | 10040 | 10041 => libc::EINVAL,
        10004 | 10032 => libc::EOPNOTSUPP,
        10010 | 10012 => libc::EAGAIN,
        10016 => libc::EACCES,
        10023 | 10025 | 10011 => libc::EBADF, // stale, bad or expired stateid
        10029 => libc::ELOOP,
        10045 => libc::EDEADLK,
        10046 => libc::EBUSY,
        s => {
            eprintln!("nfs status {s}");
            libc::EIO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfs::xdr::Dec;

    #[test]
    fn what_is_set_is_sent_in_the_order_of_its_numbers() {
        let set = Sattr {
            size: Some(5),
            mode: Some(0o100_4755),
            uid: Some(33),
            gid: Some(44),
            atime: Some(None),
            mtime: Some(Some((-1, 500))),
        };
        let mut e = Enc::default();
        set.encode(&mut e);
        let mut d = Dec::new(e.0);
        assert_eq!(d.u32(), Ok(2));
        let words = [d.u32().expect("a word"), d.u32().expect("a word")];
        let wanted = [at::SIZE, at::MODE, at::OWNER, at::GROUP, at::ATIME_SET, at::MTIME_SET];
        assert!(wanted.is_sorted());
        for a in 0..64 {
            assert_eq!(words[a / 32] >> (a % 32) & 1 == 1, wanted.contains(&a), "attribute {a}");
        }
        let mut v = Dec::new(d.opaque().expect("values"));
        assert_eq!((v.u64(), v.u32()), (Ok(5), Ok(0o4755)), "a mode has no file type");
        assert_eq!((v.opaque(), v.opaque()), (Ok(b"33".to_vec()), Ok(b"44".to_vec())));
        assert_eq!(v.u32(), Ok(0), "the server's clock");
        assert_eq!((v.u32(), v.u64(), v.u32()), (Ok(1), Ok(u64::MAX), Ok(500)), "a time before 1970");
        assert_eq!(v.u32(), Err(libc::EIO), "nothing else");
    }

    #[test]
    fn a_lock_to_the_end_has_no_length() {
        let range = |start, end| Range { start, end, typ: libc::F_WRLCK };
        assert_eq!((range(0, 0).len(), range(10, 19).len()), (1, 10));
        assert_eq!(
            (range(0, EOF).len(), range(7, EOF).len(), range(7, u64::MAX).len()),
            (u64::MAX, u64::MAX, u64::MAX)
        );
    }

    #[test]
    fn reading_shares_and_everything_else_excludes() {
        let kind = |typ| Range { start: 0, end: 0, typ }.kind();
        assert_eq!((kind(libc::F_RDLCK), kind(libc::F_WRLCK)), (1, 2));
    }

    #[test]
    fn statuses_become_the_errno_that_says_the_same() {
        for (status, wanted) in [
            (1, libc::EPERM),
            (2, libc::ENOENT),
            (13, libc::EACCES),
            (17, libc::EEXIST),
            (20, libc::ENOTDIR),
            (21, libc::EISDIR),
            (28, libc::ENOSPC),
            (30, libc::EROFS),
            (63, libc::ENAMETOOLONG),
            (66, libc::ENOTEMPTY),
            (69, libc::EDQUOT),
            (70, libc::ESTALE),
            (10010, libc::EAGAIN),
            (10023, libc::EBADF),
            (10025, libc::EBADF),
            (10045, libc::EDEADLK),
            (99999, libc::EIO),
        ] {
            assert_eq!(errno(status), wanted, "status {status}");
        }
    }
}

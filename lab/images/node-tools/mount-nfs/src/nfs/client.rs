//! The transport: connections, the session, and running one COMPOUND to its end.

use super::compound::Ops;
use super::proto::*;
use super::xdr::{Dec, Enc};
use parking_lot::{Condvar, Mutex};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Requests under way at the same time, each on a connection of its own.
const SLOTS: u32 = 16;
/// No reply is longer: the largest read and what is around it.
const MAX_REPLY: usize = MAX_IO + (1 << 20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts at a server that is away or busy.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// A slot of the session. Its sequence number is what makes a request that is
/// sent twice run once.
pub(super) struct Slot {
    pub(super) idx: u32,
    session: u64,
    seq: u32,
    conn: Option<TcpStream>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Session {
    serial: u64,
    live: bool,
    id: [u8; 16],
    client: u64,
    pub(super) slots: u32,
}

/// A mounted server.
pub struct Client {
    host: String,
    port: u16,
    owner: Vec<u8>,
    pub(super) boot: [u8; 8],
    timeo: Duration,
    /// How long one call may take before it fails; none for a hard mount.
    limit: Mutex<Option<Duration>>,
    pub(super) session: Mutex<Session>,
    pub(super) pool: Mutex<Vec<Slot>>,
    freed: Condvar,
    xid: AtomicU32,
    counter: AtomicU64,
    pub max_read: AtomicU32,
    pub max_write: AtomicU32,
    pub lease: AtomicU64,
    /// The mount is gone: nothing is retried any more.
    pub closing: AtomicBool,
}

/// A COMPOUND's results, left at the first operation after SEQUENCE.
pub struct Reply {
    pub d: Dec,
    /// The session was lost while the request was under way, so it may have run twice.
    pub again: bool,
}

impl Client {
    pub fn new(host: &str, port: u16, timeo: Duration) -> Client {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let owner = format!("mount.nfs/{}/{}/{now}", node.trim(), std::process::id()).into_bytes();
        Client {
            host: host.into(),
            port,
            owner,
            boot: now.to_be_bytes(),
            timeo,
            limit: Mutex::new(None),
            session: Default::default(),
            pool: Mutex::new(
                (0..SLOTS).rev().map(|idx| Slot { idx, session: 0, seq: 1, conn: None }).collect(),
            ),
            freed: Condvar::new(),
            xid: AtomicU32::new(now as u32),
            counter: AtomicU64::new(1),
            max_read: AtomicU32::new(MAX_IO as u32),
            max_write: AtomicU32::new(MAX_IO as u32),
            lease: AtomicU64::new(60),
            closing: AtomicBool::new(false),
        }
    }

    /// How long one call may take from now on; for ever if `None`.
    pub fn set_limit(&self, limit: Option<Duration>) {
        *self.limit.lock() = limit;
    }

    /// A number that this client has not used before.
    pub fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Relaxed)
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![(ip, self.port).into()]),
            Err(_) => Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::ErrorKind::NotFound.into();
        for addr in self.addresses()? {
            match TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT) {
                Ok(s) => {
                    s.set_nodelay(true)?;
                    s.set_read_timeout(Some(self.timeo))?;
                    s.set_write_timeout(Some(self.timeo))?;
                    return Ok(s);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// One COMPOUND over one connection; the reply is left at its first operation.
    fn exchange(&self, s: &mut TcpStream, cred: &Cred, n: u32, parts: [&[u8]; 2]) -> io::Result<(u32, Dec)> {
        let xid = self.xid.fetch_add(1, Relaxed);
        let mut auth = Enc::default();
        auth.u32(0).opaque(b"fuse").u32(cred.uid).u32(cred.gid).u32(cred.groups.len() as u32);
        for g in &cred.groups {
            auth.u32(*g);
        }
        let mut m = Enc(Vec::with_capacity(256 + parts[0].len() + parts[1].len()));
        m.u32(0).u32(xid).u32(0).u32(2).u32(100003).u32(4).u32(1);
        m.u32(1).opaque(&auth.0).u32(0).u32(0);
        m.opaque(b"").u32(1).u32(n).raw(parts[0]).raw(parts[1]);
        let mark = (m.0.len() as u32 - 4) | 1 << 31;
        m.0[..4].copy_from_slice(&mark.to_be_bytes());
        s.write_all(&m.0)?;
        let mut buf = vec![];
        loop {
            let mut mark = [0; 4];
            s.read_exact(&mut mark)?;
            let mark = u32::from_be_bytes(mark);
            let (at, more) = (buf.len(), (mark & 0x7fff_ffff) as usize);
            if at + more > MAX_REPLY {
                return Err(io::Error::other("reply too long"));
            }
            buf.resize(at + more, 0);
            s.read_exact(&mut buf[at..])?;
            if mark >> 31 == 1 {
                break;
            }
        }
        let mut d = Dec::new(buf);
        let mut head = || -> Res<u32> {
            let ok = d.u32()? == xid && d.u32()? == 1 && d.u32()? == 0;
            d.u32()?;
            d.opaque()?;
            if !ok || d.u32()? != 0 {
                return Err(libc::EIO);
            }
            let status = d.u32()?;
            d.opaque()?;
            d.u32()?;
            Ok(status)
        };
        match head() {
            Ok(status) => Ok((status, d)),
            Err(_) => Err(io::Error::other("malformed or refused RPC reply")),
        }
    }

    /// A new client id and session.
    fn establish(&self) -> io::Result<Session> {
        let bad = |e: i32| io::Error::other(format!("session: errno {e}"));
        let mut s = self.connect()?;
        let cred = Cred::default();
        let mut run = |n, ops: &Ops| self.exchange(&mut s, &cred, n, [&ops.e.0, &[]]).map(|r| r.1);
        let xid = Ops::default()
            .op(op::EXCHANGE_ID, |e| e.raw(&self.boot).opaque(&self.owner).u32(0).u32(0).u32(0));
        let mut d = run(1, &xid)?;
        d.op(op::EXCHANGE_ID).map_err(bad)?;
        let (client, seq) = (d.u64().map_err(bad)?, d.u32().map_err(bad)?);
        let chan = |e: &mut Enc, size: u32, slots: u32| {
            e.u32(0).u32(size).u32(size).u32(8192).u32(16).u32(slots).u32(0);
        };
        let cs = Ops::default().op(op::CREATE_SESSION, |e| {
            chan(e.u64(client).u32(seq).u32(0), MAX_IO as u32 + 65536, SLOTS);
            chan(e, 4096, 1);
            e.u32(0x4000_0000).u32(1).u32(0)
        });
        let mut d = run(1, &cs)?;
        d.op(op::CREATE_SESSION).map_err(bad)?;
        let id = d.stateid().map_err(bad)?;
        d.fixed(8 + 5 * 4).map_err(bad)?;
        let slots = d.u32().map_err(bad)?.clamp(1, SLOTS);
        let done = Ops::default()
            .op(op::SEQUENCE, |e| e.raw(&id).u32(1).u32(0).u32(0).u32(0))
            .op(op::RECLAIM_COMPLETE, |e| e.u32(0));
        run(2, &done)?;
        Ok(Session { serial: self.unique(), live: true, id, client, slots })
    }

    /// The live session, or a new one.
    fn session(&self, deadline: Option<Instant>) -> Res<Session> {
        loop {
            {
                let mut s = self.session.lock();
                if s.live {
                    return Ok(*s);
                }
                match self.establish() {
                    Ok(new) => *s = new,
                    Err(e) => eprintln!("{}: {e}", self.host),
                }
                if s.live {
                    return Ok(*s);
                }
            }
            self.pause(deadline)?;
        }
    }

    /// Waits before another attempt, unless there is to be none.
    fn pause(&self, deadline: Option<Instant>) -> Res<()> {
        if self.closing.load(Relaxed) || deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(libc::ETIMEDOUT);
        }
        std::thread::sleep(RETRY_DELAY);
        Ok(())
    }

    /// A number that changes whenever the server's state for this client was lost.
    pub fn epoch(&self) -> u64 {
        self.session.lock().serial
    }

    fn drop_session(&self, serial: u64) {
        let mut s = self.session.lock();
        if s.serial == serial {
            s.live = false;
        }
    }

    /// Runs a COMPOUND to its end: reconnects, renews the session and waits out a busy server.
    pub fn call(&self, cred: &Cred, ops: Ops) -> Res<Reply> {
        let limit = *self.limit.lock();
        self.call_within(cred, ops, limit)
    }

    pub(super) fn call_within(&self, cred: &Cred, ops: Ops, limit: Option<Duration>) -> Res<Reply> {
        let deadline = limit.and_then(|l| Instant::now().checked_add(l));
        let mut slot = {
            let mut pool = self.pool.lock();
            loop {
                if let Some(slot) = pool.pop() {
                    break slot;
                }
                self.freed.wait_for(&mut pool, Duration::from_millis(500));
                if self.closing.load(Relaxed) || deadline.is_some_and(|d| Instant::now() >= d) {
                    return Err(libc::ETIMEDOUT);
                }
            }
        };
        let r = self.call_on(&mut slot, cred, &ops, deadline);
        self.pool.lock().push(slot);
        self.freed.notify_one();
        r
    }

    /// `unsure`: a request was sent and its reply was lost.
    fn call_on(&self, slot: &mut Slot, cred: &Cred, ops: &Ops, deadline: Option<Instant>) -> Res<Reply> {
        let (mut unsure, mut again) = (false, false);
        loop {
            let s = self.session(deadline)?;
            if slot.session != s.serial {
                // Slot 0 carried RECLAIM_COMPLETE.
                (slot.session, slot.seq) = (s.serial, if slot.idx == 0 { 2 } else { 1 });
                again = unsure;
            }
            let connection = match slot.conn.take().map_or_else(|| self.connect(), Ok) {
                Ok(connection) => slot.conn.insert(connection),
                Err(e) => {
                    eprintln!("{}: {e}", self.host);
                    self.pause(deadline)?;
                    continue;
                }
            };
            let mut head = Enc::default();
            head.u32(op::SEQUENCE).raw(&s.id).u32(slot.seq).u32(slot.idx).u32(s.slots - 1);
            head.u32(ops.cache as u32);
            let reply = self.exchange(connection, cred, ops.n + 1, [&head.0, &ops.e.0]);
            let (status, mut d) = match reply {
                Ok(r) => r,
                Err(e) => {
                    eprintln!("{}: {e}", self.host);
                    (slot.conn, unsure) = (None, true);
                    self.pause(deadline)?;
                    continue;
                }
            };
            d.u32()?;
            match d.u32()? {
                0 => d.fixed(36)?,
                status::DELAY => {
                    self.pause(deadline)?; // on SEQUENCE: the slot has not moved
                    continue;
                }
                s => {
                    eprintln!("SEQUENCE status {s}, new session");
                    self.drop_session(slot.session);
                    slot.conn = None;
                    self.pause(deadline)?;
                    continue;
                }
            };
            slot.seq = slot.seq.wrapping_add(1);
            if matches!(status, status::DELAY | status::GRACE | status::RETRY_UNCACHED_REP) {
                self.pause(deadline)?;
                continue;
            }
            return Ok(Reply { d, again });
        }
    }

    /// Ends the session, without insisting.
    pub fn goodbye(&self) {
        let s = *self.session.lock();
        if let (true, Ok(mut c)) = (s.live, self.connect()) {
            let _ = c.set_read_timeout(Some(Duration::from_secs(2)));
            for ops in [
                Ops::default().op(op::DESTROY_SESSION, |e| e.raw(&s.id)),
                Ops::default().op(op::DESTROY_CLIENTID, |e| e.u64(s.client)),
            ] {
                let _ = self.exchange(&mut c, &Cred::default(), 1, [&ops.e.0, &[]]);
            }
        }
    }

    /// Keeps the lease.
    pub fn renew(&self) {
        let _ = self.call(&Cred::default(), Ops::default());
    }
}

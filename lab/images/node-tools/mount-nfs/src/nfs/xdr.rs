//! XDR: how requests are written and replies are read. Nothing in a reply is
//! trusted: whatever does not fit is EIO.

use super::proto::*;

/// A request being written.
#[derive(Clone, Default)]
pub struct Enc(pub Vec<u8>);

impl Enc {
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }

    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }

    pub fn raw(&mut self, b: &[u8]) -> &mut Self {
        self.0.extend_from_slice(b);
        self
    }

    pub fn opaque(&mut self, b: &[u8]) -> &mut Self {
        self.u32(b.len() as u32).raw(b);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn bitmap(&mut self, attrs: &[usize]) -> &mut Self {
        let mut w = [0u32; 2];
        attrs.iter().for_each(|a| w[a / 32] |= 1 << (a % 32));
        self.u32(2).u32(w[0]).u32(w[1])
    }
}

/// A reply being read.
pub struct Dec {
    buf: Vec<u8>,
    pos: usize,
}

impl Dec {
    pub fn new(buf: Vec<u8>) -> Dec {
        Dec { buf, pos: 0 }
    }

    pub fn fixed(&mut self, n: usize) -> Res<&[u8]> {
        let at = self.pos;
        let end = at.checked_add(n).ok_or(libc::EIO)?;
        let bytes = self.buf.get(at..end).ok_or(libc::EIO)?;
        self.pos = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Res<[u8; N]> {
        self.fixed(N)?.try_into().map_err(|_| libc::EIO)
    }

    pub fn u32(&mut self) -> Res<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Res<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Bytes with their length, padded to a multiple of four.
    pub fn opaque(&mut self) -> Res<Vec<u8>> {
        let n = self.u32()? as usize;
        let v = self.fixed(n)?.to_vec();
        self.pos = self.pos.next_multiple_of(4);
        Ok(v)
    }

    pub fn stateid(&mut self) -> Res<StateId> {
        self.array()
    }

    pub fn verifier(&mut self) -> Res<Verifier> {
        self.array()
    }

    /// The next operation's result header; its status as an errno when it failed.
    pub fn op(&mut self, code: u32) -> Res<&mut Self> {
        let (got, status) = (self.u32()?, self.u32()?);
        match status {
            0 if got == code => Ok(self),
            0 => Err(libc::EIO),
            s => Err(errno(s)),
        }
    }

    pub fn skip_bitmap(&mut self) -> Res<()> {
        let n = self.u32()? as usize;
        self.fixed(n.saturating_mul(4)).map(drop)
    }

    /// Attributes, with their bitmap.
    pub fn attr(&mut self) -> Res<Attr> {
        // A server sends no more words than there are attributes; only the first two matter.
        let n = self.u32()? as usize;
        if n > 8 {
            return Err(libc::EIO);
        }
        let words = (0..n).map(|_| self.u32()).collect::<Res<Vec<_>>>()?;
        let mut d = Dec::new(self.opaque()?);
        let mut a = Attr::NONE;
        for i in (0..n * 32).filter(|i| words[i / 32] >> (i % 32) & 1 == 1) {
            a.0[i] = match i {
                at::TYPE | at::LEASE | at::RDATTR_ERROR | at::MODE | at::NLINK => (d.u32()? as u64, 0),
                at::CHANGE
                | at::SIZE
                | at::FILEID
                | at::FILES_AVAIL
                | at::FILES_FREE
                | at::FILES_TOTAL
                | at::MAXREAD
                | at::MAXWRITE
                | at::SPACE_AVAIL
                | at::SPACE_FREE
                | at::SPACE_TOTAL
                | at::USED => (d.u64()?, 0),
                at::OWNER | at::GROUP => (owner(&d.opaque()?), 0),
                at::RAWDEV => {
                    let (ma, mi) = (d.u32()?, d.u32()?);
                    (libc::makedev(ma, mi), 0)
                }
                at::ATIME | at::CTIME | at::MTIME => (d.u64()?, d.u32()?),
                _ => return Err(libc::EIO),
            };
        }
        Ok(a)
    }
}

/// A numeric owner; names are not looked up here.
fn owner(name: &[u8]) -> u64 {
    let s = String::from_utf8_lossy(name);
    let s = s.split_once('@').map_or(&*s, |(user, _)| user);
    s.parse().unwrap_or(if s == "root" { 0 } else { 65534 })
}

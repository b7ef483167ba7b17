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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file's attributes as a server sends them: words of the bitmap, and the values.
    fn sent(attrs: &[usize], values: &[u8]) -> Vec<u8> {
        Enc::default().bitmap(attrs).opaque(values).0.clone()
    }

    #[test]
    fn bytes_are_padded_to_words_and_read_back() {
        for n in 0..9_u8 {
            let bytes: Vec<u8> = (0..n).collect();
            let mut e = Enc::default();
            e.opaque(&bytes).u32(7).u64(u64::MAX);
            assert_eq!(e.0.len() % 4, 0, "{n}");
            let mut d = Dec::new(e.0);
            assert_eq!((d.opaque(), d.u32(), d.u64()), (Ok(bytes), Ok(7), Ok(u64::MAX)));
            assert_eq!(d.u32(), Err(libc::EIO), "nothing is left");
        }
    }

    #[test]
    fn a_length_that_lies_is_an_error_and_takes_no_memory() {
        for length in [5, u32::MAX] {
            let mut e = Enc::default();
            e.u32(length).raw(&[1, 2, 3, 4]);
            assert_eq!(Dec::new(e.0.clone()).opaque(), Err(libc::EIO));
            assert_eq!(Dec::new(e.0).skip_bitmap(), Err(libc::EIO));
        }
    }

    #[test]
    fn every_attribute_that_is_asked_for_is_understood() {
        let mut v = Enc::default();
        v.u32(2).u64(11).u64(4096).u64(77).u32(0o2755).u32(3).opaque(b"33").opaque(b"4321@lab").u32(8).u32(1);
        v.u64(8192).u64(1000).u32(5).u64(2000).u32(6).u64(3000).u32(7);
        let a = Dec::new(sent(at::ALL, &v.0)).attr().expect("attributes");
        for (attribute, value) in [
            (at::TYPE, 2),
            (at::CHANGE, 11),
            (at::SIZE, 4096),
            (at::FILEID, 77),
            (at::MODE, 0o2755),
            (at::NLINK, 3),
            (at::OWNER, 33),
            (at::GROUP, 4321),
            (at::RAWDEV, libc::makedev(8, 1)),
            (at::USED, 8192),
        ] {
            assert_eq!(a.get(attribute), value, "attribute {attribute}");
        }
        assert_eq!((a.0[at::ATIME], a.0[at::CTIME], a.0[at::MTIME]), ((1000, 5), (2000, 6), (3000, 7)));
    }

    #[test]
    fn a_reply_that_ends_too_early_is_an_error_wherever_it_ends() {
        let mut v = Enc::default();
        v.u32(1).u64(12).opaque(b"1000").u64(1).u32(2);
        let whole = sent(&[at::TYPE, at::SIZE, at::OWNER, at::MTIME], &v.0);
        assert!(Dec::new(whole.clone()).attr().is_ok());
        for n in 0..whole.len() {
            assert_eq!(Dec::new(whole[..n].to_vec()).attr().err(), Some(libc::EIO), "{n} bytes");
        }
    }

    #[test]
    fn an_attribute_that_nobody_asked_for_is_an_error() {
        assert_eq!(Dec::new(sent(&[at::LEASE + 3], &[0; 64])).attr().err(), Some(libc::EIO));
        let mut many = Enc::default();
        many.u32(9).raw(&[0; 9 * 4]).opaque(b"");
        assert_eq!(Dec::new(many.0).attr().err(), Some(libc::EIO));
    }

    #[test]
    fn owners_are_numbers_and_nobody_otherwise() {
        for (name, uid) in
            [("33", 33), ("33@lab", 33), ("root", 0), ("root@lab", 0), ("www-data", 65534), ("", 65534)]
        {
            assert_eq!(owner(name.as_bytes()), uid, "{name:?}");
        }
        assert_eq!(owner(b"\xff"), 65534);
    }

    #[test]
    fn an_operations_result_must_be_of_that_operation() {
        let result = |code, status| Dec::new(Enc::default().u32(code).u32(status).0.clone());
        assert!(result(op::LOOKUP, 0).op(op::LOOKUP).is_ok());
        assert_eq!(result(op::GETFH, 0).op(op::LOOKUP).err(), Some(libc::EIO));
        assert_eq!(result(op::LOOKUP, 2).op(op::LOOKUP).err(), Some(libc::ENOENT));
    }
}

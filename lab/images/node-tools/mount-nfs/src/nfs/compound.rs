//! One COMPOUND request: a list of operations that run one after another.

use super::proto::*;
use super::xdr::Enc;

/// The operations of one COMPOUND, after its SEQUENCE.
#[derive(Default)]
pub struct Ops {
    pub(super) e: Enc,
    pub(super) n: u32,
    pub(super) cache: bool,
}

impl Ops {
    pub fn on(fh: &[u8]) -> Ops {
        Ops::default().op(op::PUTFH, |e| e.opaque(fh))
    }

    pub fn op(mut self, code: u32, args: impl FnOnce(&mut Enc) -> &mut Enc) -> Ops {
        self.n += 1;
        args(self.e.u32(code));
        self
    }

    pub fn name(self, code: u32, name: &[u8]) -> Ops {
        self.op(code, |e| e.opaque(name))
    }

    pub fn bare(self, code: u32) -> Ops {
        self.op(code, |e| e)
    }

    pub fn getattr(self, attrs: &[usize]) -> Ops {
        self.op(op::GETATTR, |e| e.bitmap(attrs))
    }

    pub fn handle_and_attr(self) -> Ops {
        self.bare(op::GETFH).getattr(at::ALL)
    }

    pub fn setattr(self, s: &Sattr) -> Ops {
        self.op(op::SETATTR, |e| s.encode(e.raw(&ANON)))
    }

    /// Asks the server to keep the reply, for operations that must not run twice.
    pub fn once(mut self) -> Ops {
        self.cache = true;
        self
    }
}

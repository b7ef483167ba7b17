//! A small NFSv4.1 client (RFC 8881): AUTH_SYS, one session, one TCP connection per slot.
//!
//! All I/O uses the anonymous stateid, so a server restart loses nothing the client must
//! reclaim except byte-range locks. A request whose connection broke is sent again with the same
//! slot and sequence id, so the server's reply cache makes it exactly-once.

mod calls;
mod client;
mod compound;
mod proto;
mod xdr;

pub use calls::{ACCESS_BOTH, ACCESS_READ, Entry};
pub use client::Client;
pub use proto::{
    Attr, Cred, EOF, FILE_SYNC, Handle, MAX_IO, Range, Res, Sattr, StateId, UNSTABLE, Verifier, at,
};
pub use xdr::Enc;

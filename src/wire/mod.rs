//! What is spoken on wires and signed for them, by whoever knows a protocol and nothing of a lab; and how backups lie in a store.

pub mod backup;
pub mod dump;
pub mod etcd;
pub mod gtid;
pub mod net;
pub mod sql;
pub mod tls;

/// Bytes in lower-case hexadecimal digits, as hashes are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! What is spoken on wires and signed for them: whoever knows a protocol and nothing of a lab.

pub mod etcd;
pub mod gtid;
pub mod net;
pub mod sql;
pub mod tls;

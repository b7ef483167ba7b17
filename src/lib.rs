//! wplab brings up a highly available WordPress lab on real Kubernetes (kind in Docker) and proves that it works.
//!
//! The floors, from the top down; arrows between them go down only (`tests/architecture.rs` checks it):
//!
//! | floor | who lives there |
//! |---|---|
//! | [`actions`] | what a lab can do: `up`, `down`, `status`, the proof; one file or folder each |
//! | [`parts`] | what the lab is made of: images, storage, database, frontend, autoscale |
//! | [`inside`] | what runs inside the cluster, same executable: PID 1 of a database member, and the agent that gives the roles |
//! | [`cluster`], [`host`] | the two outside worlds: Kubernetes, and the machine with its Docker engine; neither knows the other |
//! | [`wire`] | what several rooms speak or sign: etcd, SQL, TLS, names, GTID |
//! | [`run`] | one run of a command: its steps, what can be shown of it, the one waiting loop |
//! | [`spec`], [`labels`] | what was asked for: the lab file and every rule; and the names that everything carries |

pub mod actions;
pub mod cluster;
pub mod host;
pub mod inside;
pub mod labels;
pub mod parts;
pub mod run;
pub mod spec;
pub mod wire;

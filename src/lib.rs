//! wplab brings up a highly available WordPress lab on real Kubernetes (kind in Docker) and proves that it works.
//!
//! The rooms, from the top down; arrows between them go down only (`tests/architecture.rs` checks it):
//!
//! | room | what it is for |
//! |---|---|
//! | [`up`] [`down`] [`status`] [`plan`] [`smoke`] … | what the lab can do |
//! | [`parts`] | what the lab is made of: images, storage, database, frontend, autoscale |
//! | [`agent`] | what runs inside the cluster, same executable: PID 1 of a database member, and the agent that gives the roles |
//! | [`cluster`], [`host`] | the two outside worlds: Kubernetes, and the machine with its Docker engine; neither knows the other |
//! | [`etcd`] [`sql`] [`tls`] | what several rooms speak or sign: etcd, SQL, certificates |
//! | [`spec`] | what was asked for: the lab file and every rule |
//! | [`run`], [`event`], [`wait`], [`verdict`], [`labels`], [`gtid`], [`net`] | leaves: one step, what can be shown, the one waiting loop, names looked up |

pub mod agent;
pub mod cluster;
pub mod credentials;
pub mod diagnose;
pub mod down;
pub mod etcd;
pub mod event;
pub mod gtid;
pub mod host;
pub mod images;
pub mod labels;
pub mod list;
pub mod logs;
pub mod net;
pub mod parts;
pub mod plan;
pub mod prepare;
pub mod prove;
pub mod recover;
pub mod render;
pub mod run;
pub mod smoke;
pub mod spec;
pub mod sql;
pub mod status;
pub mod tls;
pub mod up;
pub mod verdict;
pub mod wait;

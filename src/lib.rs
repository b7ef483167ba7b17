//! wplab brings up a highly available WordPress lab on real Kubernetes (kind in Docker) and proves that it works.
//!
//! The rooms, from the top down; arrows between them go down only (`tests/architecture.rs` checks it):
//!
//! | room | what it is for |
//! |---|---|
//! | [`up`] [`down`] [`status`] [`plan`] [`smoke`] … | what the lab can do |
//! | [`parts`] | what the lab is made of: images, storage, database, frontend, autoscale |
//! | [`agent`] | what runs inside the cluster, same executable: PID 1 of a database member |
//! | [`cluster`], [`host`] | the two outside worlds: Kubernetes, and the machine with its Docker engine; neither knows the other |
//! | [`spec`] | what was asked for: the lab file and every rule |
//! | [`run`], [`event`], [`wait`] | leaves: one step, what can be shown, the one waiting loop |

pub mod agent;
pub mod cluster;
pub mod event;
pub mod host;
pub mod labels;
pub mod parts;
pub mod render;
pub mod run;
pub mod smoke;
pub mod spec;
pub mod sql;
pub mod tls;
pub mod wait;

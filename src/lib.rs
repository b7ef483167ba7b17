//! wplab brings up a highly available WordPress lab on real Kubernetes (kind in Docker) and proves that it works.
//!
//! The floors, from the top down; arrows between them go down only (`tests/architecture.rs` checks it):
//!
//! | floor | who lives there |
//! |---|---|
//! | [`actions`] | what a lab can do: `up`, `down`, `status`, the proof; one file or folder each |
//! | [`parts`] | what the lab is made of: images, storage, database, frontend, autoscale, backup, monitoring |
//! | [`inside`] | what runs inside the cluster, same executable: PID 1 of a database member, and the agent that gives the roles |
//! | [`cluster`], [`host`] | the two outside worlds: Kubernetes, and the machine with its Docker engine; neither knows the other |
//! | [`wire`] | what several rooms speak or sign: etcd, SQL, TLS, names, GTID, and backups as they lie in object storage |
//! | [`run`] | one run of a command: its steps, what can be shown of it, the one waiting loop |
//! | [`spec`], [`labels`] | what was asked for: the lab file and every rule; and the names that everything carries |
//!
//! A few words have one meaning everywhere:
//!
//! | word | what it means |
//! |---|---|
//! | lab | one cluster with everything in it, by its name; the containers and objects that carry its labels are its only record |
//! | part | a piece of a lab (storage, database, …) with an `ensure` that looks before it acts |
//! | step | a piece of a command that users see begin and end ([`run::event::StepId`]) |
//! | role | of an image: what it is for ([`parts::images::Role`]); of a member: `writer` or `reader`, as its label says |
//! | member | a pod of the database, and the process in it that supervises one server ([`inside::member`]) |
//! | agent | the pods of which one leads and gives the members their roles ([`inside::agent`]) |
//! | operator | the pod that makes the members what object `Database` says, whoever wrote it ([`parts::database::operator`]) |
//! | topology, flavour | how the database keeps its copies; which server a Galera cluster is made of ([`spec::Topology`], [`spec::Flavour`]) |
//! | contract | what the lab relies on of an image, line by line ([`inside::inspect`]) |
//! | check | a sentence that is true of a lab that works, and how to look ([`actions::smoke`]) |
//! | recipe | of an image: the folder that builds it (`lab/images`); of a lab: the order of the steps of [`actions::up`] |
//! | trouble, hint | the one error that says whose fault it is; what can be done about it, as data ([`run::advice`]) |
//! | gate | something that is there before the step that makes it ends ([`run::gate`]) |

pub mod actions;
pub mod cluster;
pub mod host;
pub mod inside;
pub mod labels;
pub mod parts;
pub mod run;
pub mod spec;
pub mod wire;

//! The lab's nodes, which are containers: whoever makes, finds, guards or removes them.

pub mod again;
mod config;
mod create;
mod ensure;
pub mod freeze;
pub mod guard;
pub mod halt;
pub mod join;
pub mod labs;
pub mod roots;
pub mod rules;
mod there;

pub use self::{
    config::yaml as kind_config,
    create::{KindFailed, Meaning},
    ensure::{ClusterLook, Damaged, Differs, ensure},
    there::{
        Access, CLUSTER_LABEL, Kind, NODE_PORT, Nodes, NotOurs, control_plane_first, finished, frontend_port,
        inside_name, kubeconfig_path, node_names, ours, worker_names,
    },
};
pub(crate) use self::{
    create::{network, version_command},
    there::containers,
};

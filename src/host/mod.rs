//! The machine's side of a lab: its Docker engine, its `kind`, its folders. Knows nothing of Kubernetes' API; a
//! kubeconfig leaves this room as a path.
//!
//! [`machine`] is looked at and made ready, [`nodes`] are the lab's, [`docker`] is the engine; beside them are leaves.

pub mod docker;
pub mod folders;
pub mod lock;
pub mod machine;
pub mod nodes;
pub mod ports;
pub mod process;
pub mod programs;
pub(crate) mod version;

use crate::host::{docker::Docker, nodes::Kind};

/// The machine as a lab uses it; made by [`machine::doctor::preflight`], which has looked at everything first.
#[derive(Clone, Debug)]
pub struct Host {
    /// The engine.
    pub docker: Docker,
    /// The `kind` executable; only who makes nodes needs it.
    pub kind: Option<Kind>,
    /// Facts that other rooms decide on.
    pub facts: HostFacts,
}

/// Facts about the machine that other rooms decide on.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostFacts {
    /// Docker's cgroup version, 1 or 2. With 1, Kubernetes from 1.35 on needs `failCgroupV1: false`.
    pub cgroup_version: u8,
    /// The kernel can mount NFS itself. Where not, only the package-built node image can (NFS over FUSE).
    pub kernel_nfs: bool,
    /// Privileged containers start: their processes can have `CAP_SYS_RESOURCE`, or the engine's runtime is ours, which
    /// leaves it out.
    pub sys_resource: bool,
    /// A container registry answers.
    pub registry: bool,
    /// Cores of the engine, or of this machine while there is none.
    pub cpus: u64,
    /// Memory of the engine in bytes; 0 while there is none.
    pub memory: u64,
}

impl HostFacts {
    /// Why the public node image would not work on this machine, if so; the package-built one would.
    pub fn unfit_for_public_node(&self) -> Option<&'static str> {
        if !self.kernel_nfs {
            Some("the kernel has no NFS client, and the public node image brings none")
        } else if self.cgroup_version == 1 {
            Some("the systemd of the public node image does not start on cgroup v1")
        } else if !self.sys_resource {
            Some("processes here never have CAP_SYS_RESOURCE, which the public node image asks for")
        } else {
            None
        }
    }
}

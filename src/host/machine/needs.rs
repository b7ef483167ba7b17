//! What a lab needs of the machine, from its lab file alone.

use crate::spec::{LabSpec, Topology};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// API server, etcd and their neighbours at rest, and some air.
const CONTROL_PLANE: u64 = 900 * MIB;
/// kubelet, containerd, kube-proxy and the network agent of a worker.
const WORKER: u64 = 200 * MIB;
/// NFS server, metrics-server, DNS, provisioner.
const SERVANTS: u64 = 400 * MIB;
/// One of the two agents.
const AGENT: u64 = 32 * MIB;
/// Prometheus and the exporter, after hours.
const MONITORING: u64 = 320 * MIB;
/// One of the three members of etcd: 20 MiB after its start and 50 after hours, as measured, and some air.
const ETCD: u64 = 64 * MIB;
/// A member of etcd's volume: its log of writes is allotted 64 MB at a time, beside a snapshot and the database.
const ETCD_DISK: u64 = 256 * MIB;
/// The lab's images in Docker.
const IMAGES: u64 = 4 * GIB;
/// A node's own copy of the images, unpacked, and its logs.
const NODE_DISK: u64 = 3 * GIB;
/// Build containers, package and module caches, when Kubernetes is among what is compiled.
const COMPILING: u64 = 8 * GIB;
/// The same, when only Debian packages are installed.
const INSTALLING: u64 = GIB;
/// What a fresh volume really takes, however large it may grow.
const VOLUME: u64 = GIB;

/// What has to be built before a lab can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Building {
    /// Every image is here, or comes from elsewhere.
    Nothing,
    /// Those that Debian packages are installed into.
    Services,
    /// Also those whose programs are compiled.
    Everything,
}

/// Bytes that the images take in Docker, and building them beside that.
pub(crate) fn images(building: Building) -> u64 {
    IMAGES
        + match building {
            Building::Nothing => 0,
            Building::Services => INSTALLING,
            Building::Everything => COMPILING,
        }
}

/// What a lab needs; memory and disk in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Memory.
    pub(crate) memory: u64,
    /// Room for nodes and volumes on the disk that holds Docker's data; [`images`] come on top.
    pub(crate) disk: u64,
    /// inotify instances of root, as counted in running nodes: 27 on the control plane and 14 on a worker, with systemd,
    /// kubelet and containerd; and a few for pods that run as root.
    pub(crate) inotify: u64,
}

/// The kernel's inotify limits per user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inotify {
    pub(crate) instances: u64,
    pub(crate) watches: u64,
}

/// With less, systemd in the third or fourth node fails with "too many open files".
pub(crate) const INOTIFY_MIN: Inotify = Inotify { instances: 512, watches: 131_072 };

/// What a limit has to become: at least `least`, and more than what is used up already.
pub(crate) fn inotify_target(now: u64, least: u64, short: bool) -> u64 {
    if short { least.max(now * 2) } else { least.max(now) }
}

/// What this lab needs beside its images.
pub(crate) fn of(spec: &LabSpec) -> Needs {
    let members = u64::from(spec.database.members);
    let workers = u64::from(spec.cluster.workers);
    let etcds = match spec.database.topology {
        Topology::Replication => 0,
        Topology::Galera => 3,
    };
    let pods = members * bytes(spec.database.resources.memory.value())
        + u64::from(spec.wordpress.replicas) * bytes(spec.wordpress.resources.memory.value())
        + etcds * ETCD
        + 2 * AGENT
        + if spec.monitoring { MONITORING } else { 0 };
    let volumes = members * VOLUME.min(bytes(spec.database.volume.value()))
        + VOLUME.min(bytes(spec.storage.size.value()))
        + etcds * ETCD_DISK;
    Needs {
        memory: CONTROL_PLANE + workers * WORKER + SERVANTS + pods,
        inotify: 27 + workers * 14 + 16,
        disk: (workers + 1) * NODE_DISK + volumes,
    }
}

/// A float that came from a quantity as whole bytes; quantities are never negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a lab's sizes are far below 2^52")]
fn bytes(value: f64) -> u64 {
    value.ceil() as u64
}

/// Bytes as people read them.
pub(crate) fn shown(bytes: u64) -> String {
    let tenths = (bytes * 10 + GIB / 2) / GIB;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spec::{
        AutoscaleSpec, ClusterSpec, DatabaseSpec, Flavour, ImageSource, LabName, Quantity, Reads, Resources,
        StorageSpec, Topology, WordpressSpec,
    };

    /// A lab for this room's tests.
    pub(crate) fn spec() -> LabSpec {
        let quantity = |text| Quantity::new(text).expect("a quantity");
        let resources = |memory| Resources { cpu: quantity("100m"), memory: quantity(memory) };
        LabSpec {
            name: LabName::default(),
            cluster: ClusterSpec { workers: 3, port: 8080 },
            images: ImageSource::Auto,
            storage: StorageSpec { size: quantity("2Gi") },
            database: DatabaseSpec {
                placement: crate::spec::placement::Placement::default(),
                topology: Topology::Replication,
                flavour: Flavour::Auto,
                members: 3,
                freed_volumes: crate::spec::FreedVolumes::Keep,
                image: crate::spec::ServerImage::default(),
                volume_class: crate::spec::VolumeClass::default(),
                volume: quantity("512Mi"),
                resources: resources("768Mi"),
                settings: BTreeMap::new(),
            },
            wordpress: WordpressSpec {
                title: "Test".into(),
                replicas: 3,
                reads: Reads::Writer,
                resources: resources("256Mi"),
            },
            autoscale: AutoscaleSpec { min: 3, max: 6, cpu: 60, scale_down_window: 60 },
            backup: crate::spec::backup::BackupSpec::default(),
            monitoring: false,
        }
    }

    #[test]
    fn needs_grow_with_the_lab() {
        let all = of(&spec());
        assert_eq!(all.memory, (900 + 3 * 200 + 400 + 3 * 768 + 3 * 256 + 2 * 32) * MIB);
        assert_eq!(all.disk, 4 * 3 * GIB + 3 * 512 * MIB + GIB);
        assert_eq!(images(Building::Nothing), 4 * GIB);
        assert_eq!(all.inotify, 85);
        assert_eq!(images(Building::Everything) - images(Building::Nothing), COMPILING);
        assert_eq!(images(Building::Services) - images(Building::Nothing), INSTALLING);
        let mut small = spec();
        small.cluster.workers = 1;
        assert_eq!(all.memory - of(&small).memory, 2 * WORKER);
        let mut galera = spec();
        galera.database.topology = Topology::Galera;
        assert_eq!(of(&galera).memory - all.memory, 3 * ETCD);
        assert_eq!(of(&galera).disk - all.disk, 3 * ETCD_DISK);
    }

    #[test]
    fn bytes_as_people_read_them() {
        assert_eq!(shown(0), "0.0 GiB");
        assert_eq!(shown(GIB * 3 / 2), "1.5 GiB");
        assert_eq!(shown(25_279_000_000), "23.5 GiB");
    }
}

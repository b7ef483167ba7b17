//! A lab and its images for the unit tests of the parts.

use std::path::PathBuf;

use super::images::{Image, ImageSet, Origin, Role};
use crate::spec::{
    AutoscaleSpec, ClusterSpec, DatabaseSpec, Flavour, ImageSource, LabName, LabSpec, Quantity, Reads, Resources,
    StorageSpec, Topology, WordpressSpec,
};

fn quantity(text: &str) -> Quantity {
    Quantity::new(text).expect("a quantity")
}

fn resources(cpu: &str, memory: &str) -> Resources {
    Resources { cpu: quantity(cpu), memory: quantity(memory) }
}

/// A lab as anybody might ask for it.
pub(super) fn spec() -> LabSpec {
    LabSpec {
        name: LabName::default(),
        cluster: ClusterSpec { workers: 3, port: 8080 },
        images: ImageSource::Bundle(PathBuf::from("images.tar")),
        storage: StorageSpec { size: quantity("2Gi") },
        database: DatabaseSpec {
            placement: crate::spec::placement::Placement::default(),
            topology: Topology::Replication,
            flavour: Flavour::Auto,
            members: 3,
            freed_volumes: crate::spec::FreedVolumes::Keep,
            image: crate::spec::ServerImage::default(),
            volume_class: crate::spec::VolumeClass::default(),
            volume: quantity("2Gi"),
            resources: resources("100m", "768Mi"),
            settings: [].into(),
        },
        wordpress: WordpressSpec {
            title: "A lab".to_owned(),
            replicas: 3,
            reads: Reads::Writer,
            resources: resources("100m", "512Mi"),
        },
        autoscale: AutoscaleSpec { min: 3, max: 6, cpu: 50, scale_down_window: 60 },
        backup: crate::spec::backup::BackupSpec::default(),
        monitoring: false,
    }
}

/// One image per role; the references end in the role's number.
pub(super) fn images() -> ImageSet {
    let roles = [
        Role::Node,
        Role::Mysql,
        Role::Wordpress,
        Role::Nfs,
        Role::MetricsServer,
        Role::Tool,
        Role::Prometheus,
        Role::MysqldExporter,
    ];
    let names = ["node", "database", "wordpress", "nfs", "metrics-server", "tool", "prometheus", "mysqld-exporter"];
    let image = |(number, name): (usize, &str)| Image {
        reference: format!("docker.io/wplab/{name}:{number:012}"),
        id: format!("sha256:{number:064}"),
        size: 1,
        origin: Origin::Packages(name.to_owned()),
    };
    ImageSet(roles.into_iter().zip(names.into_iter().enumerate().map(image)).collect())
}

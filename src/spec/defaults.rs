//! The lab that nobody described. `lab/default.yaml` and, for topology `galera`, `lab/galera.yaml` say the same to
//! people; a test keeps them together.

use std::collections::BTreeMap;

use super::{
    AutoscaleSpec, ClusterSpec, DatabaseSpec, Flavour, ImageSource, LabName, LabSpec, Quantity, Resources, StorageSpec,
    Topology, WordpressSpec,
};

/// A server that is content with little memory, because several of them share one machine. Every server of the lab
/// knows these options, MariaDB as well.
const SMALL: [(&str, &str); 10] = [
    ("host_cache_size", "0"),
    ("innodb_buffer_pool_size", "64M"),
    ("innodb_log_buffer_size", "4M"),
    ("key_buffer_size", "1M"),
    ("max_connections", "60"),
    ("max_heap_table_size", "8M"),
    ("performance_schema", "OFF"),
    ("table_definition_cache", "400"),
    ("table_open_cache", "400"),
    ("tmp_table_size", "8M"),
];

/// What only MySQL knows; a flavour of Galera sets its like itself.
const SMALL_MYSQL: [(&str, &str); 2] = [("innodb_redo_log_capacity", "64M"), ("temptable_max_ram", "16M")];

/// The options that a lab begins with; those of its file are added.
pub(super) fn settings(topology: Topology) -> BTreeMap<String, String> {
    let of_topology: &[_] = match topology {
        Topology::Replication => &SMALL_MYSQL,
        Topology::Galera => &[],
    };
    SMALL.iter().chain(of_topology).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A quantity that is known to be good; tests/spec.rs reads every one of them from lab/default.yaml.
fn quantity(text: &str) -> Quantity {
    Quantity(text.to_owned())
}

impl Default for LabSpec {
    fn default() -> Self {
        LabSpec {
            name: LabName::default(),
            cluster: ClusterSpec { workers: 3, port: 8080 },
            images: ImageSource::Auto,
            storage: StorageSpec { size: quantity("1Gi") },
            database: DatabaseSpec {
                topology: Topology::Replication,
                flavour: Flavour::Auto,
                members: 3,
                volume: quantity("1Gi"),
                resources: Resources { cpu: quantity("100m"), memory: quantity("640Mi") },
                settings: settings(Topology::Replication),
            },
            wordpress: WordpressSpec {
                title: "wplab".to_owned(),
                replicas: 3,
                resources: Resources { cpu: quantity("100m"), memory: quantity("384Mi") },
            },
            autoscale: AutoscaleSpec { min: 3, max: 6, cpu: 70, scale_down_window: 30 },
        }
    }
}

//! The lab that nobody described. `lab/default.yaml` says the same to people; a test keeps the two together.

use super::{
    AutoscaleSpec, ClusterSpec, DatabaseSpec, ImageSource, LabName, LabSpec, Quantity, Resources, StorageSpec,
    Topology, WordpressSpec,
};

/// A MySQL server that is content with little memory, because several of them share one machine.
const SMALL: [(&str, &str); 12] = [
    ("host_cache_size", "0"),
    ("innodb_buffer_pool_size", "64M"),
    ("innodb_log_buffer_size", "4M"),
    ("innodb_redo_log_capacity", "64M"),
    ("key_buffer_size", "1M"),
    ("max_connections", "60"),
    ("max_heap_table_size", "8M"),
    ("performance_schema", "OFF"),
    ("table_definition_cache", "400"),
    ("table_open_cache", "400"),
    ("temptable_max_ram", "16M"),
    ("tmp_table_size", "8M"),
];

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
                members: 3,
                volume: quantity("1Gi"),
                resources: Resources { cpu: quantity("100m"), memory: quantity("640Mi") },
                settings: SMALL.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
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

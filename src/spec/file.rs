//! Writes a lab back as the lab file that describes it, so that a running lab can tell what it was made from.

use serde_json::json;

use super::LabSpec;

impl LabSpec {
    /// A lab file (JSON, which is YAML) that loads as this very lab; where its images came from is left out, because what
    /// is there is recorded by content.
    pub fn to_file(&self) -> String {
        let resources = |r: &super::Resources| json!({"cpu": r.cpu.as_str(), "memory": r.memory.as_str()});
        json!({
            "name": self.name.as_str(),
            "cluster": {"workers": self.cluster.workers, "port": self.cluster.port},
            "images": "auto",
            "storage": {"size": self.storage.size.as_str()},
            "database": {
                "topology": self.database.topology.name(),
                "flavour": self.database.flavour.name(),
                "members": self.database.members,
                "volume": self.database.volume.as_str(),
                "resources": resources(&self.database.resources),
                "settings": self.database.settings,
            },
            "wordpress": {
                "title": self.wordpress.title,
                "replicas": self.wordpress.replicas,
                "resources": resources(&self.wordpress.resources),
            },
            "autoscale": {
                "min": self.autoscale.min,
                "max": self.autoscale.max,
                "cpu": self.autoscale.cpu,
                "scale-down-window": format!("{}s", self.autoscale.scale_down_window),
            },
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::spec::load::{DEFAULT, GALERA, Overrides, parse};

    #[test]
    fn a_lab_written_back_loads_as_itself() {
        let more = "database: {settings: {max_connections: 61, innodb_buffer_pool_size: 96M}, members: 2}\n\
                    cluster: {workers: 5}\nwordpress: {title: \"A 'lab': #1\"}\nautoscale: {scale-down-window: 2m}\n";
        let galera = "database: {topology: galera, flavour: mariadb, settings: {tmp_table_size: 9M}}\n";
        for text in [DEFAULT, more, GALERA, galera] {
            let spec = parse("lab.yaml", Path::new(""), text, &Overrides::default()).expect("a lab");
            let again =
                parse("again.yaml", Path::new(""), &spec.to_file(), &Overrides::default()).expect("the same lab");
            assert_eq!(again, spec);
        }
    }
}

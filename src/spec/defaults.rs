//! The lab that nobody described: what the lab files say that people are shown. They are the one home of every default and
//! of every key's name; a field that is not in both of them does not pass the tests.

use std::sync::LazyLock;

use super::{
    LabName, LabSpec, Topology,
    tree::{self, Node, Value},
};

/// The lab file that `wplab` carries: every field with its default, and comments for people.
pub const DEFAULT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/default.yaml"));

/// The same for topology `galera`.
pub const GALERA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/galera.yaml"));

static REPLICATION_LAB: LazyLock<LabSpec> = LazyLock::new(|| read(DEFAULT));
static GALERA_LAB: LazyLock<LabSpec> = LazyLock::new(|| read(GALERA));
static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let mut sections = Vec::new();
    if let Ok((root, _)) = tree::parse(DEFAULT) {
        collect("", &root, &mut sections);
    }
    sections
});

/// A section of a lab file.
pub(super) struct Section {
    /// Its keys from the top, as in `database.resources`; empty for the top itself.
    pub(super) path: String,
    /// The keys that it may have.
    pub(super) keys: Vec<String>,
}

impl LabSpec {
    /// The lab of this topology that nobody described.
    pub fn of(topology: Topology) -> LabSpec {
        match topology {
            Topology::Replication => REPLICATION_LAB.clone(),
            Topology::Galera => GALERA_LAB.clone(),
        }
    }
}

impl Default for LabSpec {
    fn default() -> Self {
        REPLICATION_LAB.clone()
    }
}

impl Default for LabName {
    fn default() -> Self {
        REPLICATION_LAB.name.clone()
    }
}

/// Every section of a lab file, as the file for people has them.
pub(super) fn sections() -> &'static [Section] {
    &SECTIONS
}

/// A lab file that is known to be whole, because it is a part of this program and a test reads it.
fn read(text: &str) -> LabSpec {
    serde_yaml::from_str(text).expect("the lab files in this program are whole")
}

fn collect(path: &str, node: &Node, sections: &mut Vec<Section>) {
    // The server knows which options there are.
    let Value::Map(entries) = &node.value else { return };
    if path == "database.settings" {
        return;
    }
    sections.push(Section { path: path.to_owned(), keys: entries.iter().map(|entry| entry.key.clone()).collect() });
    for entry in entries {
        let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        collect(&below, &entry.node, sections);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::load::{Overrides, parse};

    #[test]
    fn the_lab_files_in_this_program_are_whole() {
        for (topology, other) in [(Topology::Replication, DEFAULT), (Topology::Galera, GALERA)] {
            assert_eq!(LabSpec::of(topology).database.topology, topology);
            let (root, problems) = tree::parse(other).expect("a tree");
            let mut sections = Vec::new();
            collect("", &root, &mut sections);
            assert!(problems.is_empty() && sections.len() == super::sections().len(), "{topology:?}");
            for (one, other) in sections.iter().zip(super::sections()) {
                assert_eq!((&one.path, &one.keys), (&other.path, &other.keys), "both files have the same keys");
            }
        }
    }

    #[test]
    fn every_key_of_the_file_for_people_is_read() {
        for section in sections() {
            for key in &section.keys {
                let path = if section.path.is_empty() { key.clone() } else { format!("{}.{key}", section.path) };
                let deep = path.split('.').rev().fold("[x]".to_owned(), |text, key| format!("{{{key}: {text}}}"));
                let read = parse("lab.yaml", Path::new(""), &deep, &Overrides::default());
                let problems = read.expect_err("no field is a list").problems;
                let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
                assert_eq!(paths, [path.as_str()], "{deep}");
            }
        }
    }

    #[test]
    fn options_are_text_as_it_is_written_in_the_file() {
        let set = |topology| LabSpec::of(topology).database.settings;
        for settings in [set(Topology::Replication), set(Topology::Galera)] {
            let get = |name: &str| settings.get(name).map(String::as_str);
            assert_eq!(
                (get("performance_schema"), get("host_cache_size"), get("max_connections")),
                (Some("OFF"), Some("0"), Some("60"))
            );
        }
    }
}

//! What a lab file declares of its database, as the StatefulSet remembers it, and how two of them differ: what `up` compares and
//! `wplab plan` shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};

use crate::spec::{LabSpec, Quantity, Resources, placement::Placement};

/// The annotation of the StatefulSet with a [`Declared`] as JSON.
pub(super) const DECLARED: &str = "wplab.dev/declared";
/// What is shown of an option that nobody gives a value.
const OWN: &str = "the server's own";

/// What is declared of every member alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Declared {
    /// Options of the server, the lab's defaults among them.
    pub settings: BTreeMap<String, String>,
    /// What each member asks for and may use.
    pub resources: Resources,
    /// Where members may run.
    pub placement: Placement,
    /// Size of each member's volume.
    pub volume: Quantity,
}

impl Declared {
    /// What a lab file declares.
    pub fn of(spec: &LabSpec) -> Declared {
        let database = &spec.database;
        Declared {
            settings: database.settings.clone(),
            resources: database.resources.clone(),
            placement: database.placement.clone(),
            volume: database.volume.clone(),
        }
    }

    /// The same lab, with this declared of its database.
    #[must_use]
    pub fn over(self, spec: &LabSpec) -> LabSpec {
        let mut spec = spec.clone();
        let Declared { settings, resources, placement, volume } = self;
        let database = &mut spec.database;
        (database.settings, database.resources, database.placement, database.volume) =
            (settings, resources, placement, volume);
        spec
    }

    /// What the members' StatefulSet was made of; `None` where it was made by a version that did not write that down.
    pub fn read(set: &StatefulSet) -> Option<Declared> {
        serde_json::from_str(set.annotations().get(DECLARED)?).ok()
    }

    /// What a field is to be, by its name in a lab file below `database`; `None` where nothing is said of it.
    pub(super) fn value(&self, field: &str) -> Option<String> {
        match field.strip_prefix("settings.") {
            Some(option) => self.settings.get(option).cloned(),
            None => self.fields().into_iter().find(|(name, _)| *name == field).map(|(_, value)| value),
        }
    }

    fn fields(&self) -> [(&'static str, String); 6] {
        [
            ("volume", self.volume.as_str().to_owned()),
            ("resources.cpu", self.resources.cpu.as_str().to_owned()),
            ("resources.memory", self.resources.memory.as_str().to_owned()),
            ("placement.nodes", self.placement.nodes.to_string()),
            ("placement.prefer", self.placement.prefer.to_string()),
            ("placement.tolerate", self.placement.tolerate.to_string()),
        ]
    }

    /// What is to be different from what was, in the order of a lab file; options last, by their names.
    pub fn differs(&self, wanted: &Declared) -> Vec<Change> {
        let named = self.fields().into_iter().zip(wanted.fields());
        let named = named.map(|((name, had), (_, wanted))| Change { what: name.to_owned(), had, wanted });
        let names: BTreeSet<&String> = self.settings.keys().chain(wanted.settings.keys()).collect();
        let shown = |of: &Declared, name: &String| of.settings.get(name).cloned().unwrap_or_else(|| OWN.to_owned());
        let options = names.into_iter().map(|name| Change {
            what: format!("settings.{name}"),
            had: shown(self, name),
            wanted: shown(wanted, name),
        });
        named.chain(options).filter(|change| change.had != change.wanted).collect()
    }
}

/// One thing that is to be different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// What, by its name in a lab file below `database`.
    pub what: String,
    /// As it was.
    pub had: String,
    /// As it is to be.
    pub wanted: String,
}

impl Change {
    /// The server's option that it is, if it is one.
    pub fn option(&self) -> Option<&str> {
        self.what.strip_prefix("settings.")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.what, self.had, self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_as_the_lab_file_has_it() {
        let spec = LabSpec::default();
        let mut wanted = spec.clone();
        assert_eq!(Declared::of(&spec).differs(&Declared::of(&wanted)), []);
        let settings = &mut wanted.database.settings;
        settings.insert("max_connections".into(), "61".into());
        settings.insert("long_query_time".into(), "2".into());
        settings.remove("tmp_table_size");
        wanted.database.resources.memory = Quantity::new("700Mi").expect("a quantity");
        let told: Vec<String> =
            Declared::of(&spec).differs(&Declared::of(&wanted)).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "resources.memory 640Mi → 700Mi",
                "settings.long_query_time the server's own → 2",
                "settings.max_connections 60 → 61",
                "settings.tmp_table_size 8M → the server's own",
            ]
        );
        assert_eq!(Declared::of(&wanted).over(&spec), wanted);
    }

    #[test]
    fn what_a_stateful_set_was_made_of_is_read_from_it() {
        let declared = Declared::of(&LabSpec::default());
        let text = serde_json::to_string(&declared).expect("JSON");
        let mut set = StatefulSet::default();
        assert_eq!(Declared::read(&set), None);
        set.metadata.annotations = Some(BTreeMap::from([(DECLARED.to_owned(), text)]));
        assert_eq!(Declared::read(&set), Some(declared));
    }
}

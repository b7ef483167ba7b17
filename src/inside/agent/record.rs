//! What the agent writes down: that the lab's data exists (ConfigMap `db-state`), and for people, `up` and `status` who has
//! the role of the writer, since when and why (ConfigMap `db-roles`). `up` makes both, empty; the agent only fills them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::decide::Outlook;

/// The ConfigMap that says whether the lab's data exists.
pub const STATE: &str = "db-state";
/// The ConfigMap with the roles.
pub const ROLES: &str = "db-roles";
/// The key of [`STATE`]: `true` once the lab's data exists.
pub const INITIALISED: &str = "initialized";
/// Two keys of [`STATE`]: how many members there shall be, as `up` and `scale` write it, and who counts, as JSON
/// ([`super::count::Count`]).
pub use crate::inside::member::count::{COUNTS, MEMBERS};
/// The key of [`STATE`]: `false` where no write shall wait for a replica, as `scale` writes it.
pub const PROTECTED: &str = "protected";
/// The key of [`STATE`]: the newest term in which a member may have been made the source, as JSON.
pub(super) const DECIDED: &str = "decided";

/// A moment as the record tells it to people, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%FT%TZ").to_string()
}

/// What [`ROLES`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Roles {
    /// The member that takes writes; empty while nobody has been chosen.
    pub writer: String,
    /// When it was given the role (RFC 3339).
    pub since: String,
    /// Why it was.
    pub why: String,
    /// The agent's pod that leads.
    pub leader: String,
    /// Since when it leads (RFC 3339).
    pub leader_since: String,
    /// Which leadership this is.
    pub term: String,
    /// What still has to come; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub waits: String,
    /// Why nothing can be done without a person's decision; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub refused: String,
}

impl Roles {
    /// Reads the ConfigMap's data.
    pub fn read(data: Option<&BTreeMap<String, String>>) -> Roles {
        let get = |key: &str| data.and_then(|data| data.get(key)).cloned().unwrap_or_default();
        Roles {
            writer: get("writer"),
            since: get("since"),
            why: get("why"),
            leader: get("leader"),
            leader_since: get("leader-since"),
            term: get("term"),
            waits: get("waits"),
            refused: get("refused"),
        }
    }

    /// Gives the role of the writer, now.
    pub(super) fn give(&mut self, member: String, why: String) {
        (self.writer, self.since, self.why) = (member, moment(Timestamp::now()), why);
    }

    pub(super) fn set_outlook(&mut self, outlook: &Outlook) {
        let (waits, refused) = match outlook {
            Outlook::Settled => ("", ""),
            Outlook::Waits(reason) => (reason.as_str(), ""),
            Outlook::Refused(reason) => ("", reason.as_str()),
        };
        (self.waits, self.refused) = (waits.to_owned(), refused.to_owned());
    }

    /// The merge patch that makes the ConfigMap say this; what is empty is removed.
    pub(super) fn patch(&self) -> Value {
        let pairs = [
            ("writer", &self.writer),
            ("since", &self.since),
            ("why", &self.why),
            ("leader", &self.leader),
            ("leader-since", &self.leader_since),
            ("term", &self.term),
            ("waits", &self.waits),
            ("refused", &self.refused),
        ];
        let value = |text: &String| if text.is_empty() { Value::Null } else { Value::from(text.as_str()) };
        json!({ "data": pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect::<Map<_, _>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_what_is_over_is_removed() {
        let mut roles = Roles { writer: "db-1".into(), leader: "agent-x".into(), term: "3".into(), ..Roles::default() };
        roles.set_outlook(&Outlook::Waits("db-0: cloning".into()));
        let data = |roles: &Roles| -> BTreeMap<String, String> {
            let patch = roles.patch();
            let pairs = patch["data"].as_object().expect("a map").iter();
            pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        assert_eq!(Roles::read(Some(&data(&roles))), roles);
        roles.set_outlook(&Outlook::Settled);
        assert!(roles.patch()["data"]["waits"].is_null() && roles.patch()["data"]["writer"] == "db-1");
        assert_eq!(Roles::read(None), Roles::default());
    }
}

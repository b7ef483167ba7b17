//! ConfigMap `db-state`, on which every decision rests: whether the lab's data exists, what was decided last, who counts (the agent
//! writes these three), and what people ask for (`up` and `scale` write that). The agent writes only upon the very version that
//! it has read: what somebody else has written meanwhile is read first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{
    act::Actor,
    count::{Count, Target},
    known::Observations,
    lease::Leadership,
    log, observe,
    record::{COUNTS, DECIDED, INITIALISED, MEMBERS, PROTECTED, STATE},
};
use crate::inside::member::mandate::Term;

/// What stands there of the agent's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The version of the object that this was read from, or written as.
    version: String,
    /// Whether the lab's data exists.
    pub(super) initialised: bool,
    /// The newest term in which a member may have been made the source.
    pub(super) decided: Option<Term>,
    /// Who counts; `None` in a new lab.
    pub(super) counts: Option<Count>,
}

impl State {
    /// What the object says.
    ///
    /// # Errors
    /// Something in it was not written by an agent.
    pub(super) fn read(map: &ConfigMap) -> Result<State> {
        let empty = BTreeMap::new();
        let data = map.data.as_ref().unwrap_or(&empty);
        let json = |key: &str| data.get(key).map(|text| serde_json::from_str::<Value>(text)).transpose();
        let decided = json(DECIDED).and_then(|value| value.map(serde_json::from_value).transpose());
        let counts = json(COUNTS).and_then(|value| value.map(serde_json::from_value).transpose());
        Ok(State {
            version: map.resource_version().unwrap_or_default(),
            initialised: data.get(INITIALISED).is_some_and(|value| value == "true"),
            decided: decided.context("what was decided last cannot be read")?,
            counts: counts.context("who counts cannot be read")?,
        })
    }

    /// Writes one key.
    ///
    /// # Errors
    /// Somebody else has written since it was read; the API server does not answer or refuses; the lease is not sure any more.
    pub(super) async fn set(&mut self, actor: &Actor, leadership: &Leadership, key: &str, value: &Value) -> Result<()> {
        let patch = json!({ "metadata": { "resourceVersion": self.version }, "data": { key: value.to_string() } });
        let written = actor.write(leadership, STATE, &patch).await?;
        *self = State::read(&written)?;
        Ok(())
    }
}

/// What people ask for now; nothing before it was read. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Targets(Arc<Mutex<Option<Target>>>);

impl Targets {
    pub(super) fn get(&self) -> Option<Target> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the object; never ends.
    pub(super) async fn watch(self, api: Api<ConfigMap>, observed: Observations) {
        let changed = |map: &ConfigMap| match target(map) {
            Ok(target) if self.get() == Some(target) => {}
            Ok(target) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
                observed.wake();
            }
            Err(error) => log::warn("what is asked for cannot be read", &[("why", format!("{error:#}").into())]),
        };
        observe::map(api, STATE, changed).await;
    }
}

fn target(map: &ConfigMap) -> Result<Target> {
    let get = |key: &str| map.data.as_ref().and_then(|data| data.get(key));
    let members = get(MEMBERS).with_context(|| format!("ConfigMap {STATE} has no key {MEMBERS}"))?;
    let members = members.parse().with_context(|| format!("{MEMBERS} is {members:?}, which is no number"))?;
    Ok(Target::new(members, get(PROTECTED).is_none_or(|value| value != "false")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        let mut map = ConfigMap {
            data: Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..ConfigMap::default()
        };
        map.metadata.resource_version = Some("7".into());
        map
    }

    #[test]
    fn what_agents_wrote_is_read_and_anything_else_is_no_reason_to_begin_anew() {
        let count = Count { version: 4, members: 5, acks: 2, leaving: Some(3) };
        let (counts, term) = (json!(count).to_string(), json!(Term { number: 3, by: "a".into() }).to_string());
        let read = State::read(&map(&[(INITIALISED, "true"), (COUNTS, &counts), (DECIDED, &term)])).expect("a state");
        assert_eq!((read.version.as_str(), read.initialised, read.counts), ("7", true, Some(count)));
        assert_eq!(read.decided.map(|term| term.number), Some(3));
        assert_eq!(State::read(&map(&[])).expect("empty"), State { version: "7".into(), ..State::default() });
        State::read(&map(&[(COUNTS, "many")])).expect_err("not an agent's");
    }

    #[test]
    fn what_is_asked_for_is_a_number_of_members_and_whether_writes_wait() {
        assert_eq!(target(&map(&[(MEMBERS, "5")])).expect("a target"), Target { members: 5, acks: 2 });
        assert_eq!(target(&map(&[(MEMBERS, "1")])).expect("a target"), Target { members: 1, acks: 0 });
        let unprotected = target(&map(&[(MEMBERS, "3"), (PROTECTED, "false")])).expect("a target");
        assert_eq!(unprotected, Target { members: 3, acks: 0 });
        target(&map(&[])).expect_err("nothing is asked for");
        target(&map(&[(MEMBERS, "some")])).expect_err("no number");
    }
}

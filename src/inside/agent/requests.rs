//! What people ask of the agent, in its record (ConfigMap `db-roles`): `wplab failover` writes the key [`REQUEST`], the agent that
//! leads writes the key [`ANSWER`] with the same id and removes the request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{decide, known::Observations, log, observe, record::ROLES};

/// The key with what is asked for, as JSON ([`Asked`]).
pub const REQUEST: &str = "request";
/// The key with what came of it, as JSON ([`Answered`]).
pub const ANSWER: &str = "answer";
/// How long a switch-over may take, by the agent's own clock, until what has been begun is undone.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Asked {
    /// Tells one request from another.
    pub id: String,
    /// The member that is to be the source; `None` leaves it to the agent.
    pub to: Option<String>,
    /// Who was the source when it was asked for.
    pub from: Option<String>,
    /// Where the source is lost, go on also when acknowledged transactions may be lost with it.
    #[serde(default)]
    pub accept_loss: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answered {
    /// Of which request.
    pub id: String,
    /// What was done; `None` where nothing was.
    pub done: Option<String>,
    /// Why not; `None` where it was done.
    pub refused: Option<String>,
}

/// The patch that answers a request and removes it.
pub(super) fn answered(id: &str, result: &Result<String, String>) -> Value {
    let answer =
        Answered { id: id.to_owned(), done: result.as_ref().ok().cloned(), refused: result.as_ref().err().cloned() };
    json!({ "data": { REQUEST: Value::Null, ANSWER: json!(answer).to_string() } })
}

/// The request that stands, and since when this agent knows of it. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Option<(Asked, Instant)>>>);

impl Requests {
    /// What is asked for now.
    pub(super) fn get(&self) -> Option<decide::Request> {
        let stands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, since) = stands.as_ref()?;
        let Asked { id, to, from, accept_loss } = asked.clone();
        // A lost source is waited for as long as it takes: somebody may still come back.
        let expired = !accept_loss && since.elapsed() >= PATIENCE;
        Some(decide::Request { id, to, from, accept_loss, expired })
    }

    /// The request with this id is answered.
    pub(super) fn done(&self, id: &str) {
        let mut stands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *stands = stands.take().filter(|(asked, _)| asked.id != id);
    }

    fn set(&self, asked: Option<Asked>) {
        let mut stands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = stands.as_ref().map(|(before, _)| before) == asked.as_ref();
        if !same {
            *stands = asked.map(|asked| (asked, Instant::now()));
        }
    }

    /// Watches the record; never ends.
    pub(super) async fn watch(self, api: Api<ConfigMap>, observed: Observations) {
        let changed = |map: &ConfigMap| {
            let before = self.get();
            self.set(read(map));
            if self.get() != before {
                observed.wake();
            }
        };
        observe::map(api, ROLES, changed).await;
    }
}

fn read(map: &ConfigMap) -> Option<Asked> {
    let text = map.data.as_ref()?.get(REQUEST)?;
    match serde_json::from_str(text) {
        Ok(asked) => Some(asked),
        Err(error) => {
            log::warn("the request in the record is none", &[("why", error.to_string().into())]);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_request_stands_until_it_is_answered_and_another_one_replaces_it() {
        let requests = Requests::default();
        let asked = |id: &str| Asked { id: id.into(), to: Some("db-1".into()), ..Asked::default() };
        requests.set(Some(asked("1")));
        assert_eq!(requests.get().expect("stands").id, "1");
        requests.done("2");
        requests.set(Some(asked("2")));
        assert_eq!(requests.get().expect("stands").id, "2");
        requests.done("2");
        assert_eq!(requests.get(), None);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_none_is_left_alone() {
        let asked = Asked { id: "7".into(), to: None, from: Some("db-0".into()), accept_loss: true };
        let map = |text: String| ConfigMap {
            data: Some(BTreeMap::from([(REQUEST.to_owned(), text)])),
            ..ConfigMap::default()
        };
        assert_eq!(read(&map(json!(asked).to_string())), Some(asked));
        assert_eq!(read(&map("please".into())), None);
        assert_eq!(read(&ConfigMap::default()), None);
        let patch = answered("7", &Err("too far behind".into()));
        let answer: Answered = serde_json::from_str(patch["data"][ANSWER].as_str().expect("text")).expect("an answer");
        assert_eq!((answer.id.as_str(), answer.refused.as_deref()), ("7", Some("too far behind")));
        assert!(patch["data"][REQUEST].is_null());
    }
}

//! The members as they are now: what Kubernetes knows of each pod and what its supervisor says; and SQL from this machine.

use std::fmt;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Serialize;

use super::names::{CREDENTIALS, TLS, WORDPRESS};
use crate::{
    cluster::{Cluster, forward::Forward, ready},
    inside::member::{
        HTTP_PORT,
        status::{GaleraFacts, MemberStatus, ServerFacts, State},
    },
    labels::{COMPONENT, Component, READS, ROLE},
    run::{
        advice::{Advise, Blame, Hint},
        wait::Look,
    },
    spec::LabName,
    wire::sql::{Session, Way},
};

/// MySQL's port.
const MYSQL_PORT: u16 = 3306;
/// How long a connection or a statement from this machine may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// One member.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// The pod's name.
    pub name: String,
    /// The node it is on, once it is on one.
    pub node: Option<String>,
    /// `writer` or `reader`; none on a pod that has just been made.
    pub role: Option<String>,
    /// Whether its label lets it be read from.
    pub reads: bool,
    /// What keeps the pod itself from being ready, as Kubernetes sees it.
    pub pod_waits: Option<String>,
    /// What its supervisor says; none while it does not answer.
    pub status: Option<MemberStatus>,
}

impl Member {
    /// Why this member is not ready to serve, whatever its role; `None` when it is.
    pub fn unready(&self) -> Option<String> {
        match &self.status {
            Some(status) => status.unready().or_else(|| self.pod_waits.clone()),
            None => Some(self.pod_waits.clone().unwrap_or_else(|| "its supervisor does not answer".to_owned())),
        }
    }

    /// What its server says about itself; `None` while it does not answer.
    pub fn facts(&self) -> Option<&ServerFacts> {
        self.status.as_ref()?.server.as_ref()
    }

    /// What a member of a Galera cluster says about it; `None` in the other topology, and while its server does not answer.
    pub fn galera(&self) -> Option<&GaleraFacts> {
        self.status.as_ref()?.galera.as_ref()
    }

    /// Seconds behind the source; `None` for the source itself, and while it is unknown.
    pub fn lag(&self) -> Option<u64> {
        self.facts().filter(|facts| !facts.serves_as_source())?.lag_seconds
    }
}

/// How long a member may need a decision before nobody waits for it any more: the next look of the others may be the cure.
const PATIENT: u64 = 15;

impl Member {
    /// The decision that this member needs from a person, with its name.
    pub fn undecided(&self) -> Option<String> {
        let status = self.status.as_ref().filter(|status| status.state == State::Stuck)?;
        Some(format!("{}: {}", self.name, status.note))
    }

    /// The members from whose data a person may start the cluster instead of waiting for this one.
    pub fn start_from(&self) -> &[String] {
        self.status.as_ref().map_or(&[], |status| &status.start_from)
    }

    /// The same, once nobody has made the decision for long; `None` while it may still pass by itself. `now` in seconds
    /// since 1970.
    pub(super) fn stuck(&self, lab: &LabName, now: u64) -> Option<Undecided> {
        let since = self.status.as_ref()?.since;
        let what = self.undecided().filter(|_| now.saturating_sub(since) >= PATIENT)?;
        Some(Undecided { lab: lab.clone(), what, start_from: self.start_from().to_vec() })
    }
}

/// A database waits for a person, who alone can say what may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The lab.
    pub lab: LabName,
    /// What has to be decided.
    pub what: String,
    /// The members from whose data a Galera cluster can be started.
    pub start_from: Vec<String>,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a person has to decide: {}", self.what)
    }
}

impl Advise for Undecided {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        let Undecided { lab, start_from, .. } = self;
        let from = start_from.iter().map(|member| Hint::Recover { lab: lab.clone(), member: member.clone() });
        let last = if start_from.is_empty() { Some(Hint::Anew { lab: lab.clone() }) } else { None };
        from.chain([Hint::Status { lab: lab.clone() }]).chain(last).collect()
    }
}

/// Every member's pod that exists.
///
/// # Errors
/// The API server does not answer.
pub async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    cluster.pods(&format!("{COMPONENT}={}", Component::Database.as_str())).await
}

/// Every member's pod that exists, by name; each supervisor is asked, all at once.
///
/// # Errors
/// The API server does not answer. A supervisor that does not is no error.
pub async fn members(cluster: &Cluster) -> Result<Vec<Member>> {
    let pods = pods(cluster).await?;
    Ok(join_all(pods.iter().map(|pod| member(cluster, pod))).await)
}

async fn member(cluster: &Cluster, pod: &Pod) -> Member {
    let name = pod.name_any();
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let answer = if running { cluster.pod_get(&name, HTTP_PORT, "/status").await.ok() } else { None };
    Member {
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        role: pod.labels().get(ROLE).cloned(),
        reads: pod.labels().get(READS).is_some_and(|value| value == "true"),
        pod_waits: match ready::pod(Some(pod)) {
            Look::Ready(()) => None,
            Look::NotYet(reason) => Some(reason),
        },
        status: answer.and_then(|json| MemberStatus::parse(&json).ok()),
        name,
    }
}

/// SQL to one member from this machine; the way through the API server ends with it.
#[derive(Debug)]
pub struct Connection {
    /// The session, logged in as the site's account in the site's database.
    pub sql: Session,
    _forward: Forward,
}

/// Connects to one member as the site does: the account `wordpress`, TLS under the lab's authority.
///
/// # Errors
/// There is no such pod or Secret, or the server does not let us in.
pub async fn connect(cluster: &Cluster, pod: &str) -> Result<Connection> {
    connect_within(cluster, pod, PATIENCE).await
}

/// The same with another limit for the connection and each statement.
///
/// # Errors
/// As [`connect`].
pub async fn connect_within(cluster: &Cluster, pod: &str, patience: std::time::Duration) -> Result<Connection> {
    let [password] = cluster.secret_values(CREDENTIALS, ["wordpress-password"]).await?;
    let [ca] = cluster.secret_values(TLS, ["ca.crt"]).await?;
    let forward = cluster.forward(pod, MYSQL_PORT).await?;
    let way = Way::Forward { addr: forward.addr, ca };
    let sql = Session::connect(&way, WORDPRESS, &password, Some(WORDPRESS), patience).await;
    Ok(Connection { sql: sql.with_context(|| format!("cannot log in to {pod}"))?, _forward: forward })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_needs_a_decision_is_waited_for_a_while_and_then_no_more() {
        let member = |state| {
            let (note, start_from) = ("db-2 lost its data".to_owned(), vec!["db-0".to_owned()]);
            let status = Some(MemberStatus { state, note, start_from, since: 100, ..MemberStatus::default() });
            Member { name: "db-1".into(), node: None, role: None, reads: false, pod_waits: None, status }
        };
        let lab = LabName::new("demo").expect("a name");
        assert_eq!(member(State::Stuck).stuck(&lab, 110), None);
        let stuck = member(State::Stuck).stuck(&lab, 116).expect("long enough");
        assert_eq!(stuck.to_string(), "a person has to decide: db-1: db-2 lost its data");
        assert_eq!(stuck.hints()[0], Hint::Recover { lab: lab.clone(), member: "db-0".into() });
        assert_eq!(member(State::Waiting).stuck(&lab, 900), None);
    }

    #[test]
    fn an_unready_member_tells_the_reason_that_is_nearest_to_the_cause() {
        let server = ServerFacts { semi_sync: true, ..ServerFacts::default() };
        let healthy = MemberStatus { state: State::Source, server: Some(server), ..MemberStatus::default() };
        let waiting =
            MemberStatus { state: State::Waiting, note: "nobody to copy from".into(), ..MemberStatus::default() };
        let table = [
            (None, None, Some("its supervisor does not answer")),
            (Some("no node"), None, Some("no node")),
            (Some("not ready"), Some(waiting), Some("waiting: nobody to copy from")),
            (Some("not ready"), Some(healthy.clone()), Some("not ready")),
            (None, Some(healthy), None),
        ];
        for (pod_waits, status, wanted) in table {
            let pod_waits = pod_waits.map(str::to_owned);
            let member = Member { name: "db-1".into(), node: None, role: None, reads: false, pod_waits, status };
            assert_eq!(member.unready().as_deref(), wanted);
        }
    }
}

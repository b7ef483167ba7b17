//! The steps in a trial cluster's life: what is done, what is waited for, and by what it is seen to have held.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{
    containers::{Containers, ETCD, MEMBERS},
    report::last,
    traces,
};
use crate::{
    inside::{
        member::status::{GaleraFacts, MemberStatus, State},
        trial::{Facts, Read},
    },
    run::{StepCx, wait::Look},
};

/// How long etcd may take to answer.
const ETCD_LIMIT: Duration = Duration::from_secs(60);
/// How long a member may take to make its data and begin, or to get a whole copy; on a slow disk that is a minute.
const MEMBER_LIMIT: Duration = Duration::from_secs(240);
/// How long a row may take to the other member.
const ROW_LIMIT: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(400);
/// How often a server may end by itself before it is part of the cluster. The supervisor would go on for ever.
const FALLS: usize = 2;
/// Rows: written while both are there, and while one is away.
const FIRST: &[u32] = &[1];
const MEANWHILE: &[u32] = &[2, 3, 4];

/// The cluster on its way.
pub(super) struct Course<'a> {
    pub(super) cx: &'a StepCx,
    pub(super) containers: &'a Containers<'a>,
}

impl Course<'_> {
    pub(super) async fn etcd(&self) -> Result<Vec<String>> {
        self.containers.start(ETCD).await?;
        let look = || async {
            self.still_runs(ETCD).await?;
            let asked = self.containers.ask::<String>(ETCD, &["etcd"]).await;
            Ok(asked.map_or_else(|error| Look::NotYet(format!("{error:#}")), Look::Ready))
        };
        let version = self.cx.until("etcd", ETCD_LIMIT, EVERY, look).await?;
        Ok(vec![format!("etcd {version}")])
    }

    pub(super) async fn begins(&self) -> Result<Vec<String>> {
        let [first, second] = MEMBERS;
        // Nobody begins before all have said that they have nothing.
        for member in MEMBERS {
            self.containers.start(member).await?;
        }
        let facts = self.serving(first, "to begin the cluster", |size| size >= 1).await?;
        let server = self.facts(first).await?;
        ensure!(!traces::began(&self.containers.log(second).await?), "{second} began a cluster of its own");
        Ok(vec![
            format!("server {}, provider {}", server.version, server.provider),
            format!("{first} began cluster {}; {second} did not", facts.cluster_uuid),
        ])
    }

    pub(super) async fn joins(&self) -> Result<Vec<String>> {
        let [first, second] = MEMBERS;
        let b = self.serving(second, "to join", |size| size == 2).await?;
        let a = self.serving(first, "to see both", |size| size == 2).await?;
        let (ours, theirs) = (&a.cluster_uuid, &b.cluster_uuid);
        ensure!(ours == theirs, "{first} is in cluster {ours}, {second} in {theirs}");
        // Its volume was empty, and nobody but the first makes data: whatever it has is a copy.
        let came = format!("{second} came with an empty volume and has all of cluster {theirs}, up to {}", b.seqno);
        let mut seen = vec![came];
        seen.extend(traces::copy(&self.containers.log(second).await?));
        Ok(seen)
    }

    pub(super) async fn encrypted(&self) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        for member in MEMBERS {
            let facts = self.facts(member).await?;
            ensure!(facts.encrypted, "the provider of {member} has socket.ssl off");
            ensure!(facts.secure_only, "{member} has require_secure_transport off");
            let cipher = Some(facts.cipher).filter(|cipher| !cipher.is_empty());
            let cipher = cipher.map(|cipher| format!(", socket.ssl_cipher = {cipher}")).unwrap_or_default();
            seen.push(format!("{member}: socket.ssl = YES{cipher}"));
            seen.extend(traces::connections(&self.containers.log(member).await?));
        }
        let [first, second] = MEMBERS;
        let refused: String = self.containers.ask(second, &["unencrypted", first]).await?;
        seen.push(format!("a client without TLS was told: {refused}"));
        Ok(seen)
    }

    pub(super) async fn row(&self) -> Result<Vec<String>> {
        let [first, second] = MEMBERS;
        // Each time from the other one's container, as a client on the network.
        self.write(second, first, FIRST).await?;
        let read = self.rows(first, second, FIRST).await?;
        Ok(vec![
            format!("row {} written at {first}, read at {second}", list(FIRST)),
            format!("the connection to {second}: {} {}", read.tls, read.cipher),
        ])
    }

    pub(super) async fn rejoins(&self) -> Result<Vec<String>> {
        let [first, second] = MEMBERS;
        let before = self.facts(second).await?;
        self.end(second).await?;
        let so_far = self.containers.log(second).await?.len();
        self.serving(first, "to go on alone", |size| size == 1).await?;
        self.write(first, first, MEANWHILE).await?;
        self.containers.start(second).await?;
        self.serving(second, "to come back", |size| size == 2).await?;
        self.rows(first, second, &[FIRST, MEANWHILE].concat()).await?;
        let after = self.facts(second).await?;
        let log = self.containers.log(second).await?;
        let since = log.get(so_far..).unwrap_or_default();
        if before.born != after.born {
            let copied = traces::copy(since).join("; ");
            bail!("{second} came back by a whole copy: its main data file is another one; {copied}");
        }
        let mut seen = vec![
            format!("rows {} written at {first} while {second} was away, read at {second}", list(MEANWHILE)),
            format!("{second} still has the data files that it had before"),
        ];
        seen.extend(traces::changes(since));
        Ok(seen)
    }

    pub(super) async fn stops(&self) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        for member in MEMBERS.into_iter().rev() {
            self.end(member).await?;
            seen.push(format!("{member} ended with 0"));
        }
        Ok(seen)
    }

    async fn end(&self, member: &str) -> Result<()> {
        let code = self.containers.stop(member).await?;
        ensure!(code == 0, "{member} ended with {code} when it was told to stop");
        Ok(())
    }

    /// A member that serves in a cluster of the wanted size.
    async fn serving(&self, member: &str, what: &str, wanted: impl Fn(u32) -> bool) -> Result<GaleraFacts> {
        let falls = Mutex::new(BTreeSet::new());
        let look = || async {
            self.still_runs(member).await?;
            let status = match self.containers.ask::<MemberStatus>(member, &["status"]).await {
                Ok(status) => status,
                Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
            };
            if let Some(fell) = fell(&status) {
                let mut falls = falls.lock().unwrap_or_else(PoisonError::into_inner);
                falls.insert(fell);
                if falls.len() >= FALLS {
                    bail!("{}", status.note);
                }
            }
            let unready = status.unready();
            let facts = status.galera.unwrap_or_default();
            Ok(match unready {
                Some(why) => Look::NotYet(why),
                None if wanted(facts.size) => Look::Ready(facts),
                None => Look::NotYet(format!("it sees a cluster of {}", facts.size)),
            })
        };
        let waited = self.cx.until(&format!("{member} {what}"), MEMBER_LIMIT, EVERY, look).await;
        let Err(error) = waited else { return waited };
        let said = traces::errors(&self.containers.log(member).await.unwrap_or_default());
        let said = if said.is_empty() { "tells no error".to_owned() } else { format!("says: {}", said.join("; ")) };
        Err(anyhow!("{member} was {what}: {error:#}; its log {said}"))
    }

    async fn still_runs(&self, name: &str) -> Result<()> {
        let Some(code) = self.containers.ended(name).await? else { return Ok(()) };
        let log = self.containers.log(name).await.unwrap_or_default();
        bail!("the container of {name} ended with {code}: {}", last(&log, 3).replace('\n', "; "))
    }

    async fn facts(&self, member: &str) -> Result<Facts> {
        self.containers.ask(member, &["facts"]).await.with_context(|| format!("cannot ask the server of {member}"))
    }

    async fn write(&self, from: &str, at: &str, rows: &[u32]) -> Result<()> {
        let numbers: Vec<String> = rows.iter().map(u32::to_string).collect();
        let question: Vec<&str> = ["write", at].into_iter().chain(numbers.iter().map(String::as_str)).collect();
        let written: Result<u32> = self.containers.ask(from, &question).await;
        written.map(drop).with_context(|| format!("cannot write at {at}"))
    }

    async fn rows(&self, from: &str, at: &str, wanted: &[u32]) -> Result<Read> {
        let look = || async {
            Ok(match self.containers.ask::<Read>(from, &["read", at]).await {
                Ok(read) if read.rows == wanted && !read.cipher.is_empty() => Look::Ready(read),
                Ok(read) if read.rows == wanted => bail!("the connection to {at} has no cipher"),
                Ok(read) => Look::NotYet(format!("it has rows {}", list(&read.rows))),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        };
        self.cx.until(&format!("rows {} at {at}", list(wanted)), ROW_LIMIT, EVERY, look).await
    }
}

fn list(rows: &[u32]) -> String {
    rows.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// When a server ended by itself, if that is what the status tells: the supervisor says so, and goes on.
fn fell(status: &MemberStatus) -> Option<u64> {
    let fell = status.state == State::Starting && status.note.contains("ended by itself");
    (fell && status.galera.is_none()).then_some(status.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_by_itself_is_counted_once_for_each_time() {
        let status =
            |state, note: &str, since| MemberStatus { state, note: note.into(), since, ..MemberStatus::default() };
        let note = "the server ended by itself once (Code(1)); its log says why";
        assert_eq!(fell(&status(State::Starting, note, 7)), Some(7));
        assert_eq!(fell(&status(State::Starting, "", 7)), None, "it has not begun");
        assert_eq!(fell(&status(State::Joining, "the server does not answer yet", 9)), None);
    }
}

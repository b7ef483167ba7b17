//! Where the members find each other: one folder of etcd. The only file that knows its keys.
//!
//! | key below `/wplab/galera/` | what | until |
//! |---|---|---|
//! | `members/NAME` | a member's [`Record`], as JSON | its lease ends: 10 s after its last sign of life |
//! | `bootstrap` | who starts the cluster now | the cluster is up, or the same lease ends |
//! | `initialised` | the uuid of the last cluster that came up | for ever |
//! | `beginning` | how the last cluster began that began with no data ([`Beginning`]), as JSON | for ever |
//! | `known/NAME` | this member has had data | for ever |
//! | `force` | the member that the operator chose | the cluster is up |
//!
//! The lease may end while a slow first start goes on. That makes no second cluster: the record goes with the lock, and
//! comes back as [`Phase::Bootstrapping`], so that never everybody waits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::decide::{Beginning, Phase, Position, Record, Seen, Snapshot};
use crate::{
    inside::log,
    wire::etcd::{Etcd, KeyValue, Lease, Then, When},
};

const ROOT: &str = "/wplab/galera/";
const LOCK: &str = "/wplab/galera/bootstrap";
const INITIALISED: &str = "/wplab/galera/initialised";
const BEGINNING: &str = "/wplab/galera/beginning";
const FORCE: &str = "/wplab/galera/force";

/// How long a member that gives no sign of life is believed to be there.
pub const TTL: Duration = Duration::from_secs(10);
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(3);
/// Somebody else would have to write a member's own record as often between two requests.
const ATTEMPTS: usize = 3;

/// One member's way to the others.
pub struct Registry {
    etcd: Etcd,
    me: String,
    lease: Option<Lease>,
    /// What etcd should hold about this member.
    record: Option<Record>,
    /// A write did not come back as done: what etcd holds may be something else than `record`.
    unsure: bool,
    /// The cluster that this member came up in, remembered for an etcd that forgets.
    uuid: Option<String>,
    beaten: Option<Instant>,
}

impl Registry {
    /// For the member of this name; nothing is written yet.
    pub fn new(etcd: Etcd, me: &str) -> Registry {
        Registry { etcd, me: me.to_owned(), lease: None, record: None, unsure: false, uuid: None, beaten: None }
    }

    /// Says what this member does now, under a lease that [`Registry::beat`] keeps alive. Who says that it waits also
    /// gives up a bootstrap lock that it left from an earlier attempt.
    ///
    /// # Errors
    /// etcd does not answer; `beat` tries again.
    pub async fn publish(&mut self, record: &Record) -> Result<()> {
        self.record = Some(record.clone());
        self.write().await.context("cannot register in etcd")
    }

    /// Shows that this member lives; called about every second, does something every 3. Registers again when the lease is
    /// gone (etcd was away for too long, or has lost everything), and when an earlier write may not have arrived.
    ///
    /// # Errors
    /// etcd does not answer; the next call tries again.
    pub async fn beat(&mut self) -> Result<()> {
        let due = self.beaten.is_none_or(|beaten| beaten.elapsed() >= BEAT);
        if self.record.is_none() || !(due || self.unsure) {
            return Ok(());
        }
        let lives = match self.lease {
            Some(lease) => self.etcd.keep_alive(lease).await.context("cannot keep the lease in etcd")?,
            None => false,
        };
        if lives && !self.unsure {
            self.beaten = Some(Instant::now());
            return Ok(());
        }
        self.write().await.context("cannot register in etcd again")?;
        if !lives {
            log("registered in etcd again, under a new lease");
            self.remind().await?;
        }
        Ok(())
    }

    /// All that etcd holds, of one revision.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        read(&self.etcd).await
    }

    /// Takes the lock and becomes [`Phase::Bootstrapping`], in one transaction that is done only if nothing has changed
    /// since `seen` was read: no lock, every record still the one that was judged, nobody new, the operator's choice the
    /// same. `false`: somebody was faster; look again. With a `beginning`, the others are told of it by the same transaction.
    ///
    /// # Errors
    /// etcd does not answer. Should the transaction have been done all the same, `beat` takes it back.
    pub async fn claim(&mut self, seen: &Snapshot, record: &Record, beginning: Option<&Beginning>) -> Result<bool> {
        let (Some(lease), None, true) = (self.lease, &seen.bootstrap, seen.members.contains_key(&self.me)) else {
            return Ok(false);
        };
        let mut when = vec![
            When::Absent(LOCK.to_owned()),
            // Members that had no record have none now.
            When::NothingAfter { prefix: ROOT.to_owned(), revision: seen.revision },
        ];
        when.extend(seen.members.iter().map(|(name, s)| When::Unchanged { key: member(name), modified: s.modified }));
        when.extend(seen.force.iter().map(|value| When::Holds { key: FORCE.to_owned(), value: value.clone() }));
        let record = Record { phase: Phase::Bootstrapping, ..record.clone() };
        let mut then = vec![
            Then::Put { key: LOCK.to_owned(), value: self.me.clone(), lease: Some(lease) },
            Then::Put { key: member(&self.me), value: serde_json::to_string(&record)?, lease: Some(lease) },
        ];
        if let Some(beginning) = beginning {
            let value = serde_json::to_string(beginning)?;
            then.push(Then::Put { key: BEGINNING.to_owned(), value, lease: None });
        }
        self.unsure = true;
        let mut won = self.etcd.transact(&when, &then).await.context("cannot claim the start of the cluster")?;
        if !won {
            // It may have been done at an endpoint whose answer was lost. There was no lock when the snapshot was taken,
            // and nobody else writes this name into it.
            won = self.etcd.get(LOCK).await?.as_deref() == Some(&self.me);
        }
        if won {
            self.record = Some(record);
        }
        self.unsure = false;
        Ok(won)
    }

    /// Gives up this member's own bootstrap lock, if there is one.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn release(&mut self) -> Result<()> {
        let mine = When::Holds { key: LOCK.to_owned(), value: self.me.clone() };
        let done = self.etcd.transact(&[mine], &[Then::Delete(LOCK.to_owned())]).await;
        done.map(drop).context("cannot release the bootstrap lock in etcd")
    }

    /// This member is part of the primary component of this cluster: it is known from now on, and the operator's choice has
    /// served. A lock of its own is released. May be called as often as one likes.
    ///
    /// # Errors
    /// etcd does not answer; to be called again.
    pub async fn established(&mut self, uuid: &str) -> Result<()> {
        self.uuid = Some(uuid.to_owned());
        let then = [
            Then::Put { key: INITIALISED.to_owned(), value: uuid.to_owned(), lease: None },
            Then::Put { key: known(&self.me), value: uuid.to_owned(), lease: None },
            // Whoever it names: a choice that stayed would decide the next outage too.
            Then::Delete(FORCE.to_owned()),
        ];
        self.etcd.transact(&[], &then).await.context("cannot tell etcd that the cluster is up")?;
        self.release().await
    }

    /// Writes the operator's choice.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn force(&self, member: &str) -> Result<()> {
        let put = self.etcd.put(FORCE, member, None).await;
        put.with_context(|| format!("cannot tell etcd that {member} was chosen"))
    }

    /// This member stops: its record is gone at once.
    ///
    /// # Errors
    /// etcd does not answer; the record ends with its lease.
    pub async fn leave(&mut self) -> Result<()> {
        self.record = None;
        match self.lease.take() {
            Some(lease) => self.etcd.revoke(lease).await.context("cannot leave etcd"),
            None => Ok(()),
        }
    }

    /// Makes etcd hold `record`.
    ///
    /// Only over what was read just before, so that a write that etcd carried out late cannot undo a newer one: a member
    /// that is in the cluster must never look as if it waited.
    async fn write(&mut self) -> Result<()> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        self.unsure = true;
        let lease = match self.lease {
            Some(lease) if self.etcd.keep_alive(lease).await? => lease,
            _ => self.etcd.grant(TTL).await?,
        };
        self.lease = Some(lease);
        self.beaten = Some(Instant::now());
        let (key, value) = (member(&self.me), serde_json::to_string(&record)?);
        for _ in 0..ATTEMPTS {
            let when = match self.etcd.look(&key).await? {
                Some(found) => When::Unchanged { key: key.clone(), modified: found.modified },
                None => When::Absent(key.clone()),
            };
            let put = Then::Put { key: key.clone(), value: value.clone(), lease: Some(lease) };
            if self.etcd.transact(&[when], &[put]).await? {
                if record.phase == Phase::Waiting {
                    self.release().await?;
                }
                self.unsure = false;
                return Ok(());
            }
        }
        bail!("somebody else writes the record of {} too", self.me)
    }

    /// Tells an etcd that has lost everything what this member remembers, and one that has not nothing new.
    async fn remind(&self) -> Result<()> {
        let Some(uuid) = &self.uuid else { return Ok(()) };
        for key in [INITIALISED.to_owned(), known(&self.me)] {
            let put = Then::Put { key: key.clone(), value: uuid.clone(), lease: None };
            self.etcd.transact(&[When::Absent(key)], &[put]).await?;
        }
        Ok(())
    }
}

/// All that etcd holds about the cluster; for whoever is no member.
///
/// # Errors
/// etcd does not answer.
pub async fn read(etcd: &Etcd) -> Result<Snapshot> {
    Ok(snapshot(etcd.under(ROOT).await.context("cannot read the members in etcd")?))
}

fn member(name: &str) -> String {
    format!("{ROOT}members/{name}")
}

fn known(name: &str) -> String {
    format!("{ROOT}known/{name}")
}

fn snapshot(keys: Vec<KeyValue>) -> Snapshot {
    let mut seen = Snapshot::default();
    for KeyValue { key, value, modified, .. } in keys {
        seen.revision = seen.revision.max(modified);
        match key.strip_prefix(ROOT).unwrap_or_default().split_once('/') {
            Some(("members", name)) => {
                // A record that nobody can read starts nothing, and keeps nobody from joining.
                let record = serde_json::from_str(&value).unwrap_or_else(|_| unreadable());
                seen.members.insert(name.to_owned(), Seen { record, modified });
            }
            Some(("known", name)) => drop(seen.known.insert(name.to_owned())),
            _ if key == LOCK => seen.bootstrap = Some(value),
            _ if key == INITIALISED => seen.initialised = Some(value),
            // One that nobody can read helps nobody: members copy.
            _ if key == BEGINNING => seen.beginning = serde_json::from_str(&value).ok(),
            _ if key == FORCE => seen.force = Some(value),
            _ => {}
        }
    }
    seen
}

fn unreadable() -> Record {
    Record {
        phase: Phase::Broken,
        position: Position::Unusable,
        address: String::new(),
        safe: false,
        known: std::collections::BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, value: &str, modified: i64) -> KeyValue {
        KeyValue { key: format!("{ROOT}{key}"), value: value.to_owned(), created: 1, modified }
    }

    #[test]
    fn a_snapshot_is_what_the_keys_say() {
        let record = r#"{"phase":"waiting","position":{"at":{"uuid":"u","seqno":7}},"address":"10.0.0.4","safe":true}"#;
        let seen = snapshot(vec![
            key("beginning", r#"{"uuid":"u","recipe":"r"}"#, 3),
            key("bootstrap", "db-1", 4),
            key("force", "db-2", 5),
            key("initialised", "u", 2),
            key("known/db-0", "u", 9),
            key("members/db-0", record, 8),
            key("members/db-1", "{}", 3),
            key("something-newer", "", 1),
        ]);
        let first = &seen.members["db-0"];
        assert_eq!(
            (first.record.phase, first.record.position.data(), first.modified),
            (Phase::Waiting, Some(("u", 7)), 8)
        );
        assert_eq!(seen.members["db-1"].record.phase, Phase::Broken);
        assert_eq!(seen.beginning, Some(Beginning { uuid: "u".into(), recipe: "r".into() }));
        assert_eq!((seen.bootstrap.as_deref(), seen.force.as_deref()), (Some("db-1"), Some("db-2")));
        assert_eq!((seen.initialised.as_deref(), seen.known.contains("db-0"), seen.revision), (Some("u"), true, 9));
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for position in [Position::Empty, Position::Unusable, Position::At { uuid: "u".into(), seqno: -1 }] {
            let record = Record { position, known: ["db-1".to_owned()].into(), ..unreadable() };
            let text = serde_json::to_string(&record).expect("JSON");
            assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
        }
    }
}

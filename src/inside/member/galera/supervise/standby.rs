//! A member without a server: it finds out how far its data goes, tells the others, and starts its server as the election
//! says: as the first of a cluster, or joining one.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use futures_util::future::join_all;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    Member,
    alike::{Own, new_uuid},
};
use crate::inside::{
    log,
    member::{
        galera::{
            decide::{Beginning, Decision, Phase, Position, Record, Snapshot, decide},
            server::{self, GALERA_PORT, How},
            volume::Data,
            watch::Course,
        },
        status::State,
    },
};

/// How long a member waits for another one that is joining.
const MANNERS: Duration = Duration::from_secs(120);
/// The pause before the position is read again, when that failed.
const UNREADABLE: Duration = Duration::from_secs(10);
/// How long a member may take to take a connection before it is not believed to be in the cluster.
const KNOCKING: Duration = Duration::from_secs(2);

impl Member {
    /// Without a server: know the position, report it, take part in the election.
    pub(super) async fn stand_by(&mut self) -> Result<()> {
        let position = match &self.position {
            Some(position) => position.clone(),
            None => {
                let position = self.recover().await?;
                self.reported = false;
                self.position.insert(position).clone()
            }
        };
        self.make_draft(&position).await;
        if !self.reported {
            let register = self.reporter.publish(&self.record(Phase::Waiting, &position)).await;
            self.await_etcd(register)?;
            self.reported = true;
        }
        let seen = self.reporter.snapshot().await;
        let seen = self.await_etcd(seen)?;
        let decision = decide(&self.config.name, &self.config.members(), &seen);
        if !matches!(decision, Decision::Join { .. }) {
            (self.polite_since, self.barred_since) = (None, None);
        }
        match decision {
            Decision::Join { peers } => self.join(&seen, peers, position).await,
            Decision::Bootstrap => self.bootstrap(&seen, position).await,
            Decision::Wait(reason) => {
                if position == Position::Empty {
                    self.begin_alike(&seen).await;
                }
                self.board.undecided(State::Waiting, &reason.why, &reason.start_from);
                Ok(())
            }
            Decision::Refuse(reason) => {
                self.board.undecided(State::Stuck, &reason.why, &reason.start_from);
                Ok(())
            }
        }
    }

    /// While etcd is silent nobody is told to start.
    fn await_etcd<T>(&self, answer: Result<T>) -> Result<T> {
        if answer.is_err() {
            self.board.enter(State::Waiting, "for etcd, without which nothing is started");
        }
        answer
    }

    async fn recover(&mut self) -> Result<Position> {
        self.board.enter(State::Recovering, "");
        let data = self.volume.data();
        self.board.change(|status| status.has_data = data == Data::Present);
        let found = match data {
            Data::Empty => Ok(Position::Empty),
            Data::Unusable => Ok(Position::Unusable),
            Data::Present => server::recover(&self.config, &self.volume.datadir()).await,
        };
        match found {
            Ok(position) => {
                log(&format!("this member's data: {position:?}"));
                Ok(position)
            }
            Err(error) => {
                self.not_before = Instant::now() + UNREADABLE;
                self.board.enter(State::Stuck, "the position of this member's data cannot be read");
                // The others must know that there is data whose position is unknown.
                let _ = self.reporter.publish(&self.record(Phase::Broken, &Position::Unusable)).await;
                Err(error)
            }
        }
    }

    pub(super) fn record(&self, phase: Phase, position: &Position) -> Record {
        Record {
            phase,
            position: position.clone(),
            address: self.config.address.to_string(),
            safe: self.volume.safe_to_bootstrap(),
            known: self.volume.known(),
        }
    }

    async fn join(&mut self, seen: &Snapshot, peers: Vec<(String, String)>, position: Position) -> Result<()> {
        let open = join_all(peers.iter().map(|(_, address)| knock(address))).await;
        let addresses: Vec<String> =
            peers.iter().zip(open).filter(|(_, open)| *open).map(|((_, address), _)| address.clone()).collect();
        if addresses.is_empty() {
            // Right after everybody was killed, the records of who was in the cluster live on for seconds.
            let names: Vec<&str> = peers.iter().map(|(name, _)| name.as_str()).collect();
            let note =
                format!("no answer on port {GALERA_PORT} from {}, registered as in the cluster", names.join(", "));
            self.board.enter(State::Waiting, &note);
            return Ok(());
        }
        if position == Position::Empty {
            self.begin_alike(seen).await;
        }
        if self.is_barred(&peers).await {
            return Ok(());
        }
        // One at a time: of two that join at once, the second may get too little from the first. Both may say it in the same
        // moment, so it is said first and looked at then; whoever said it first, by etcd's own count, goes on.
        let in_time = self.polite_since.get_or_insert_with(Instant::now).elapsed() < MANNERS;
        if in_time && self.gives_way(seen) {
            return Ok(());
        }
        let register = self.reporter.publish(&self.record(Phase::Joining, &position)).await;
        // Whatever happens now, the next turn begins anew.
        self.position = None;
        self.await_etcd(register)?;
        let now = self.reporter.snapshot().await;
        let now = self.await_etcd(now)?;
        if in_time && self.gives_way(&now) {
            (self.position, self.reported) = (Some(position), false);
            return Ok(());
        }
        self.polite_since = None;
        self.remember_known(seen)?;
        let begun = self.begun_with(&now, &peers);
        if begun.is_none() && self.volume.data() != Data::Present {
            self.volume.clear(true)?;
        }
        self.start(&begun.unwrap_or(position), How::Join(addresses))
    }

    /// Whether another one has said before this member that it joins.
    fn gives_way(&self, seen: &Snapshot) -> bool {
        let Some(other) = joining_before(&self.config.name, seen) else { return false };
        self.board.enter(State::Waiting, &format!("{other} is joining; one at a time"));
        true
    }

    async fn bootstrap(&mut self, seen: &Snapshot, position: Position) -> Result<()> {
        self.board.enter(State::Bootstrapping, "");
        let new = self.volume.data() != Data::Present;
        let beginning = match new && self.config.alike {
            true => Some(Beginning { uuid: new_uuid(), recipe: self.config.flavour.recipe()? }),
            false => None,
        };
        let record = self.record(Phase::Bootstrapping, &position);
        let claimed = self.reporter.claim(seen, &record, beginning.as_ref()).await;
        if !self.await_etcd(claimed)? {
            self.board.enter(State::Waiting, "something has changed since this member was chosen");
            return Ok(());
        }
        // From here on a failure leads to a new report, which gives up the claim.
        self.position = None;
        self.remember_known(seen)?;
        let own = std::mem::replace(&mut self.own, Own::Never);
        if new {
            if own != Own::Draft {
                self.board.enter(State::Initialising, "the lab's data");
                self.drafted().await?;
            }
            if let Some(beginning) = &beginning {
                self.volume.begin_history(&beginning.uuid)?;
            }
            self.volume.adopt()?;
        }
        self.volume.allow_bootstrap()?;
        let begins = beginning.map(|beginning| Position::At { uuid: beginning.uuid, seqno: 0 });
        self.start(&begins.unwrap_or(position), How::Bootstrap)
    }

    /// Who has had data must not depend on etcd's memory, nor on whether this member's next hour goes well.
    fn remember_known(&self, seen: &Snapshot) -> Result<()> {
        let theirs = seen.members.values().flat_map(|found| &found.record.known);
        self.volume.remember(seen.known.iter().chain(theirs).cloned())
    }

    fn start(&mut self, position: &Position, how: How) -> Result<()> {
        self.volume.forget_view()?;
        (self.hopeless_since, self.barred_since, self.fell) = (None, None, None);
        self.course = Course::begin(how == How::Bootstrap);
        self.board.enter(self.course.starting(Instant::now()), "");
        self.accounts = self.volume.lacks_accounts().then(|| server::accounts(&self.config)).transpose()?;
        let accounts = self.accounts.as_ref();
        self.server = Some(server::start(&self.config, &self.volume.datadir(), position, &how, accounts)?);
        Ok(())
    }
}

/// Who else is joining, and has said so before this member did, if it did.
fn joining_before<'a>(me: &str, seen: &'a Snapshot) -> Option<&'a str> {
    let joining = |name: &str| seen.members.get(name).filter(|found| found.record.phase == Phase::Joining);
    let mine = joining(me).map_or(i64::MAX, |found| found.modified);
    let mut others = seen.members.keys().filter(|name| *name != me);
    others.find(|name| joining(name).is_some_and(|found| found.modified < mine)).map(String::as_str)
}

/// Whether a member takes connections of other members.
async fn knock(address: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    timeout(KNOCKING, TcpStream::connect((address, GALERA_PORT))).await.is_ok_and(|open| open.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::galera::decide::Seen;

    fn seen(members: &[(&str, Phase, i64)]) -> Snapshot {
        let members = members.iter().map(|(name, phase, modified)| {
            let position = Position::Empty;
            let record =
                Record { phase: *phase, position, address: String::new(), safe: false, known: Default::default() };
            ((*name).to_owned(), Seen { record, modified: *modified })
        });
        Snapshot { members: members.collect(), ..Snapshot::default() }
    }

    #[test]
    fn of_two_that_join_at_once_exactly_one_goes_on() {
        let both = seen(&[("db-0", Phase::Primary, 1), ("db-1", Phase::Joining, 9), ("db-2", Phase::Joining, 8)]);
        assert_eq!(joining_before("db-1", &both), Some("db-2"));
        assert_eq!(joining_before("db-2", &both), None);
        let one = seen(&[("db-0", Phase::Primary, 1), ("db-1", Phase::Joining, 9), ("db-2", Phase::Waiting, 8)]);
        assert_eq!(joining_before("db-2", &one), Some("db-1"), "whoever has not said it yet is later");
        assert_eq!(joining_before("db-1", &one), None);
    }
}

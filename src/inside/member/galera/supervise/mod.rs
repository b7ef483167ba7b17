//! The member's loop: look, decide, do. Without a server it waits for the election (`standby`); with one it watches over it.
//! Nothing is ever given up, so the container does not crash-loop while it waits for others.

mod alike;
mod barred;
mod cure;
mod standby;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use self::alike::Own;
use super::{
    config::Config,
    decide::{Phase, Position, Record},
    look,
    reporter::{Reporter, Wanted},
    volume::Volume,
    watch::{Course, Place},
};
use crate::{
    inside::{
        log,
        member::{
            files::InitFile,
            http,
            process::{self, Process},
            status::{Board, GaleraFacts, State},
            turns::{Turns, pause},
        },
        stop_signal,
    },
    wire::sql::Session,
};

/// How long the server may take to stop; less than the pod's grace period.
const STOPPING: Duration = Duration::from_secs(45);
/// The same, when it is started again at once: one whose Galera has failed may never end by itself.
const RESTARTING: Duration = Duration::from_secs(10);

/// Runs the member until SIGTERM or SIGINT.
///
/// # Errors
/// The pod cannot do its work at all: the port is taken, there is no server, the operating system refuses.
pub(super) async fn run(config: Config) -> Result<()> {
    let program = config.flavour.server;
    let path = std::env::var_os("PATH").unwrap_or_default();
    ensure!(std::env::split_paths(&path).any(|dir| dir.join(program).is_file()), "this image has no {program}");
    let board = Board::new(&config.name);
    let (stop, turns) = (stop_signal()?, Turns::begin()?);
    http::serve(config.status_port, board.clone()).await?;
    let reporter = Reporter::start(config.registry()?);
    let mut member = Member::new(config, board, reporter);
    tokio::select! {
        () = member.live(turns) => {}
        () = stop => {}
    }
    member.stop().await
}

/// A member at work.
struct Member {
    config: Config,
    volume: Volume,
    board: Board,
    reporter: Reporter,
    /// How far the stopped data goes; `None` when that is not known: a server runs, or has run since it was read.
    position: Option<Position>,
    /// Whether etcd has been told of it.
    reported: bool,
    server: Option<Process>,
    session: Option<Session>,
    /// What it runs first, while its accounts get other passwords.
    accounts: Option<InitFile>,
    /// The way of the running server.
    course: Course,
    /// What it has made itself for a cluster that begins.
    own: Own,
    /// Since when it could have joined but for another one that is joining.
    polite_since: Option<Instant>,
    /// Since when a server that joins has had nobody in the cluster to join.
    hopeless_since: Option<Instant>,
    /// Since when it could have joined but for what the others still take it for.
    barred_since: Option<Instant>,
    /// When the last server ended without taking leave, as far as this process knows.
    fell: Option<Instant>,
    /// When it is measured again how far the server has come.
    measured: Instant,
    /// How often in a row the server ended by itself, and when something may be tried again.
    falls: u32,
    not_before: Instant,
}

impl Member {
    fn new(config: Config, board: Board, reporter: Reporter) -> Member {
        let volume = Volume::new(&config.paths.volume, &config.name);
        let course = Course::begin(true);
        let not_before = Instant::now();
        Member {
            config,
            volume,
            board,
            reporter,
            position: None,
            reported: false,
            server: None,
            session: None,
            accounts: None,
            course,
            own: Own::Nothing,
            polite_since: None,
            hopeless_since: None,
            barred_since: None,
            fell: None,
            measured: not_before,
            falls: 0,
            not_before,
        }
    }

    async fn live(&mut self, mut turns: Turns) {
        loop {
            turns.next(self.server.as_ref().and_then(Process::pid), self.board.serves()).await;
            let done = self.turn().await;
            let trouble = done.err().map_or_else(|| self.reporter.trouble(), |error| format!("{error:#}"));
            self.board.trouble(&trouble);
        }
    }

    async fn turn(&mut self) -> Result<()> {
        self.notice_end()?;
        let (members, falls) = (self.config.size(), self.falls);
        self.board.change(|status| (status.members, status.falls) = (members, falls));
        if self.server.is_some() {
            self.watch().await
        } else if Instant::now() >= self.not_before {
            self.stand_by().await
        } else {
            Ok(())
        }
    }

    /// Takes note of a server that has ended by itself.
    fn notice_end(&mut self) -> Result<()> {
        let Some(ended) = self.server.as_mut().map(Process::ended).transpose()?.flatten() else { return Ok(()) };
        self.forget_server();
        let now = Instant::now();
        self.fell = Some(now);
        // The first time there is no pause: reading the position and the others' leave are one.
        self.not_before = now + self.falls.checked_sub(1).map_or(Duration::ZERO, pause);
        self.falls += 1;
        let times = match self.falls {
            1 => "once".to_owned(),
            times => format!("{times} times in a row"),
        };
        let note = format!("the server ended by itself {times} ({ended:?}); its log says why");
        self.board.enter(State::Starting, &note);
        Ok(())
    }

    fn forget_server(&mut self) {
        (self.server, self.session, self.position) = (None, None, None);
        // A copy that was under way goes on for ever where its other end is gone, and keeps its port.
        process::end_orphans();
        self.board.change(|status| status.galera = None);
    }

    /// With a server: look, report, and restart it where it does not help itself.
    async fn watch(&mut self) -> Result<()> {
        if !self.course.was_serving() && self.volume.copying() {
            self.volume.expect_copy()?;
        }
        let facts = self.look().await;
        let present = facts.as_ref().is_some_and(GaleraFacts::serves);
        self.board.change(|status| {
            status.has_data |= present;
            status.galera.clone_from(&facts);
        });
        // Who lets us in with the password has made it so.
        if facts.is_some() && self.accounts.take().is_some() {
            self.volume.has_accounts()?;
        }
        if self.stalls(facts.as_ref()) {
            return self.restart("joining has come no further for a minute").await;
        }
        let Some(facts) = facts else {
            let state = self.course.starting(Instant::now());
            let yet = if self.course.was_serving() { "" } else { " yet" };
            self.board.enter(state, &format!("the server does not answer{yet}"));
            return self.leave_hopeless_join().await;
        };
        self.hopeless_since = None;
        let place = self.course.observe(&facts, Instant::now());
        self.board.enter(place.state(&facts), &place.note(&facts));
        match place {
            Place::Serving => self.serve(&facts)?,
            Place::CutOff | Place::Closed if self.course.was_serving() => {
                self.want(Phase::NonPrimary, &facts, None);
            }
            _ => {}
        }
        self.cure(self.course.remedy(Instant::now())).await
    }

    fn serve(&mut self, facts: &GaleraFacts) -> Result<()> {
        self.falls = 0;
        if self.course.serves_first() {
            self.volume.remember([self.config.name.clone()])?;
            self.volume.copied()?;
            log(&format!("part of cluster {} with {} members at {}", facts.cluster_uuid, facts.size, facts.seqno));
            self.course.served(facts);
        }
        self.want(Phase::Primary, facts, Some(facts.cluster_uuid.clone()));
        Ok(())
    }

    /// Reports without waiting for it. The position is the one at which the member last came into the cluster, so that
    /// there is not a report for every commit.
    fn want(&self, phase: Phase, facts: &GaleraFacts, cluster: Option<String>) {
        let position = Position::At { uuid: facts.cluster_uuid.clone(), seqno: self.course.joined_at() };
        // What Galera has written of its last stop says nothing of a server that runs, and is not read.
        let record = Record {
            phase,
            position,
            address: self.config.address.to_string(),
            safe: false,
            known: self.volume.known(),
        };
        self.reporter.want(Wanted { record, cluster });
    }

    async fn restart(&mut self, reason: &str) -> Result<()> {
        log(&format!("restarting the server: {reason}"));
        self.session = None;
        if let Some(server) = self.server.as_mut() {
            server.stop(RESTARTING).await?;
        }
        self.fell = Some(Instant::now());
        self.forget_server();
        Ok(())
    }

    /// Looks at the running server; `None` when it does not answer, over a new connection either: one that broke, and one look
    /// that took too long, say little.
    async fn look(&mut self) -> Option<GaleraFacts> {
        if let Some(mut session) = self.session.take()
            && let Ok(facts) = look::look(&mut session).await
        {
            self.session = Some(session);
            return Some(facts);
        }
        let mut session = look::connect(&self.config.paths).await.ok()?;
        let facts = look::look(&mut session).await.ok()?;
        self.session = Some(session);
        Some(facts)
    }

    async fn stop(&mut self) -> Result<()> {
        self.board.enter(State::Stopping, "");
        self.session = None;
        let stopped = match self.server.take() {
            Some(mut server) => server.stop(STOPPING).await,
            None => Ok(()),
        };
        // The record goes last: until then this member counts, and nobody is elected without it.
        self.reporter.leave().await;
        stopped.context("while stopping")
    }
}

//! The member's loop: look, decide, do. The member is brought up, kept up and stopped here; nothing is ever given up, so
//! the container does not crash-loop while it waits for others. The agent's orders come between two turns.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    config::Config,
    datadir::{Passwords, Volume, first_start_sql, init_sql, recipe},
    decide::{Action, Data, Observed, Peer, decide},
    errand::{self, CLOSING, Errand, hears_nobody},
    local, mysqld,
    peers::Peers,
};
use crate::{
    inside::{
        log,
        member::{
            files::InitFile,
            http,
            mandate::{Line, Mandate},
            pod::{HTTP_PORT, RUN, VOLUME},
            process::{self, Ended, Process},
            status::{Board, ServerFacts, State},
            turns::{EVERY, Turns, pause},
        },
        stop_signal,
    },
    wire::sql::{Session, error_code},
};

/// How long the server may take to let go of its replicas before it is stopped.
const RELEASING: Duration = Duration::from_secs(3);
/// How long mysqld may take to stop; less than the pod's grace period.
const STOPPING: Duration = Duration::from_secs(45);
/// How long a server that has finished a copy may take to end itself.
const RESTARTING: Duration = Duration::from_secs(120);
/// How long a replica that is to end still takes queries, although it says that it takes none: connections come to it as long as some
/// node has not heard of that.
const LEAVING: Duration = Duration::from_secs(2);
/// How long after a replica stood still for somebody it does so again: everybody with the site's account can ask for it.
const HOLD_AGAIN: Duration = Duration::from_secs(10);
/// How long a source that hears from nobody goes on as if it were one.
const ISOLATION: Duration = Duration::from_secs(10);
const NO_SESSION: &str = "there is no connection to the server";

/// Runs the member until SIGTERM or SIGINT.
///
/// # Errors
/// The pod cannot do its work at all: the port is taken, there is no mysqld, the operating system refuses.
pub(super) async fn run(config: Config) -> Result<()> {
    let board = Board::new(&config.name);
    let (stop, turns) = (stop_signal()?, Turns::begin()?);
    let mut member = Member::new(config, board.clone())?;
    let errands = errand::listen(&board).await?;
    http::serve(HTTP_PORT, board).await?;
    let ended = tokio::select! {
        ended = member.live(turns, errands) => ended,
        () = stop => Ok(()),
    };
    member.stop().await?;
    ended
}

/// A member at work.
pub(super) struct Member {
    config: Config,
    pub(super) volume: Volume,
    pub(super) board: Board,
    pub(super) peers: Peers,
    pub(super) data: Data,
    /// Whether the lab had no data yet, as far as was known, when this supervisor made its data directory.
    first: bool,
    mysqld: Option<Process>,
    pub(super) session: Option<Session>,
    /// How many replicas each write of this server waits for, since it was opened.
    pub(super) acks: Option<u32>,
    /// Whether it acknowledges what it is sent: only once it was told so in this life, because it may have been away while others
    /// ceased to count on it.
    pub(super) acknowledges: bool,
    /// What the server runs before it answers, while it makes its accounts.
    init: Option<InitFile>,
    /// The account for replicas has another password than the one that this server follows with.
    renewed: bool,
    /// How often in a row the server ended by itself, and when it may be started again.
    falls: u32,
    not_before: Instant,
    /// Since when this source has heard from nobody.
    alone_since: Option<Instant>,
    /// When it stood still for somebody last.
    held: Option<Instant>,
}

impl Member {
    fn new(config: Config, board: Board) -> Result<Member> {
        let volume = Volume::new(VOLUME);
        let (data, mandate) = (volume.data(), volume.mandate()?);
        let peers = Peers::new(&config)?;
        // Before anybody can ask: a member that hides its data for a moment would be taken for one that has lost it.
        board.change(|status| {
            status.has_data = data == Data::Present;
            status.mandate = mandate;
            status.recipe = volume.recipe();
            status.aside = volume.kept_aside();
        });
        Ok(Member {
            config,
            volume,
            board,
            peers,
            data,
            first: false,
            mysqld: None,
            session: None,
            acks: None,
            acknowledges: false,
            init: None,
            renewed: false,
            falls: 0,
            not_before: Instant::now(),
            alone_since: None,
            held: None,
        })
    }

    async fn live(&mut self, mut turns: Turns, mut errands: mpsc::Receiver<Errand>) -> Result<()> {
        let mut news = self.peers.news();
        loop {
            // A source whose writes nobody acknowledges yet is waited for like a member that does not serve.
            let rests = self.board.serves() && !self.unheard();
            self.peers.hurry(!rests);
            tokio::select! {
                () = turns.next(self.mysqld.as_ref().and_then(Process::pid), rests) => {}
                // What the others have become may be what this member waits for.
                _ = news.changed(), if !rests => {}
                Some((order, answer)) = errands.recv() => {
                    // Whoever has given up waiting for the answer sees the status anyway.
                    let _ = answer.send(self.obey(&order).await);
                    continue;
                }
            }
            match self.turn().await {
                Err(error) if process::missing(&error) => return Err(error),
                Err(error) => self.board.trouble(&format!("{error:#}")),
                Ok(()) => self.board.trouble(""),
            }
        }
    }

    pub(super) async fn turn(&mut self) -> Result<()> {
        self.notice_end()?;
        let facts = self.look().await;
        let members = self.config.members();
        self.peers.keep_up(&self.config);
        // Who lets us in with the password has made the account.
        if facts.is_some() && self.init.take().is_some() {
            self.volume.has_accounts()?;
            self.renewed = true;
        }
        let peers = self.peers.known();
        let (mandate, falls) = (self.volume.mandate()?, self.falls);
        self.board.change(|status| {
            status.falls = falls;
            status.has_data = self.data == Data::Present;
            status.mandate.clone_from(&mandate);
            status.members = members;
            status.server.clone_from(&facts);
        });
        self.notice_isolation(&peers);
        if facts.as_ref().is_some_and(ServerFacts::serves_as_replica) {
            self.hold().await?;
        }
        if self.mysqld.is_some() && facts.is_none() {
            self.board.enter(State::Starting, "the server does not answer yet");
            return Ok(());
        }
        if self.data == Data::Empty && !self.peers.asked() {
            self.board.enter(State::Starting, "it asks the other members what they have");
            return Ok(());
        }
        let recipe = self.volume.recipe();
        let action = decide(&Observed {
            bootstraps: self.config.bootstraps(),
            lab_initialised: Config::lab_initialised(),
            data: self.data,
            first: self.first.then_some(recipe.as_str()),
            mandate: mandate.as_ref(),
            server: facts.as_ref(),
            peers: &peers,
        });
        self.act(action).await
    }

    async fn act(&mut self, action: Action) -> Result<()> {
        if !matches!(action, Action::Differ { .. }) {
            self.differs(String::new(), false);
        }
        match action {
            Action::Bootstrap => self.initialise(false).await,
            Action::Prepare => {
                self.first = !Config::lab_initialised();
                self.initialise(true).await
            }
            Action::Start => self.start(),
            Action::Clone { donor, line } => self.copy(&donor, line).await,
            Action::Adopt { source, line } => {
                // First it counts, then it follows: what it has acknowledged to the source is never thrown away.
                self.in_line(line)?;
                self.volume.copied()?;
                self.data = Data::Present;
                self.board.change(|status| status.has_data = true);
                log("the source has everything since the beginning; this member begins with it");
                self.follow(&source).await
            }
            Action::Resume if !self.renewed => {
                local::resume(self.session.as_mut().context(NO_SESSION)?, self.acknowledges).await
            }
            Action::Resume => {
                let source = self.board.read().server.and_then(|facts| facts.source_host);
                self.follow(&source.context("it follows nobody")?).await
            }
            Action::Follow { source, line } => {
                self.in_line(line)?;
                self.follow(&source).await
            }
            Action::Drain => {
                self.board.enter(State::Waiting, "it applies what it was sent");
                local::drain(self.session.as_mut().context(NO_SESSION)?).await
            }
            Action::Fence(why) => self.fence(&why).await,
            Action::Differ { diverged, why } => {
                self.board.enter(State::Waiting, &why);
                self.differs(diverged, true);
                Ok(())
            }
            Action::Be(state) => {
                self.falls = 0;
                self.board.enter(state, "");
                Ok(())
            }
            Action::Wait(reason) => {
                self.board.enter(State::Waiting, &reason);
                Ok(())
            }
            Action::Stay(reason) => {
                self.board.enter(State::Stuck, &reason);
                Ok(())
            }
        }
    }

    async fn follow(&mut self, source: &str) -> Result<()> {
        local::follow(self.session.as_mut().context(NO_SESSION)?, source, self.acknowledges).await?;
        self.renewed = false;
        Ok(())
    }

    /// Whose history the data is: remembered before anything of that history is acknowledged.
    fn in_line(&self, line: Line) -> Result<()> {
        let mandate = self.volume.mandate()?.context("it has had no order")?;
        self.volume.set_mandate(&Mandate { line, ..mandate })
    }

    fn differs(&self, diverged: String, needs_copy: bool) {
        self.board.change(|status| (status.diverged, status.needs_copy) = (diverged, needs_copy));
    }

    /// Ends the server at once. A commit that waits there is acknowledged to nobody; the next turn starts it shut.
    pub(super) async fn fence(&mut self, why: &str) -> Result<()> {
        log(&format!("ends the server by force: {why}"));
        self.board.enter(State::Starting, why);
        (self.session, self.alone_since) = (None, None);
        if let Some(mut mysqld) = self.mysqld.take() {
            mysqld.kill().await?;
        }
        self.board.change(|status| status.server = None);
        Ok(())
    }

    /// Whether it is open, and no replica follows it.
    fn unheard(&self) -> bool {
        self.board.read().server.is_some_and(|facts| facts.is_open() && facts.clients == 0)
    }

    /// Stands still while somebody who asks for that looks at it. What others are told of it stays as it was.
    async fn hold(&mut self) -> Result<()> {
        if self.held.is_some_and(|at| at.elapsed() < HOLD_AGAIN) {
            return Ok(());
        }
        let session = self.session.as_mut().context(NO_SESSION)?;
        if !local::is_to_hold(session).await? {
            return Ok(());
        }
        log("applies nothing for a moment, while somebody looks at what it has");
        self.held = Some(Instant::now());
        let held = local::hold(session, || self.board.change(|status| status.held = true)).await;
        self.board.change(|status| status.held = false);
        if held.is_err() {
            // What it was asked last it may still answer.
            self.session = None;
        }
        held
    }

    fn notice_isolation(&mut self, peers: &[Peer]) {
        let status = self.board.read();
        let answering = peers.iter().filter(|peer| peer.status.is_some()).count();
        if hears_nobody(status.part(), &status, answering, peers.len()) {
            let since = *self.alone_since.get_or_insert_with(Instant::now);
            self.board.change(|status| status.isolated = since.elapsed() >= ISOLATION);
        } else {
            self.alone_since = None;
            self.board.change(|status| status.isolated = false);
        }
    }

    /// Takes note of a server that has ended by itself.
    fn notice_end(&mut self) -> Result<()> {
        let Some(ended) = self.mysqld.as_mut().map(Process::ended).transpose()?.flatten() else { return Ok(()) };
        (self.mysqld, self.session) = (None, None);
        if ended == Ended::Restart {
            return Ok(());
        }
        if self.data == Data::Fresh {
            self.data = Data::Interrupted;
        }
        let pause = pause(self.falls);
        self.falls += 1;
        self.not_before = Instant::now() + pause;
        log(&format!("mysqld ended by itself ({ended:?}); it is started again in {} s", pause.as_secs()));
        Ok(())
    }

    /// Looks at the running server; `None` when it does not run or answer.
    async fn look(&mut self) -> Option<ServerFacts> {
        self.mysqld.as_ref()?;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => local::connect().await.ok()?,
        };
        let mut facts = local::look(&mut session).await.ok()?;
        facts.acks = self.acks.filter(|_| facts.is_open());
        self.session = Some(session);
        Some(facts)
    }

    async fn initialise(&mut self, copy_follows: bool) -> Result<()> {
        self.board
            .enter(State::Initialising, if copy_follows { "for a copy of another member" } else { "the lab's data" });
        self.volume.clear()?;
        if mysqld::unpack(&self.volume.draft()).await? {
            self.volume.expect_accounts()?;
        } else {
            let init = InitFile::write(RUN.as_ref(), &init_sql(&Passwords::read()?))?;
            mysqld::initialise(&self.volume.draft(), init.path()).await?;
        }
        self.volume.made_by(&recipe())?;
        self.board.change(|status| status.recipe = recipe());
        self.volume.adopt(copy_follows)?;
        self.data = if copy_follows { Data::Fresh } else { Data::Present };
        self.start()
    }

    fn start(&mut self) -> Result<()> {
        let note = match self.falls {
            0 => String::new(),
            times => format!("mysqld ended by itself {times} times in a row; its log says why"),
        };
        self.board.enter(State::Starting, &note);
        if Instant::now() >= self.not_before {
            self.init = if self.volume.lacks_accounts() {
                Some(InitFile::write(RUN.as_ref(), &first_start_sql(&Passwords::read()?))?)
            } else {
                None
            };
            let init = self.init.as_ref().map(InitFile::path);
            self.acks = None;
            self.mysqld = Some(mysqld::start(&self.config, &self.volume.datadir(), init)?);
        }
        Ok(())
    }

    async fn copy(&mut self, donor: &str, line: Line) -> Result<()> {
        self.board.enter(State::Cloning, &format!("from {donor}"));
        self.volume.forget_recipe()?;
        self.board.change(|status| status.recipe = String::new());
        // The server's connections end with it.
        self.session = None;
        let copied = local::copy_from(donor).await;
        let mysqld = self.mysqld.as_mut().context("mysqld does not run")?;
        // A server that says what went wrong goes on; any other end of the statement may be that of the server.
        let refused = copied.as_ref().err().and_then(error_code).is_some();
        let patience = if refused { EVERY } else { RESTARTING };
        match timeout(patience, mysqld.wait()).await {
            // The server ends with this status only after a whole copy.
            Ok(Ok(Ended::Restart)) => {
                self.in_line(line)?;
                self.volume.copied()?;
                self.data = Data::Present;
                self.mysqld = None;
                self.start()
            }
            // Still there, or ended otherwise: the next turn sees which, and tries again.
            _ => copied,
        }
    }

    /// A source is shut before it is told to end: while a commit waits for a replica, a server that ends acknowledges it. One
    /// that cannot be shut is ended by force.
    async fn stop(&mut self) -> Result<()> {
        let open = self.board.read().server.is_some_and(|facts| facts.is_open()) && self.data == Data::Present;
        self.board.enter(State::Stopping, "");
        if self.board.read().server.is_some_and(|facts| facts.applies()) {
            sleep(LEAVING).await;
        }
        let shut = match self.session.as_mut() {
            _ if !open => true,
            Some(session) => local::close(session, CLOSING).await.is_ok(),
            None => false,
        };
        let Some(mut mysqld) = self.mysqld.take() else { return Ok(()) };
        if !shut {
            log("commits wait for a replica; the server is ended by force, so that none of them is acknowledged");
            return mysqld.kill().await;
        }
        if let Some(mut session) = self.session.take() {
            // Only a courtesy: without it stopping takes longer.
            let _ = timeout(RELEASING, local::end_clients(&mut session)).await;
            let _ = timeout(RELEASING, local::release_replicas(&mut session)).await;
        }
        mysqld.stop(STOPPING).await
    }
}

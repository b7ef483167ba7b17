//! The member's loop: look, decide, do. The member is brought up, kept up and stopped here; nothing is ever given up, so
//! the container does not crash-loop while it waits for others.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, timeout};

use super::{
    config::{Config, password},
    datadir::{Passwords, Volume, first_start_sql, init_sql, recipe},
    decide::{Action, Data, Observed, decide},
    local, mysqld,
    peers::Peers,
};
use crate::{
    inside::{
        log,
        member::{
            files::InitFile,
            http,
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
const NO_SESSION: &str = "there is no connection to the server";

/// Runs the member until SIGTERM or SIGINT.
///
/// # Errors
/// The pod cannot do its work at all: the port is taken, there is no mysqld, the operating system refuses.
pub(super) async fn run(config: Config) -> Result<()> {
    let board = Board::new(&config.name);
    let (stop, turns) = (stop_signal()?, Turns::begin()?);
    let mut member = Member::new(config, board.clone())?;
    http::serve(HTTP_PORT, board).await?;
    let ended = tokio::select! {
        ended = member.live(turns) => ended,
        () = stop => Ok(()),
    };
    member.stop().await?;
    ended
}

fn passwords() -> Result<Passwords> {
    Ok(Passwords { root: password("root")?, replication: password("replication")?, wordpress: password("wordpress")? })
}

/// A member at work.
struct Member {
    config: Config,
    volume: Volume,
    board: Board,
    peers: Peers,
    data: Data,
    /// Whether the lab had no data yet, as far as was known, when this supervisor made its data directory.
    first: bool,
    mysqld: Option<Process>,
    session: Option<Session>,
    /// What the server runs before it answers, while it makes its accounts.
    init: Option<InitFile>,
    /// The account for replicas has another password than the one that this server follows with.
    renewed: bool,
    /// How often in a row the server ended by itself, and when it may be started again.
    falls: u32,
    not_before: Instant,
}

impl Member {
    fn new(config: Config, board: Board) -> Result<Member> {
        let volume = Volume::new(VOLUME);
        let data = volume.data();
        let peers = Peers::new(&config)?;
        // Before anybody can ask: a member that hides its data for a moment would be taken for one that has lost it.
        board.change(|status| {
            status.has_data = data == Data::Present;
            status.was_writer = volume.was_writer();
            status.recipe = volume.recipe();
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
            init: None,
            renewed: false,
            falls: 0,
            not_before: Instant::now(),
        })
    }

    async fn live(&mut self, mut turns: Turns) -> Result<()> {
        loop {
            turns.next(self.mysqld.as_ref().and_then(Process::pid), self.board.serves()).await;
            match self.turn().await {
                Err(error) if process::missing(&error) => return Err(error),
                Err(error) => self.board.trouble(&format!("{error:#}")),
                Ok(()) => self.board.trouble(""),
            }
        }
    }

    async fn turn(&mut self) -> Result<()> {
        self.notice_end()?;
        let facts = self.look().await;
        // Who lets us in with the password has made the account.
        if facts.is_some() && self.init.take().is_some() {
            self.volume.has_accounts()?;
            self.renewed = true;
        }
        let peers = self.peers.ask().await;
        let was_writer = self.volume.was_writer();
        let source = peers.iter().filter_map(|peer| peer.status.as_ref()).find(|status| status.state == State::Source);
        let theirs = source.and_then(|status| Some(status.server.as_ref()?.gtid_executed.clone()));
        let within_source = match (&facts, &mut self.session, theirs) {
            (Some(facts), Some(session), Some(theirs)) if facts.io_errno != 0 => {
                local::within(session, &theirs).await.ok()
            }
            _ => None,
        };
        self.board.change(|status| {
            status.has_data = self.data == Data::Present;
            status.was_writer = was_writer;
            status.server.clone_from(&facts);
        });
        if self.mysqld.is_some() && facts.is_none() {
            self.board.enter(State::Starting, "the server does not answer yet");
            return Ok(());
        }
        let recipe = self.volume.recipe();
        let action = decide(&Observed {
            bootstraps: self.config.bootstraps(),
            lab_initialised: Config::lab_initialised(),
            data: self.data,
            first: self.first.then_some(recipe.as_str()),
            was_writer,
            server: facts.as_ref(),
            peers: &peers,
            within_source,
        });
        self.act(action).await
    }

    async fn act(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Bootstrap => self.initialise(false).await,
            Action::Prepare => {
                self.first = !Config::lab_initialised();
                self.initialise(true).await
            }
            Action::Start => self.start(),
            Action::Clone { donor } => self.copy(&donor).await,
            Action::Recopy { donor } => {
                log(
                    "what this member lacks is no longer in the source's logs; all it has is at the source, so it is copied anew",
                );
                self.volume.expect_copy()?;
                self.data = Data::Fresh;
                self.copy(&donor).await
            }
            Action::Adopt => {
                // First it counts, then it follows: what it has acknowledged to the source is never thrown away.
                self.volume.copied()?;
                self.data = Data::Present;
                self.board.change(|status| status.has_data = true);
                log("the source has everything since the beginning; this member begins with it");
                local::follow(self.session.as_mut().context(NO_SESSION)?, &self.config.source).await
            }
            Action::Resume if !self.renewed => local::resume(self.session.as_mut().context(NO_SESSION)?).await,
            Action::Follow | Action::Resume => {
                let session = self.session.as_mut().context(NO_SESSION)?;
                local::follow(session, &self.config.source).await?;
                self.renewed = false;
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
        let facts = local::look(&mut session).await.ok()?;
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
            let init = InitFile::write(RUN.as_ref(), &init_sql(&passwords()?))?;
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
                Some(InitFile::write(RUN.as_ref(), &first_start_sql(&passwords()?))?)
            } else {
                None
            };
            let init = self.init.as_ref().map(InitFile::path);
            self.mysqld = Some(mysqld::start(&self.config, &self.volume.datadir(), init)?);
        }
        Ok(())
    }

    async fn copy(&mut self, donor: &str) -> Result<()> {
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
                self.volume.copied()?;
                self.data = Data::Present;
                self.mysqld = None;
                self.start()
            }
            // Still there, or ended otherwise: the next turn sees which, and tries again.
            _ => copied,
        }
    }

    async fn stop(&mut self) -> Result<()> {
        self.board.enter(State::Stopping, "");
        if let Some(mut session) = self.session.take() {
            // Only a courtesy: without it stopping takes longer.
            let _ = timeout(RELEASING, local::release_replicas(&mut session)).await;
        }
        match self.mysqld.take() {
            Some(mut mysqld) => mysqld.stop(STOPPING).await,
            None => Ok(()),
        }
    }
}

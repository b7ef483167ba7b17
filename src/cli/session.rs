//! Runs a command's work beside the renderer: interrupted by a signal or the user's timeout, and never ended before the
//! last line is shown.

use std::{
    future::Future,
    io::{self, IsTerminal},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use wplab::{
    run::{Run, advice::Trouble, wait::TimedOut},
    spec::LabName,
};

use super::{
    failure::{Interrupted, Misused, WHOLE},
    render::{self, Terminal},
    spell::Asked,
};

/// How long the renderer may take after the work, in case something that was left behind still holds the run.
const LAST_LINES: Duration = Duration::from_secs(1);
/// The waits inside the work end with the user's timeout and say what they waited for; this much later the work is cut
/// off whatever it does.
const AFTER_TIMEOUT: Duration = Duration::from_secs(5);
/// One run of the command line.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) terminal: Terminal,
    timeout: Option<Duration>,
    about: OnceLock<LabName>,
}

impl Session {
    pub(super) fn new(terminal: Terminal, timeout: Option<Duration>) -> Session {
        Session { terminal, timeout, about: OnceLock::new() }
    }

    /// Remembers the lab by the name that its file gives it, for what is said when the command does not end well.
    pub(super) fn about(&self, lab: &LabName) {
        // The first answer stays; a command is about one lab.
        let _ = self.about.set(lab.clone());
    }

    /// What was asked for, with the remembered name.
    pub(super) fn asked(&self, asked: Asked) -> Asked {
        match (asked, self.about.get()) {
            (Asked::Up { wanted, .. }, Some(lab)) => Asked::Up { wanted, lab: lab.clone() },
            (asked, _) => asked,
        }
    }

    /// Asks whether to go on with what cannot be taken back, `does` says what that is; told why, and `false`, when not.
    ///
    /// # Errors
    /// [`Misused`] when there is nobody to ask.
    pub(super) async fn agreed(&self, does: &str) -> Result<bool> {
        if !io::stdin().is_terminal() {
            let why = format!("{does}, and there is nobody to ask; --yes does it without asking");
            return Err(Trouble::from(Misused(why)).into());
        }
        let agreed = self.terminal.asker().ask("Go on?".to_owned()).await;
        if !agreed {
            self.terminal.say("nothing was done");
        }
        Ok(agreed)
    }

    /// Does the work, showing its events.
    ///
    /// # Errors
    /// The work's own, [`Interrupted`] or [`TimedOut`]; in the latter two cases the work was dropped where it was.
    pub(super) async fn perform<T, F>(&self, work: impl FnOnce(Run) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.within(self.timeout, work).await
    }

    /// Does work that the user's timeout is not about: what has to be put right after it has passed.
    ///
    /// # Errors
    /// The work's own, or [`Interrupted`].
    pub(super) async fn anew<T, F>(&self, work: impl FnOnce(Run) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.within(None, work).await
    }

    async fn within<T, F>(&self, limit: Option<Duration>, work: impl FnOnce(Run) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (run, events) = Run::new(limit);
        let show = render::show(&self.terminal, events);
        tokio::pin!(show);
        // The run moves into the work, so that the end of the work is also the end of the events.
        let work = Self::bounded(limit, work(run));
        tokio::pin!(work);
        let result = tokio::select! {
            result = &mut work => result,
            // Work that has given its run away may go on in silence.
            () = &mut show => return work.await,
        };
        let _ = tokio::time::timeout(LAST_LINES, show).await;
        result
    }

    async fn bounded<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = Self::in_time(limit, work) => result,
            interrupted = interrupted() => Err(interrupted?.into()),
        }
    }

    async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(limit) = limit else { return work.await };
        match tokio::time::timeout(limit + AFTER_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => {
                let last = "it was still at work".to_owned();
                Err(TimedOut { what: WHOLE.to_owned(), after: limit, last }.into())
            }
        }
    }
}

/// Waits for a signal that asks this process to end.
async fn interrupted() -> Result<Interrupted> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut int, mut term, mut hup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    Ok(tokio::select! {
        _ = int.recv() => Interrupted("Ctrl-C"),
        _ = term.recv() => Interrupted("SIGTERM"),
        _ = hup.recv() => Interrupted("SIGHUP"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use rustix::process::{Signal, getpid, kill_process};
    use wplab::run::event::Event;

    use super::*;

    fn session(timeout: Option<Duration>) -> Session {
        Session::new(Terminal::plain(), timeout)
    }

    struct Dropped(Arc<AtomicBool>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_signal_drops_the_work_where_it_is() {
        let gone = Arc::new(AtomicBool::new(false));
        let child = Dropped(gone.clone());
        let work = |run: Run| async move {
            let (_run, _child) = (run, child);
            // By then both sides have been polled, so that somebody listens for the signal.
            tokio::time::sleep(Duration::from_millis(50)).await;
            kill_process(getpid(), Signal::TERM)?;
            std::future::pending::<Result<()>>().await
        };
        let error = session(None).perform(work).await.expect_err("interrupted");
        assert_eq!(error.to_string(), "interrupted by SIGTERM");
        assert!(error.is::<Interrupted>() && gone.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_that_is_left_behind_does_not_hold_the_end() {
        let work = |run: Run| async move {
            let kept = run.clone();
            tokio::spawn(async move {
                let _kept = kept;
                std::future::pending::<()>().await;
            });
            run.send(Event::Warning { text: "shown".into(), hints: Vec::new() });
            Ok(7)
        };
        assert_eq!(session(None).perform(work).await.ok(), Some(7));
    }
}

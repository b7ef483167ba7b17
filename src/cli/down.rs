//! `wplab down`: removes a lab.

use anyhow::Result;
use clap::Args;
use wplab::actions::down::{self, Backups};

use super::{args::Lab, failure::Ending, render::report, session::Session, spell::command};

/// Remove a lab: everything that carries its labels, and nothing else
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab down                         remove the lab wplab\n  wplab down demo                    remove the lab demo\n  wplab down demo --purge-backups    remove it with its backups in this machine's store"
)]
pub(super) struct Down {
    #[command(flatten)]
    pub(super) lab: Lab,
    /// Remove its backups in this machine's store, too
    #[arg(long)]
    purge_backups: bool,
}

impl Down {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let (name, purge) = (self.lab.name(), self.purge_backups);
        let lab = &name;
        let gone = session.perform(|run| async move { down::down(&run, lab, purge).await }).await?;
        session.terminal.result(&gone, |_| report::down(&gone));
        let mut next = vec![("wplab list".to_owned(), "what is left"), (command("up", &name), "a new lab")];
        if let Some(Backups::Kept { .. } | Backups::Unknown { .. }) = gone.backups {
            next.push((command("down --purge-backups", &name), "remove its backups, too"));
        }
        session.terminal.next(&next);
        Ok(Ending::Done)
    }
}

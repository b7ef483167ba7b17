//! `wplab down`: removes a lab.

use anyhow::Result;
use clap::Args;
use wplab::actions::down;

use super::{args::Lab, failure::Ending, render::report, session::Session, spell::command};

/// Remove a lab: everything that carries its labels, and nothing else
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab down         remove the lab wplab\n  wplab down demo    remove the lab demo"
)]
pub(super) struct Down {
    #[command(flatten)]
    pub(super) lab: Lab,
}

impl Down {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let lab = &name;
        let gone = session.perform(|run| async move { down::down(&run, lab).await }).await?;
        session.terminal.result(&gone, |_| report::down(&gone));
        session.terminal.next(&[("wplab list".to_owned(), "what is left"), (command("up", &name), "a new lab")]);
        Ok(Ending::Done)
    }
}

//! `wplab start`: brings a stopped lab back.

use anyhow::Result;
use clap::Args;
use wplab::actions::awake;

use super::{args::Lab, failure::Ending, proven, session::Session};

/// Start a stopped lab with everything that it had, and prove it
#[derive(Debug, Args)]
#[command(
    after_help = "Also after a reboot of the machine. `wplab up` does it too, and repairs and completes what is lacking.\nExit code 1 when a check fails.\n\nExamples:\n  wplab start\n  wplab start demo -o json"
)]
pub(super) struct Start {
    #[command(flatten)]
    lab: Lab,
}

impl Start {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let lab = &name;
        let awake = session.perform(|run| async move { awake::start(&run, lab).await }).await?;
        Ok(proven::tell(session, &awake))
    }
}

//! `wplab resume`: thaws a lab.

use anyhow::Result;
use clap::Args;
use wplab::actions::awake;

use super::{args::Lab, failure::Ending, proven, session::Session};

/// Thaw a paused lab, and prove it
#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when a check fails.\n\nExamples:\n  wplab resume\n  wplab resume demo -o json")]
pub(super) struct Resume {
    #[command(flatten)]
    lab: Lab,
}

impl Resume {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let lab = &name;
        let awake = session.perform(|run| async move { awake::resume(&run, lab).await }).await?;
        Ok(proven::tell(session, &awake))
    }
}

//! `wplab credentials`: the generated passwords, for who asks.

use anyhow::Result;
use clap::Args;
use wplab::actions::credentials;

use super::{args::Lab, failure::Ending, render::report, session::Session};

/// Print what one logs in with: WordPress and the database
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab credentials\n  wplab credentials demo -o json | jq -r '.\"admin-password\"'"
)]
pub(super) struct Credentials {
    #[command(flatten)]
    lab: Lab,
}

impl Credentials {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let found = session.perform(|_run| credentials::credentials(&name)).await?;
        session.terminal.result(&found, |_| report::credentials(&found));
        Ok(Ending::Done)
    }
}

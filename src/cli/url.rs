//! `wplab url`: where the site answers.

use anyhow::Result;
use clap::Args;
use wplab::actions::status;

use super::{args::Lab, failure::Ending, session::Session};

/// Print the address of a lab's site
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  curl \"$(wplab url)\"\n  xdg-open \"$(wplab url demo)\"")]
pub(super) struct Url {
    #[command(flatten)]
    lab: Lab,
}

impl Url {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let url = session.perform(|_run| status::url(&name)).await?;
        session.terminal.result(&url, |_| format!("{url}\n"));
        Ok(Ending::Done)
    }
}

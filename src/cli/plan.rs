//! `wplab plan`: what `up` would do.

use anyhow::Result;
use clap::Args;
use wplab::actions::plan;

use super::{
    args::{self, Wanted},
    failure::Ending,
    render::report,
    session::Session,
};

/// Say what `up` would do, pull, build and use, without doing it
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wplab plan\n  wplab plan -f lab.yaml --images packages\n  wplab plan -o json")]
pub(super) struct Plan {
    #[command(flatten)]
    wanted: Wanted,
    /// Ask this registry instead of the images' own
    #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
    registry_mirror: Option<String>,
}

impl Plan {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let spec = self.wanted.spec()?;
        let planned = session.perform(|_run| plan::plan(&spec, self.registry_mirror.as_deref())).await?;
        session.terminal.result(&planned, |paint| report::plan(&planned, paint));
        session.terminal.next(&[(self.wanted.again(), "do it")]);
        Ok(Ending::Done)
    }
}

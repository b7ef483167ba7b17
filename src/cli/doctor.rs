//! `wplab doctor`: what this machine has and lacks.

use anyhow::Result;
use clap::Args;
use wplab::host::doctor::{self, Level};

use super::{
    args::{self, Wanted},
    failure::Ending,
    render::tables,
    session::Session,
};

/// Look at what a lab needs of this machine, and name the cure of what is missing
#[derive(Debug, Args)]
#[command(after_help = "Exit code 3 when something is missing that no lab can do without.\n\n\
    Examples:\n  wplab doctor\n  wplab doctor -f lab.yaml    for the lab of a file\n  wplab doctor -o json")]
pub(super) struct Doctor {
    #[command(flatten)]
    wanted: Wanted,
    /// Ask this registry instead of the images' own
    #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
    registry_mirror: Option<String>,
}

impl Doctor {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let spec = self.wanted.spec()?;
        let diagnosis =
            session.perform(|_run| async { Ok(doctor::examine(&spec, self.registry_mirror.as_deref()).await) }).await?;
        let terminal = &session.terminal;
        terminal.result(&diagnosis, |paint| tables::findings(&diagnosis.findings, paint));
        if diagnosis.worst() == Level::Blocking {
            terminal.next(&[("wplab up --fix".to_owned(), "install what can be installed, then bring the lab up")]);
            return Ok(Ending::Missing);
        }
        terminal.next(&[("wplab up".to_owned(), "bring the lab up")]);
        Ok(Ending::Done)
    }
}

//! `wplab pause`: freezes a lab.

use anyhow::Result;
use clap::Args;
use wplab::actions::asleep;

use super::{args::Lab, failure::Ending, render::report, session::Session, spell::command};

/// Freeze a lab where it stands: it uses no CPU and keeps its memory until it is resumed
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab pause          freeze the lab wplab\n  wplab resume         go on where it was, within seconds"
)]
pub(super) struct Pause {
    #[command(flatten)]
    lab: Lab,
}

impl Pause {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let lab = &name;
        let asleep = session.perform(|run| async move { asleep::pause(&run, lab).await }).await?;
        session.terminal.result(&asleep, |_| report::asleep(&asleep));
        session
            .terminal
            .next(&[(command("resume", &name), "go on where it was"), (command("down", &name), "remove it all")]);
        Ok(Ending::Done)
    }
}

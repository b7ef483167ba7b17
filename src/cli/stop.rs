//! `wplab stop`: stops a lab and keeps what it has.

use anyhow::Result;
use clap::Args;
use wplab::actions::asleep;

use super::{args::Lab, failure::Ending, render::report, session::Session, spell::command};

/// Stop a lab and keep its data: it uses neither CPU nor memory until it is started
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab stop           stop the lab wplab\n  wplab start          bring it back, also after a reboot"
)]
pub(super) struct Stop {
    #[command(flatten)]
    lab: Lab,
}

impl Stop {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let lab = &name;
        let asleep = session.perform(|run| async move { asleep::stop(&run, lab).await }).await?;
        session.terminal.result(&asleep, |_| report::asleep(&asleep));
        session
            .terminal
            .next(&[(command("start", &name), "bring it back as it was"), (command("down", &name), "remove it all")]);
        Ok(Ending::Done)
    }
}

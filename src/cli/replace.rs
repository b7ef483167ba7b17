//! `wplab replace`: a member is given up with its volume and made anew.

use anyhow::Result;
use clap::Args;
use wplab::actions::replace;

use super::{args::Lab, failure::Ending, session::Session, spell::command};

/// Give up a database member with its volume, and make it anew from the others
#[derive(Debug, Args)]
#[command(
    after_help = "For a member whose node or volume will not come back, or whose data cannot be repaired. What only it has is \
    lost, and you are told so before. A member that takes writes is not given up: see wplab failover.\n\nExamples:\n  \
    wplab replace db-2\n  wplab replace db-2 --yes"
)]
pub(super) struct Replace {
    /// The member, such as db-2
    member: String,
    #[command(flatten)]
    lab: Lab,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Replace {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let (name, member) = (self.lab.name(), self.member);
        let terminal = &session.terminal;
        let given_up = session.perform(|_run| replace::look(&name, &member)).await?;
        terminal.say(&given_up);
        if !self.yes && !session.agreed("this loses data").await? {
            return Ok(Ending::Done);
        }
        let lab = name.clone();
        let replaced = session.perform(|run| async move { replace::replace(&run, &lab, &member).await }).await?;
        terminal.result(&replaced, |_| format!("{} serves again, on {}\n", replaced.member, replaced.node));
        terminal.next(&[(command("status", &name), "who does what"), (command("smoke", &name), "prove it")]);
        Ok(Ending::Done)
    }
}

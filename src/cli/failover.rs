//! `wplab failover`: another member takes writes.

use anyhow::Result;
use clap::Args;
use wplab::actions::failover;

use super::{args::Lab, failure::Ending, session::Session, spell::command};

/// Let another database member take writes
#[derive(Debug, Args)]
#[command(
    after_help = "A lost source is replaced without being asked for. This is for one that runs: it is closed, the next one \
    catches up to the last write and takes over; whatever fails before that opens the old one again. Nothing \
    acknowledged is lost, and writes wait for about a second.\n\nExamples:\n  wplab failover\n  wplab failover --to db-2"
)]
pub(super) struct Failover {
    #[command(flatten)]
    lab: Lab,
    /// The member, such as db-2; without this the agent chooses one that is up to date
    #[arg(long, value_name = "MEMBER")]
    to: Option<String>,
    /// Give up a lost source also when the members that are left may lack writes that it has acknowledged
    #[arg(long)]
    accept_loss: bool,
}

impl Failover {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let (name, to) = (self.lab.name(), self.to);
        let lab = name.clone();
        let moved = session
            .perform(|run| async move { failover::failover(&run, &lab, to.as_deref(), self.accept_loss).await })
            .await?;
        session.terminal.result(&moved, |_| match moved.from == moved.to {
            true => format!("{} takes writes, as before\n", moved.to),
            false => format!("{} takes writes\n", moved.to),
        });
        if !moved.waits.is_empty() {
            let without = command("scale db N", &name);
            let goes_on = format!("they go on when a replica is back, or with `{without} --unprotected`");
            session.terminal.say(&format!("writes wait: {}; {goes_on}", moved.waits));
        }
        session.terminal.next(&[(command("status", &name), "who does what"), (command("smoke", &name), "prove it")]);
        Ok(Ending::Done)
    }
}

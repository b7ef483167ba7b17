//! `wplab recover`: starts a Galera cluster again from one member, on a person's decision.

use anyhow::Result;
use clap::Args;
use wplab::actions::recover::{self, Choice};

use super::{args::Lab, failure::Ending, render::tables, session::Session, spell::command};

/// Start a Galera cluster again from one member's data, when a member that might have more does not come back
#[derive(Debug, Args)]
#[command(
    after_help = "A cluster whose members have all ended starts by itself as soon as every member has said how far \
    its data goes. When one never will, this starts it without that one; what only that one had is lost, \
    and you are told so before. A member whose pod is on a node and cannot be asked may still run, and others \
    with it: then nothing is started, until you say that it is dead.\n\nExamples:\n  wplab status\n  \
    wplab recover --bootstrap db-1\n  wplab recover --bootstrap db-1 --dead db-2"
)]
pub(super) struct Recover {
    #[command(flatten)]
    lab: Lab,
    /// The member to start from, such as db-1
    #[arg(long, value_name = "MEMBER")]
    bootstrap: String,
    /// A member of which nothing runs any more, although nobody can ask it; may be given several times
    #[arg(long, value_name = "MEMBER")]
    dead: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Recover {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let (name, member, dead) = (self.lab.name(), self.bootstrap, self.dead);
        let terminal = &session.terminal;
        let choice = session.perform(|_run| recover::look(&name, &member, &dead)).await?;
        terminal.say(&standings(&choice));
        if !self.yes && !session.agreed("this loses data").await? {
            return Ok(Ending::Done);
        }
        let (lab, dead) = (name.clone(), &dead);
        let facts = session.perform(|run| async move { recover::recover(&run, &lab, &member, dead).await }).await?;
        terminal.result(&facts, |_| format!("the cluster serves again, at {}\n", facts.seqno));
        terminal.next(&[(command("status", &name), "the others join"), (command("smoke", &name), "prove it")]);
        Ok(Ending::Done)
    }
}

fn standings(choice: &Choice) -> String {
    let rows: Vec<_> = choice.standings.iter().map(|s| [s.member.clone(), s.state.clone()]).collect();
    format!("{}{}", tables::table(["MEMBER", "POSITION"], &rows), choice.consequence)
}

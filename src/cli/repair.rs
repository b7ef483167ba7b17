//! `wplab repair …`: makes anew what a lab has lost for good, and knows elsewhere.

use anyhow::Result;
use clap::{Args, Subcommand};
use wplab::actions::repair::{self, Plan};

use super::{args::Lab, failure::Ending, render::tables, session::Session, spell::command};

/// Make anew what a lab has lost for good and knows elsewhere: etcd
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wplab repair etcd")]
pub(super) struct Repair {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Rebuild etcd from what the database's members report, when its volumes are lost
    ///
    /// Two of three volumes of etcd that are lost leave it without a majority, or with one that knows nothing. All that etcd
    /// knows is known to the database's members too: its volumes are removed, it starts anew, and each member tells it again.
    /// Servers that run go on; none begins meanwhile.
    Etcd {
        #[command(flatten)]
        lab: Lab,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

impl Repair {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let What::Etcd { lab, yes } = self.what;
        let (name, terminal) = (lab.name(), &session.terminal);
        let plan = session.perform(|_run| repair::look(&name)).await?;
        terminal.say(&shown(&plan));
        if !yes && !session.agreed("this removes volumes").await? {
            return Ok(Ending::Done);
        }
        let (lab, tell) = (&name, &plan.tell);
        let rebuilt = session.perform(|run| async move { repair::rebuild(&run, lab, tell).await }).await?;
        let told = rebuilt.registered.join(", ");
        terminal.result(&rebuilt, |_| format!("etcd serves again, with what {told} know\n"));
        terminal.next(&[(command("status", &name), "look at it"), (command("smoke", &name), "prove it")]);
        Ok(Ending::Done)
    }
}

fn shown(plan: &Plan) -> String {
    let state = |healthy: bool, state: &str| if healthy { "serves".to_owned() } else { state.to_owned() };
    let rows: Vec<_> = plan.etcd.iter().map(|m| [m.name.clone(), state(m.healthy, &m.state)]).collect();
    format!("{}{}", tables::table(["MEMBER", "STATE"], &rows), plan.consequence)
}

//! `wplab scale …`: more or fewer of something, in a lab that stands.

use anyhow::Result;
use clap::{Args, Subcommand};
use wplab::actions::scale::wordpress::{self, Bounds};

use super::{args::Lab, failure::Ending, session::Session, spell::command};

/// Give a lab that stands more or fewer of something
#[derive(Debug, Args)]
#[command(
    after_help = "What is asked for is held against the rules of a lab file before anything is touched, and the lab remembers \
    it.\n\nExamples:\n  wplab scale wordpress 2..5\n  wplab scale wordpress 4 demo"
)]
pub(super) struct Scale {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many replicas of the site the autoscaler may run, at least and at most
    Wordpress {
        /// Fewest and most, such as 2..5, or one number for both; 1 to 20
        #[arg(value_name = "MIN..MAX", value_parser = Bounds::new)]
        bounds: Bounds,
        #[command(flatten)]
        lab: Lab,
    },
}

impl Scale {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        match self.what {
            What::Wordpress { bounds, lab } => wordpress(session, bounds, &lab).await,
        }
    }
}

async fn wordpress(session: &Session, bounds: Bounds, lab: &Lab) -> Result<Ending> {
    let (name, terminal) = (&lab.name(), &session.terminal);
    let now = session.perform(|run| async move { wordpress::wordpress(&run, name, bounds).await }).await?;
    terminal.result(&now, |_| {
        let was = if now.had == now.bounds { "as before".to_owned() } else { format!("which were {}", now.had) };
        format!("{} replicas serve; the autoscaler's bounds are {}, {was}\n", now.ready, now.bounds)
    });
    terminal.next(&[(command("status --watch", name), "the lab as it lives"), (command("smoke", name), "prove it")]);
    Ok(Ending::Done)
}

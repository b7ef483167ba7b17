//! `wplab scale …`: more or fewer of something, in a lab that stands.

use anyhow::Result;
use clap::{Args, Subcommand};
use wplab::{
    actions::scale::{
        db,
        wordpress::{self, Bounds},
        workers,
    },
    parts::database::in_words,
};

use super::{args::Lab, failure::Ending, session::Session, spell::command};

/// Give a lab that stands more or fewer of something
#[derive(Debug, Args)]
#[command(
    after_help = "What is asked for is held against the rules of a lab file before anything is touched, and the lab remembers \
    it.\n\nExamples:\n  wplab scale db 5\n  wplab scale wordpress 2..5\n  wplab scale wordpress 4 demo\n  wplab scale workers 4"
)]
pub(super) struct Scale {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many members the database has
    ///
    /// New ones copy the writer's data and count once they have it. Those that go, the last ones, count no more before they do, and
    /// a writer among them is relieved first. Their volumes stay or go as the lab file says (database.freed-volumes).
    Db {
        /// 1 to 9, with topology galera 1 or 3 to 9; no more than there are workers
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
        number: u8,
        #[command(flatten)]
        lab: Lab,
        /// Let no write wait until a replica has it: a lost writer is lost data, until this is run again without
        #[arg(long)]
        unprotected: bool,
    },
    /// How many replicas of the site the autoscaler may run, at least and at most
    Wordpress {
        /// Fewest and most, such as 2..5, or one number for both; 1 to 20
        #[arg(value_name = "MIN..MAX", value_parser = Bounds::new)]
        bounds: Bounds,
        #[command(flatten)]
        lab: Lab,
    },
    /// How many worker nodes the lab has: more of them join it, or the last ones leave
    ///
    /// A new worker is a container like the others, and joins by kubeadm's own join. One that leaves is emptied first, as fast as
    /// the pods' disruption budgets allow; it stays, and you are told why, if it has a volume that the lab needs.
    Workers {
        /// 2 to 9, with topology galera 3 to 9; as many as the database has members, at least
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(2..=9))]
        number: u8,
        #[command(flatten)]
        lab: Lab,
        /// Do not ask before what was kept of former members goes with its worker
        #[arg(short, long)]
        yes: bool,
    },
}

impl Scale {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        match self.what {
            What::Db { number, lab, unprotected } => database(session, number, &lab, unprotected).await,
            What::Wordpress { bounds, lab } => wordpress(session, bounds, &lab).await,
            What::Workers { number, lab, yes } => workers(session, number, &lab, yes).await,
        }
    }
}

async fn database(session: &Session, members: u8, lab: &Lab, unprotected: bool) -> Result<Ending> {
    let (name, terminal) = (&lab.name(), &session.terminal);
    let now = session.perform(|run| async move { db::db(&run, name, members, unprotected).await }).await?;
    for kept in &now.kept {
        terminal.say(&format!("{kept} is kept"));
    }
    for removed in &now.removed {
        terminal.say(&format!("{removed} was removed"));
    }
    if !now.protected {
        terminal.say("no write waits for a replica: if the writer is lost, data is");
    }
    terminal.result(&now, |_| {
        let was = before(now.had, now.members);
        format!("the database of lab {name} has {}, {was}; {} takes writes\n", in_words(now.members), now.writer)
    });
    terminal.next(&[(command("status", name), "who does what"), (command("smoke", name), "prove it")]);
    Ok(Ending::Done)
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

async fn workers(session: &Session, wanted: u8, lab: &Lab, yes: bool) -> Result<Ending> {
    let (name, terminal) = (&lab.name(), &session.terminal);
    let lost = session.perform(|_run| workers::look(name, wanted)).await?;
    for what in &lost {
        terminal.say(&format!("{what} goes with its worker"));
    }
    if !lost.is_empty() && !yes && !session.agreed("this loses data").await? {
        return Ok(Ending::Done);
    }
    // Nobody was asked where nothing seemed to be lost; what is found later goes only with that.
    let agreed = yes || !lost.is_empty();
    let now = session.perform(|run| async move { workers::workers(&run, name, wanted, agreed).await }).await?;
    terminal.result(&now, |_| format!("lab {name} has {} workers, {}\n", now.workers, before(now.had, now.workers)));
    terminal.next(&[(command("status", name), "who is where"), (command("smoke", name), "prove it")]);
    Ok(Ending::Done)
}

fn before(had: u8, now: u8) -> String {
    if had == now { "as before".to_owned() } else { format!("it had {had}") }
}

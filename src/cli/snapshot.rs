//! `wplab snapshot …`: a lab as it was.

use anyhow::Result;
use clap::{Args, Subcommand};
use wplab::{
    actions::snapshot::{
        self,
        restore::{self, RestoreOptions},
    },
    spec::{LabName, SnapshotName},
};

use super::{
    failure::Ending,
    proven,
    render::{report, tables},
    session::Session,
    spell::{Asked, command},
};

/// Keep a lab as it is now, put it back to that, or make a second one of it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wplab snapshot save lesson-1                   keep the lab wplab as it is now
  wplab snapshot restore lesson-1                put it back to that; what is in it now is lost
  wplab snapshot restore lesson-1 --as anna      make another lab of it, beside the first
  wplab snapshot restore lesson-1 --as ben --new-passwords
  wplab snapshot list
  wplab snapshot delete lesson-1")]
pub(super) struct Snapshot {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep a lab as it is now: its data, its uploads, its cluster. It stands still for some seconds and goes on
    Save {
        /// Name of the snapshot
        #[arg(value_parser = SnapshotName::new)]
        snapshot: SnapshotName,
        /// Name of the lab [default: wplab]
        #[arg(long, value_name = "NAME", value_parser = LabName::new)]
        lab: Option<LabName>,
    },
    /// List the snapshots on this machine
    List,
    /// Put the lab back to what it was, or make another one of it, and prove it
    ///
    /// The lab that the snapshot is of is replaced: what is in it now is lost. A lab of another name gets ports and a network of
    /// its own; passwords and keys are the first one's unless new ones are asked for, certificates always.
    Restore {
        /// Name of the snapshot
        #[arg(value_parser = SnapshotName::new)]
        snapshot: SnapshotName,
        /// Make a lab of this name instead [default: the lab that the snapshot is of]
        #[arg(long = "as", value_name = "NAME", value_parser = LabName::new)]
        lab: Option<LabName>,
        /// Port of the site on 127.0.0.1 [default: what it was, or the next free one]
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..))]
        port: Option<u16>,
        /// Give it other passwords, keys and salts than the snapshot's
        #[arg(long)]
        new_passwords: bool,
    },
    /// Remove a snapshot; labs that were made of it go on
    Delete {
        /// Name of the snapshot
        #[arg(value_parser = SnapshotName::new)]
        snapshot: SnapshotName,
    },
}

impl Snapshot {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        match self.what {
            What::Save { snapshot, lab } => save(session, &snapshot, &lab.unwrap_or_default()).await,
            What::List => list(session).await,
            What::Restore { snapshot, lab, port, new_passwords } => {
                let options = RestoreOptions { snapshot, lab, port, new_passwords };
                let asked = &options;
                let awake = session.perform(|run| async move { restore::restore(&run, asked).await }).await?;
                Ok(proven::tell(session, &awake))
            }
            What::Delete { snapshot } => {
                let name = &snapshot;
                let gone = session.perform(|run| async move { snapshot::delete(&run, name).await }).await?;
                session.terminal.result(&gone, |_| format!("removed snapshot {} of lab {}\n", gone.name, gone.lab));
                session.terminal.next(&[("wplab snapshot list".to_owned(), "what is left")]);
                Ok(Ending::Done)
            }
        }
    }

    /// What is asked for, for what is said when it does not end well.
    pub(super) fn asked(&self) -> Asked {
        match &self.what {
            What::Save { lab, .. } => Asked::Save(lab.clone().unwrap_or_default()),
            _ => Asked::Other,
        }
    }
}

async fn save(session: &Session, snapshot: &SnapshotName, lab: &LabName) -> Result<Ending> {
    let saved = session.perform(|run| async move { snapshot::save(&run, snapshot, lab).await }).await?;
    session.terminal.result(&saved, |_| report::saved(&saved));
    session.terminal.next(&[
        (format!("wplab snapshot restore {snapshot}"), "put the lab back to this"),
        (command("status", lab), "the lab as it lives"),
    ]);
    Ok(Ending::Done)
}

async fn list(session: &Session) -> Result<Ending> {
    let there = session.perform(|_run| snapshot::list()).await?;
    session.terminal.result(&there, |_| tables::snapshots(&there));
    if there.is_empty() {
        session.terminal.say("there are no snapshots on this machine");
        session.terminal.next(&[("wplab snapshot save NAME".to_owned(), "keep a lab as it is now")]);
    } else {
        session.terminal.next(&[("wplab snapshot restore NAME".to_owned(), "put its lab back to one")]);
    }
    Ok(Ending::Done)
}

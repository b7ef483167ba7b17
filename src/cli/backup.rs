//! `wplab backup …`: the database and the uploads of a lab as one, in object storage.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use wplab::{
    actions::backup::{
        self,
        from::From,
        restore::{self, Wanted},
        schedule::{self, Settings},
        shelves, verify,
    },
    spec::{
        LabName,
        backup::{BackupSpec, Keep, Schedule},
        destination::Destination,
    },
    wire::backup::{archive::Until, manifest::BackupId},
};

use super::{
    failure::Ending,
    render::{backups, tables},
    session::Session,
    spell::{self, command},
};

/// Make, list, show and remove backups of a lab's database and uploads
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wplab backup create                                   a backup of the lab wplab
  wplab backup list                                     its backups
  wplab backup list --all --destination s3://shop/labs  those of every lab in a bucket
  wplab backup show 20261130T113000Z-4f2a
  wplab backup restore latest                           put the newest one in the place of what the lab has
  wplab backup verify latest                            prove the newest one by loading it beside the lab
  wplab backup schedule \"30 3 * * *\"                  one every night
  wplab backup restore latest --to 2026-11-30T16:00:00Z put the lab back to that moment
  wplab backup delete 20261130T113000Z-4f2a
  wplab up shop --from wplab/latest                     make a new lab of it

Where backups go, who can read them and when they are made by themselves stands in the lab file, under `backup`.")]
pub(super) struct Backup {
    #[command(subcommand)]
    what: What,
}

/// Whose backups, and where.
#[derive(Debug, Args)]
struct Shelf {
    /// Name of the lab that they are of [default: wplab]
    #[arg(long, value_name = "NAME", value_parser = LabName::new)]
    lab: Option<LabName>,
    /// Where they are [default: where the lab sends them, else this machine's own store]
    #[arg(long, value_name = "ADDRESS", value_parser = Destination::new)]
    destination: Option<Destination>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a backup now. The site goes on meanwhile
    Create {
        /// Name of the lab [default: wplab]
        #[arg(value_parser = LabName::new)]
        name: Option<LabName>,
    },
    /// List the backups of a lab, which need not stand any more
    List {
        #[command(flatten)]
        shelf: Shelf,
        /// Those of every lab
        #[arg(long, conflicts_with = "lab")]
        all: bool,
    },
    /// Show all that a backup says of itself, and look whether all of it is there
    Show {
        /// Name of the backup
        #[arg(value_parser = BackupId::new)]
        id: BackupId,
        #[command(flatten)]
        shelf: Shelf,
    },
    /// Put a backup in the place of what the lab has, and prove the lab
    ///
    /// Everything is loaded beside the site first and compared with what the backup says, row by row and file by file; the site goes on
    /// meanwhile. Then it takes the place of what is there, for which visitors are sent away for some seconds; and if the site does not
    /// answer with it, everything is put back. What was written since the backup is lost.
    Restore {
        /// The backup: its name or latest, with LAB/ in front for another lab's, and the address of a destination in front of that
        #[arg(value_name = "[[ADDRESS/]LAB/]ID", value_parser = From::new)]
        from: From,
        /// Name of the lab that gets it [default: wplab]
        #[arg(long, value_name = "NAME", value_parser = LabName::new)]
        lab: Option<LabName>,
        /// File with the key that opens it, as age-keygen writes it
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Up to where what was archived after it is restored, too: a moment such as 2026-11-30T16:00:00Z, exclusive, or a GTID set
        #[arg(long, value_name = "TIME|GTIDS", value_parser = Until::new)]
        to: Option<Until>,
    },
    /// Prove a backup by loading it into a server beside the lab
    ///
    /// Every row and every file is compared with what the backup says. The server is there for nothing else and is gone afterwards;
    /// nothing of the lab is touched. What came of it is written into the store, where `backup list` shows it.
    Verify {
        /// The backup: its name or latest, with LAB/ in front for another lab's, and the address of a destination in front of that
        #[arg(value_name = "[[ADDRESS/]LAB/]ID", value_parser = From::new)]
        from: From,
        /// Name of the lab beside which it is loaded [default: wplab]
        #[arg(long, value_name = "NAME", value_parser = LabName::new)]
        lab: Option<LabName>,
        /// File with the key that opens it, as age-keygen writes it
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Show when backups are made, which are kept, and when the newest is proven; or set it
    ///
    /// The runner in the lab does it, also when nobody runs wplab. What was missed is made up for once.
    Schedule {
        /// When one is made: never, or a cron expression in UTC
        #[arg(value_parser = Schedule::new)]
        cron: Option<Schedule>,
        /// Which of the scheduled ones are kept: all, or such as "7 daily, 4 weekly"
        #[arg(long, value_name = "RULE", value_parser = Keep::new)]
        keep: Option<Keep>,
        /// When the newest one is proven: never, or a cron expression in UTC
        #[arg(long, value_name = "CRON", value_parser = Schedule::new)]
        verify: Option<Schedule>,
        /// Name of the lab [default: wplab]
        #[arg(long, value_name = "NAME", value_parser = LabName::new)]
        lab: Option<LabName>,
    },
    /// Remove backups
    Delete {
        /// Names of the backups
        #[arg(required = true, value_parser = BackupId::new)]
        ids: Vec<BackupId>,
        #[command(flatten)]
        shelf: Shelf,
    },
}

impl Backup {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        match self.what {
            What::Create { name } => create(session, &name.unwrap_or_default()).await,
            What::List { shelf, all } => list(session, &shelf, all).await,
            What::Show { id, shelf } => {
                let Shelf { lab, destination } = shelf;
                let (id, lab) = (&id, &lab.unwrap_or_default());
                let at = destination.as_ref();
                let found = session.perform(|run| async move { shelves::show(&run, lab, at, id).await }).await?;
                session.terminal.result(&found, |_| backups::shown(&found));
                Ok(Ending::Done)
            }
            What::Restore { from, lab, identity, to } => {
                restore(session, &lab.unwrap_or_default(), Wanted { from, identity, to }).await
            }
            What::Verify { from, lab, identity } => {
                verify(session, &lab.unwrap_or_default(), Wanted { from, identity, to: None }).await
            }
            What::Schedule { cron, keep, verify, lab } => {
                let settings = Settings { schedule: cron, keep, verify };
                schedule(session, &lab.unwrap_or_default(), &settings).await
            }
            What::Delete { ids, shelf } => {
                let Shelf { lab, destination } = shelf;
                let (ids, lab, at) = (&ids, &lab.unwrap_or_default(), destination.as_ref());
                let gone = session.perform(|run| async move { shelves::delete(&run, lab, at, ids).await }).await?;
                session.terminal.result(&gone, |_| backups::deleted(&gone));
                session.terminal.next(&[(spell::backup("list", lab), "what is left")]);
                Ok(Ending::Done)
            }
        }
    }
}

async fn create(session: &Session, lab: &LabName) -> Result<Ending> {
    let made = session.perform(|run| async move { backup::create(&run, lab).await }).await?;
    session.terminal.result(&made, |_| backups::created(&made));
    session.terminal.next(&[
        (spell::backup(&format!("show {}", made.summary.id), lab), "what is in it"),
        (spell::backup("list", lab), "all backups of the lab"),
    ]);
    Ok(Ending::Done)
}

async fn restore(session: &Session, lab: &LabName, wanted: Wanted) -> Result<Ending> {
    let asked = &wanted;
    let done = session.perform(|run| async move { restore::restore(&run, lab, asked).await }).await?;
    session.terminal.result(&done, |paint| backups::restored(&done, paint));
    let passed = done.smoke.passed();
    session.terminal.next(&if passed {
        [(command("status --watch", lab), "the lab as it lives"), (command("credentials", lab), "the passwords")]
    } else {
        [(command("up", lab), "repair it"), (command("diagnose", lab), "see what went on")]
    });
    Ok(Ending::checked(passed))
}

async fn verify(session: &Session, lab: &LabName, wanted: Wanted) -> Result<Ending> {
    let asked = &wanted;
    let proven = session.perform(|run| async move { verify::verify(&run, lab, asked).await }).await?;
    session.terminal.result(&proven, |_| backups::proven(&proven));
    session.terminal.next(&[
        (spell::backup(&format!("restore {}", wanted.from), lab), "put it in the place of what the lab has"),
        (spell::backup("list", lab), "all backups of the lab"),
    ]);
    Ok(Ending::Done)
}

async fn schedule(session: &Session, lab: &LabName, settings: &Settings) -> Result<Ending> {
    let runs = session.perform(|run| async move { schedule::schedule(&run, lab, settings).await }).await?;
    session.terminal.result(&runs, |_| match &runs {
        Some(runs) => {
            let BackupSpec { destination, encrypt_for, schedule, keep, verify, archive } = &runs.asked;
            format!(
                "made        {schedule}\nkept        {keep}\nproven      {verify}\narchived    {archive}\nsent to     {destination}\nread by     {encrypt_for}\n{}\n",
                backups::status(runs)
            )
        }
        None => format!("lab {lab} has no backups\n"),
    });
    let how = "schedule \"30 3 * * *\" --keep \"7 daily, 4 weekly\"";
    session.terminal.next(&[(spell::backup(how, lab), "one every night"), (spell::backup("list", lab), "all of them")]);
    Ok(Ending::Done)
}

async fn list(session: &Session, shelf: &Shelf, all: bool) -> Result<Ending> {
    let lab = shelf.lab.clone().unwrap_or_default();
    let (of_lab, at) = (Some(&lab).filter(|_| !all), shelf.destination.as_ref());
    let there = session.perform(|run| async move { shelves::list(&run, of_lab, at).await }).await?;
    session.terminal.result(&there, |_| tables::backups(&there));
    if there.backups.is_empty() {
        let whose = if all { "any lab".to_owned() } else { format!("lab {lab}") };
        session.terminal.say(&format!("there are no backups of {whose}"));
        session.terminal.next(&[(command("backup create", &lab), "make one")]);
    }
    Ok(Ending::Done)
}

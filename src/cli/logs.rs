//! `wplab logs`: what the lab's containers wrote.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use wplab::{
    actions::logs::{self, LogOptions},
    spec::LabName,
};

use super::{args, failure::Ending, session::Session};

/// Print the logs of a lab's containers
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab logs\n  wplab logs --of database --since 10m\n  wplab logs demo --of db-1 --previous\n  wplab logs --of frontend --follow"
)]
pub(super) struct Logs {
    #[command(flatten)]
    lab: args::Lab,
    /// Only a part (database, discovery, agent, operator, frontend, storage, autoscale, backup, monitoring) or one pod
    #[arg(long, value_name = "PART|POD")]
    of: Option<String>,
    /// Only what was written within this time, such as 10m
    #[arg(long, value_name = "TIME", value_parser = args::span)]
    since: Option<Duration>,
    /// Also the containers before the last restart
    #[arg(short, long)]
    previous: bool,
    /// Go on with new lines until Ctrl-C
    #[arg(long, conflicts_with = "previous")]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let Logs { lab, of, since, previous, follow } = self;
        let (name, options): (LabName, LogOptions) = (lab.name(), LogOptions { of, since, previous, follow });
        session.perform(|_run| logs::logs(&name, &options, |line| session.terminal.line(line))).await?;
        Ok(Ending::Done)
    }
}

//! `wplab diagnose`: saves what one would look at when a lab misbehaves.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use wplab::{
    actions::{diagnose, standing::NoSuchLab},
    host::docker::Docker,
    run::advice::Trouble,
};

use super::{args::Lab, failure::Ending, session::Session};

/// Save events, objects, logs and journals of a lab into a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wplab diagnose\n  wplab diagnose demo --folder /tmp/demo")]
pub(super) struct Diagnose {
    #[command(flatten)]
    lab: Lab,
    /// Where to [default: a new folder below the lab's own]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Diagnose {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let saved = session
            .perform(|_run| async {
                let docker = Docker::connect().await?;
                let saved = diagnose::save(&docker, &name, self.folder).await?;
                Ok(saved.ok_or_else(|| Trouble::from(NoSuchLab { name: name.clone(), others: Vec::new() }))?)
            })
            .await?;
        session.terminal.result(&saved, |_| format!("{}\n", saved.folder.display()));
        match &saved.cause {
            Some(cause) => session.terminal.say(&format!("likely cause: {cause}")),
            None => session.terminal.say("no likely cause was seen"),
        }
        Ok(Ending::Done)
    }
}

//! `wplab list`: the labs on this machine.

use anyhow::Result;
use clap::Args;
use wplab::actions::list;

use super::{failure::Ending, render::tables, session::Session};

/// List the labs on this machine
#[derive(Debug, Args)]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let labs = session.perform(|_run| list::list()).await?;
        session.terminal.result(&labs, |_| tables::labs(&labs));
        if labs.is_empty() {
            session.terminal.say("there are no labs on this machine");
            session.terminal.next(&[("wplab up".to_owned(), "bring one up")]);
        } else {
            session.terminal.next(&[("wplab status NAME".to_owned(), "look into one")]);
        }
        Ok(Ending::Done)
    }
}

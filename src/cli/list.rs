//! `wplab list`: the labs on this machine.

use anyhow::Result;
use clap::Args;
use wplab::{actions::list, host::nodes::labs::Doing, spec::LabName};

use super::{failure::Ending, render::tables, session::Session, spell::command};

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
            let first = |state| labs.iter().find(|lab| lab.state == state).and_then(|lab| LabName::new(&lab.name).ok());
            let mut next = vec![("wplab status NAME".to_owned(), "look into one")];
            next.extend(first(Doing::Paused).map(|lab| (command("resume", &lab), "go on with a paused one")));
            next.extend(first(Doing::Stopped).map(|lab| (command("start", &lab), "bring back a stopped one")));
            session.terminal.next(&next);
        }
        Ok(Ending::Done)
    }
}

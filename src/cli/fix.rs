//! `--fix` and `--yes`: who is asked before something is installed on this machine.

use std::io::{self, IsTerminal};

use clap::Args;
use futures_util::future::BoxFuture;
use wplab::host::machine::{Action, fix::Consent, outlook::Outlook};

use super::render::{Asker, Terminal};

#[derive(Debug, Args)]
pub(super) struct Fix {
    /// Install what this machine lacks: a Docker engine, kind (Debian and Ubuntu, as root)
    #[arg(long)]
    fix: bool,
    /// With --fix: do not ask before installing
    #[arg(short, long, requires = "fix")]
    yes: bool,
}

impl Fix {
    /// `--fix` asks, unless `--yes` is there or nobody to ask.
    pub(super) fn consent(&self, terminal: &Terminal) -> Option<Box<dyn Consent>> {
        let ask = (!self.yes && io::stdin().is_terminal()).then(|| terminal.asker());
        self.fix.then(|| Box::new(Fixing { ask, tell: terminal.asker() }) as Box<dyn Consent>)
    }
}

/// Says what would be installed and what follows, and, if there is somebody to ask, asks.
struct Fixing {
    ask: Option<Asker>,
    tell: Asker,
}

impl Consent for Fixing {
    fn agree<'a>(&'a self, actions: &'a [Action], outlook: Option<&'a Outlook>) -> BoxFuture<'a, bool> {
        let list: String = actions.iter().map(|action| format!("\n  - {action}")).collect();
        let ahead: String = outlook
            .map(ToString::to_string)
            .iter()
            .flat_map(|all| all.lines())
            .map(|line| format!("\n  - {line}"))
            .collect();
        let list = if ahead.is_empty() { list } else { format!("{list}\nand for `up` after that:{ahead}") };
        Box::pin(async move {
            match &self.ask {
                Some(asker) => asker.ask(format!("--fix would do this on this machine:{list}\nGo on?")).await,
                None => self.tell.tell(format!("--fix does this on this machine:{list}")),
            }
        })
    }
}

//! `wplab up`: brings a lab up, or repairs and completes it.

use std::io::{self, IsTerminal};

use anyhow::Result;
use clap::Args;
use futures_util::future::BoxFuture;
use wplab::{
    down,
    host::fix::{Action, Consent},
    up::{UpOptions, up},
};

use super::{
    args::{self, Wanted},
    failure::{Ending, Plea, command},
    render::{Asker, Terminal, report, tables},
    session::Session,
};

/// Bring a lab up, or repair and complete it; on a healthy lab it changes nothing
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Up {
    #[command(flatten)]
    wanted: Wanted,
    /// Install what this machine lacks: a Docker engine, kind (Debian and Ubuntu, as root)
    #[arg(long)]
    fix: bool,
    /// With --fix: do not ask before installing
    #[arg(short, long, requires = "fix")]
    yes: bool,
    /// Pull from this registry instead of the images' own
    #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
    registry_mirror: Option<String>,
    /// Remove the lab when it does not come up; without this it is kept, and `up` continues
    #[arg(long)]
    destroy_on_failure: bool,
}

const EXAMPLES: &str = "\
Examples:
  wplab up                            bring up the default lab
  wplab up --fix                      the same, after installing what is missing
  wplab up demo --port 8081           a second lab beside it
  wplab up -f lab.yaml --workers 4    the lab of a file, with another number of workers
  wplab up --topology galera          on a synchronous cluster instead of a source and replicas
  wplab up --images bundle.tar        with no network at all
  generate-lab | wplab up -f -        a lab file from standard input";

impl Up {
    pub(super) fn plea(&self) -> Plea {
        Plea::Up { again: self.wanted.again(), name: self.wanted.name() }
    }

    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let terminal = &session.terminal;
        let (spec, fix) = (self.wanted.spec()?, self.consent(terminal));
        let options = UpOptions { spec, fix, registry_mirror: self.registry_mirror };
        let name = options.spec.name.clone();
        session.about(&name);
        let reached = session.perform(|run| async move { up(&run, &options).await }).await;
        if reached.is_err() && self.destroy_on_failure {
            terminal.say("removing the lab, as --destroy-on-failure asks");
            let lab = name.clone();
            session.perform(|run| async move { down::down(&run, &lab).await.map(drop) }).await?;
        }
        let reached = reached?;
        terminal.result(&reached, |paint| report::up(&reached, paint));
        if terminal.verbose() {
            terminal.say(&tables::timings(&reached.timings));
        }
        let passed = reached.smoke.passed();
        if passed && !reached.changed {
            terminal.say("nothing had to be changed");
        }
        terminal.next(&[
            (command("credentials", &name), "the passwords"),
            (command("status --watch", &name), "the lab as it lives"),
            if passed {
                (command("down", &name), "remove it all")
            } else {
                (command("diagnose", &name), "what went on in it")
            },
        ]);
        Ok(Ending::checked(passed))
    }

    /// `--fix` asks, unless `--yes` is there or nobody to ask.
    fn consent(&self, terminal: &Terminal) -> Option<Box<dyn Consent>> {
        let ask = (!self.yes && io::stdin().is_terminal()).then(|| terminal.asker());
        self.fix.then(|| Box::new(Fixing { ask, tell: terminal.asker() }) as Box<dyn Consent>)
    }
}

/// Says what would be installed and, if there is somebody to ask, asks.
struct Fixing {
    ask: Option<Asker>,
    tell: Asker,
}

impl Consent for Fixing {
    fn agree<'a>(&'a self, actions: &'a [Action]) -> BoxFuture<'a, bool> {
        let list: String = actions.iter().map(|action| format!("\n  - {action}")).collect();
        Box::pin(async move {
            match &self.ask {
                Some(asker) => asker.ask(format!("--fix would do this on this machine:{list}\nGo on?")).await,
                None => self.tell.tell(format!("--fix does this on this machine:{list}")),
            }
        })
    }
}

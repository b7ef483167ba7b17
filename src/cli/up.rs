//! `wplab up`: brings a lab up, or repairs and completes it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use wplab::{
    actions::{
        backup::{self, from::From},
        down,
        up::{UpOptions, up},
    },
    wire::backup::archive::Until,
};

use super::{
    args::{self, Wanted},
    failure::Ending,
    fix::Fix,
    render::{report, tables},
    session::Session,
    spell::{Asked, command},
};

/// Bring a lab up, or repair and complete it; on a healthy lab it changes nothing
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Up {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    fix: Fix,
    /// Pull from this registry instead of the images' own
    #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
    registry_mirror: Option<String>,
    /// Stream images into every node, also where clones of a golden root would have them
    #[arg(long)]
    stream: bool,
    /// Begin with a backup: its name or latest, with LAB/ in front for another lab's, and the address of a destination in front of that
    #[arg(long, value_name = "[[ADDRESS/]LAB/]ID", value_parser = From::new)]
    from: Option<From>,
    /// File with the key that opens that backup, as age-keygen writes it
    #[arg(long, value_name = "FILE", requires = "from")]
    identity: Option<PathBuf>,
    /// Up to where what was archived after that backup is wanted, too: a moment such as 2026-11-30T16:00:00Z, exclusive, or a GTID set
    #[arg(long, value_name = "TIME|GTIDS", value_parser = Until::new, requires = "from")]
    to: Option<Until>,
    /// Give what others have declared (with kubectl, for example) the lab file's values
    #[arg(long)]
    take_over: bool,
    /// Begin each step when the one before has ended: slower, for comparison
    #[arg(long)]
    sequential: bool,
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
  wplab up shop --from wplab/latest   a lab that begins with another one's newest backup
  generate-lab | wplab up -f -        a lab file from standard input";

impl Up {
    pub(super) fn asked(&self) -> Asked {
        Asked::Up { wanted: self.wanted.clone(), lab: self.wanted.name() }
    }

    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let terminal = &session.terminal;
        let (spec, fix) = (self.wanted.spec()?, self.fix.consent(terminal));
        let Up { registry_mirror, stream, take_over, sequential, from, identity, to, .. } = self;
        let from = from.map(|from| backup::restore::Wanted { from, identity, to });
        let options = UpOptions { spec, fix, registry_mirror, stream, from, take_over, sequential };
        let name = options.spec.name.clone();
        session.about(&name);
        let reached = session.perform(|run| async move { up(&run, &options).await }).await;
        if reached.is_err() && self.destroy_on_failure {
            terminal.say("removing the lab, as --destroy-on-failure asks");
            let lab = name.clone();
            session.perform(|run| async move { down::down(&run, &lab, false).await.map(drop) }).await?;
        }
        let reached = reached?;
        let asked = Asked::Up { wanted: self.wanted, lab: name.clone() };
        terminal.result(&reached, |paint| report::up(&reached, &asked, paint));
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
}

//! `wplab doctor`: what this machine has and lacks; with `--fix`, installs what it lacks.

use anyhow::Result;
use clap::Args;
use wplab::{
    actions::prepare::prepare,
    host::machine::{Level, doctor},
};

use super::{
    args::{self, Wanted},
    failure::Ending,
    fix::Fix,
    render::tables,
    session::Session,
    spell::Asked,
};

/// Look at what a lab needs of this machine, and name the cure of what is missing
#[derive(Debug, Args)]
#[command(after_help = "Exit code 3 when something is missing that no lab can do without.\n\n\
    Examples:\n  wplab doctor\n  wplab doctor -f lab.yaml    for the lab of a file\n  wplab doctor -o json\n  \
    wplab doctor --fix          install what is missing, and nothing else")]
pub(super) struct Doctor {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    fix: Fix,
    /// Ask this registry instead of the images' own
    #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
    registry_mirror: Option<String>,
}

impl Doctor {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let spec = self.wanted.spec()?;
        let terminal = &session.terminal;
        let (mirror, consent) = (self.registry_mirror.as_deref(), self.fix.consent(terminal));
        let asked = Asked::Up { wanted: self.wanted.clone(), lab: spec.name.clone() };
        let (fix, spec) = (consent.as_deref(), &spec);
        let look = |run| async move {
            match fix {
                Some(consent) => prepare(&run, spec, mirror, consent).await,
                None => Ok(doctor::examine(spec, mirror).await),
            }
        };
        let diagnosis = session.perform(look).await?;
        terminal.result(&diagnosis, |paint| tables::findings(&diagnosis.findings, &asked, paint));
        if diagnosis.worst() == Level::Blocking {
            if fix.is_none() {
                terminal.next(&[
                    ("wplab doctor --fix".to_owned(), "install what can be installed"),
                    (format!("{} --fix", self.wanted.again()), "the same, then bring the lab up"),
                ]);
            }
            return Ok(Ending::Missing);
        }
        terminal.next(&[(self.wanted.again(), "bring the lab up")]);
        Ok(Ending::Done)
    }
}

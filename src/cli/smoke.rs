//! `wplab smoke`: proves a lab that is up.

use anyhow::Result;
use clap::Args;
use wplab::actions::prove;

use super::{
    args::Lab,
    failure::Ending,
    render::tables,
    session::Session,
    spell::{Asked, command},
};

/// Prove a lab through its front door: log in, publish, upload, read back
#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when a check fails.\n\nExamples:\n  wplab smoke\n  wplab smoke demo -o json")]
pub(super) struct Smoke {
    #[command(flatten)]
    lab: Lab,
}

impl Smoke {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let lab = name.clone();
        let proof = session.perform(|run| async move { prove::prove(&run, &lab).await }).await?;
        session.terminal.result(&proof, |paint| tables::checks(&proof, &Asked::Other, paint));
        if !proof.passed() {
            session
                .terminal
                .next(&[(command("up", &name), "repair it"), (command("diagnose", &name), "see what went on")]);
        }
        Ok(Ending::checked(proof.passed()))
    }
}

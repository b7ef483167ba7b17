//! `wplab render`: the lab's Kubernetes objects as YAML.

use anyhow::Result;
use clap::Args;
use wplab::actions::render;

use super::{args::Wanted, failure::Ending, session::Session};

/// Print exactly what `up` would apply to the cluster, as YAML
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wplab render > lab-objects.yaml\n  wplab render -f lab.yaml | kubectl diff -f -")]
pub(super) struct Render {
    #[command(flatten)]
    wanted: Wanted,
}

impl Render {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let spec = self.wanted.spec()?;
        let objects = session.perform(|_run| render::local(&spec)).await?;
        // YAML in both formats: it is what the command is asked for.
        session.terminal.data(&objects);
        Ok(Ending::Done)
    }
}

//! `wplab kubeconfig`: the path of a lab's own kubeconfig.

use anyhow::Result;
use clap::Args;
use wplab::actions::status;

use super::{args::Lab, failure::Ending, session::Session};

/// Print the path of a lab's own kubeconfig; yours is left alone
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  export KUBECONFIG=\"$(wplab kubeconfig)\"\n  kubectl --kubeconfig \"$(wplab kubeconfig demo)\" get pods -n wplab"
)]
pub(super) struct Kubeconfig {
    #[command(flatten)]
    lab: Lab,
}

impl Kubeconfig {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let path = session.perform(|_run| status::kubeconfig(&name)).await?;
        session.terminal.result(&path, |_| format!("{}\n", path.display()));
        Ok(Ending::Done)
    }
}

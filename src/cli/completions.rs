//! `wplab completions`: what a shell needs to complete our command line.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, failure::Ending, session::Session};

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wplab completions bash > ~/.local/share/bash-completion/completions/wplab\n  wplab completions fish > ~/.config/fish/completions/wplab.fish"
)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, session: &Session) -> Result<Ending> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "wplab", &mut script);
        session.terminal.data(&String::from_utf8_lossy(&script));
        Ok(Ending::Done)
    }
}

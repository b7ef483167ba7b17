//! `wplab status`: a lab as it is now, once or again and again.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use wplab::{actions::status, host::nodes::labs::Doing};

use super::{args::Lab, failure::Ending, render::report, session::Session, spell::command};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);

/// Show a lab: nodes, database members, replicas, autoscaler, volume, URL
#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when something of the lab does not serve.\n\n\
    Examples:\n  wplab status\n  wplab status demo --watch\n  wplab status -o json")]
pub(super) struct Status {
    #[command(flatten)]
    lab: Lab,
    /// Look again every two seconds until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Status {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let name = self.lab.name();
        let terminal = &session.terminal;
        if self.watch {
            return session
                .perform(|_run| async {
                    let mut beat = tokio::time::interval(EVERY);
                    loop {
                        beat.tick().await;
                        let seen = status::status(&name).await?;
                        terminal.again(&seen, |paint| report::status(&seen, paint));
                    }
                })
                .await;
        }
        let seen = session.perform(|_run| status::status(&name)).await?;
        terminal.result(&seen, |paint| report::status(&seen, paint));
        let healthy = seen.healthy();
        let back = match seen.state {
            Doing::Running => None,
            Doing::Paused => Some((command("resume", &name), "go on where it was")),
            Doing::Stopped => Some((command("start", &name), "bring it back as it was")),
        };
        if let Some(back) = back {
            terminal.next(&[back]);
        } else if healthy {
            terminal.next(&[(command("smoke", &name), "prove it"), (command("credentials", &name), "log in")]);
        } else {
            let etcd = seen.etcd.iter().any(|member| !member.healthy);
            let etcd = etcd.then(|| (command("repair etcd", &name), "rebuild etcd, when a volume of it is lost"));
            let next = [(command("up", &name), "repair it"), (command("diagnose", &name), "see what went on in it")]
                .into_iter();
            terminal.next(&next.chain(etcd).collect::<Vec<_>>());
        }
        Ok(Ending::checked(healthy))
    }
}

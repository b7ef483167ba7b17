//! What is done about a server that does not help itself: one that has lost the others, or that joins and comes no further.
//! What it needs is judged in [`watch`](super::super::watch); here the others are asked where that depends on them.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Member;
use crate::inside::member::{
    galera::{
        decide::{Decision, Phase, decide, scattered},
        footprint::Footprint,
        watch::Remedy,
    },
    status::GaleraFacts,
};

/// Time between two looks at how far a server that joins has come.
const MEASURING: Duration = Duration::from_secs(5);

impl Member {
    /// Carries out a remedy, if the others are as it supposes.
    pub(super) async fn cure(&mut self, remedy: Remedy) -> Result<()> {
        match remedy {
            Remedy::Stay => Ok(()),
            Remedy::Restart(reason) => self.restart(reason).await,
            Remedy::StopIfOthersEnded(reason) => {
                let seen = self.reporter.snapshot().await?;
                let ended = |name: &String| {
                    let record = seen.members.get(name).map(|found| &found.record);
                    record.is_some_and(|record| record.phase == Phase::Waiting)
                };
                let members = self.config.members();
                let mut others = members.iter().filter(|name| **name != self.config.name);
                if others.all(ended) { self.restart(reason).await } else { Ok(()) }
            }
            Remedy::StopIfScattered(reason) => {
                let seen = self.reporter.snapshot().await?;
                if scattered(&self.config.name, &self.config.members(), &seen) {
                    self.restart(reason).await
                } else {
                    Ok(())
                }
            }
            Remedy::StopUnlessOthers(reason) => {
                // While etcd is silent nobody could be elected, so nothing is gained by stopping.
                let seen = self.reporter.snapshot().await?;
                match decide(&self.config.name, &self.config.members(), &seen) {
                    Decision::Join { .. } => Ok(()),
                    _ => self.restart(reason).await,
                }
            }
        }
    }

    /// A server that joins does not answer, and does not notice for minutes that those it would get its data from have ended:
    /// then everybody would wait for it.
    pub(super) async fn leave_hopeless_join(&mut self) -> Result<()> {
        if !self.course.joins() {
            return Ok(());
        }
        let before = self.hopeless_since.take();
        let seen = self.reporter.snapshot().await?;
        if let Decision::Join { .. } = decide(&self.config.name, &self.config.members(), &seen) {
            return Ok(());
        }
        let since = before.unwrap_or_else(Instant::now);
        self.hopeless_since = Some(since);
        self.cure(self.course.remedy_of_join(since.elapsed())).await
    }

    /// Whether a server that joins has come no further for long: where it gets its data from has died without a word.
    pub(super) fn stalls(&mut self, facts: Option<&GaleraFacts>) -> bool {
        let now = Instant::now();
        if !self.course.joins() || now < self.measured {
            return false;
        }
        self.measured = now + MEASURING;
        let footprint = Footprint::of(&self.volume.datadir());
        self.course.stalls((footprint, facts.map(|facts| facts.seqno)), now)
    }
}

//! Whose turn it is: normally everybody's at once; with `--sequential` one step's after another's, which shows what beginning
//! everything at once is worth (docs/performance.md).

use std::collections::BTreeMap;

use anyhow::Result;

use crate::run::{Run, StepCx, Stepped, event::StepId, gate::Gate};

/// The steps of one run of the recipe.
pub(super) struct Turns<'a> {
    pub(super) run: &'a Run,
    /// Open where the step may begin, as far as the others are concerned.
    gates: BTreeMap<StepId, Gate<()>>,
}

impl<'a> Turns<'a> {
    /// Every gate is open; one after another, only that of the recipe's first step.
    pub(super) fn new(run: &'a Run, sequential: bool) -> Turns<'a> {
        let gates: BTreeMap<StepId, Gate<()>> = StepId::UP.map(|step| (step, Gate::closed())).into();
        for (step, gate) in &gates {
            if !sequential || *step <= StepId::Images {
                gate.open(());
            }
        }
        Turns { run, gates }
    }

    /// Waits until it is a step's turn.
    pub(super) async fn of(&self, step: StepId) {
        if let Some(gate) = self.gates.get(&step) {
            gate.wait().await;
        }
    }

    /// [`Run::step`] when it is its turn; then it is the next one's.
    ///
    /// # Errors
    /// As [`Run::step`].
    pub(super) async fn step<T, F>(&self, step: StepId, body: impl FnOnce(StepCx) -> F) -> Result<T>
    where
        F: Future<Output = Result<Stepped<T>>>,
    {
        self.of(step).await;
        let done = self.run.step(step, body).await?;
        if let Some((_, next)) = self.gates.iter().find(|(other, _)| **other > step) {
            next.open(());
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::run::event::Event;

    /// What happens when the steps of the recipe come to their turn all at once, the last one first.
    async fn happened(sequential: bool) -> Vec<(&'static str, StepId)> {
        let (run, mut events) = Run::new(None);
        let turns = Turns::new(&run, sequential);
        let steps = StepId::UP.into_iter().skip(1).rev().map(|step| {
            turns.step(step, |_| async {
                tokio::task::yield_now().await;
                Ok(Stepped::done((), ""))
            })
        });
        assert!(join_all(steps).await.iter().all(Result::is_ok));
        let mut seen = Vec::new();
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Started { step } => seen.push(("started", step)),
                Event::Finished { step, .. } => seen.push(("finished", step)),
                _ => {}
            }
        }
        seen
    }

    #[tokio::test]
    async fn one_after_another_each_begins_when_the_one_before_has_ended() {
        let want = StepId::UP.into_iter().skip(1).flat_map(|step| [("started", step), ("finished", step)]);
        assert_eq!(happened(true).await, want.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_turn_otherwise() {
        let begun = happened(false).await.into_iter().take(StepId::UP.len() - 1);
        assert!(begun.map(|(what, _)| what).all(|what| what == "started"));
    }

    #[tokio::test]
    async fn a_step_that_fails_gives_nobody_a_turn() {
        let run = Run::silent();
        let turns = Turns::new(&run, true);
        let failed = turns.step::<(), _>(StepId::Images, |_| async { anyhow::bail!("none") }).await;
        assert!(failed.is_err());
        let next = tokio::time::timeout(std::time::Duration::from_millis(10), turns.of(StepId::Cluster)).await;
        assert!(next.is_err(), "the nodes are made without images");
    }
}

//! The rhythm of a supervisor: how often it looks, and how long it pauses before a server that keeps ending is started again.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, MissedTickBehavior, interval},
};

use super::process;

/// Time between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// The longest pause before a server that keeps ending is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// When a supervisor looks again.
pub(super) struct Turns {
    tick: Interval,
    children: Signal,
}

impl Turns {
    /// The first turn is at once.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn begin() -> Result<Turns> {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Turns { tick, children: signal(SignalKind::child())? })
    }

    /// Waits for the next turn, which comes at once when a child ends, and collects what others left behind. `ours` is the
    /// server's process, which is awaited where it was started.
    pub(super) async fn next(&mut self, ours: Option<u32>) {
        tokio::select! {
            _ = self.tick.tick() => {}
            _ = self.children.recv() => {}
        }
        process::reap_orphans(ours);
    }
}

/// The pause before a server is started again that has ended by itself this often in a row before.
pub(super) fn pause(falls: u32) -> Duration {
    Duration::from_secs(1 << falls.min(4)).min(LONGEST_PAUSE)
}

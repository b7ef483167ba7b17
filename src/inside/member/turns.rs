//! The rhythm of a supervisor: how often it looks, more often while it brings its member up, and how long it pauses before a
//! server that keeps ending is started again.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, interval},
};

use super::process;

/// Time between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// The same while the member does not serve yet, or not any more: others wait for what is seen here.
const HURRIED: Duration = Duration::from_millis(250);
/// How long a supervisor hurries; what has not come by then is waited for calmly.
const HURRY: Duration = Duration::from_secs(60);
/// The longest pause before a server that keeps ending is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// When a supervisor looks again.
pub(super) struct Turns {
    tick: Interval,
    /// Since when the member does not serve; `None` while it does.
    idle_since: Option<Instant>,
    begun: bool,
    children: Signal,
}

impl Turns {
    /// The first turn is at once.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn begin() -> Result<Turns> {
        Ok(Turns { tick: interval(EVERY), idle_since: None, begun: false, children: signal(SignalKind::child())? })
    }

    /// Waits for the next turn, which comes at once when a child ends, and collects what others left behind. `ours` is the
    /// server's process, which is awaited where it was started; `serves` is whether there is nothing to hurry for.
    pub(super) async fn next(&mut self, ours: Option<u32>, serves: bool) {
        if std::mem::replace(&mut self.begun, true) {
            let pace = self.pace(serves, Instant::now());
            self.tick.reset_after(pace);
        }
        tokio::select! {
            _ = self.tick.tick() => {}
            _ = self.children.recv() => {}
        }
        process::reap_orphans(ours);
    }

    fn pace(&mut self, serves: bool, now: Instant) -> Duration {
        if serves {
            self.idle_since = None;
            return EVERY;
        }
        let since = *self.idle_since.get_or_insert(now);
        if now.duration_since(since) < HURRY { HURRIED } else { EVERY }
    }
}

/// The pause before a server is started again that has ended by itself this often in a row before.
pub(super) fn pause(falls: u32) -> Duration {
    Duration::from_secs(1 << falls.min(4)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_supervisor_hurries_for_a_while_whenever_its_member_does_not_serve() {
        let mut turns = Turns::begin().expect("signals");
        let start = Instant::now();
        assert_eq!(turns.pace(false, start), HURRIED);
        assert_eq!(turns.pace(false, start + HURRY), EVERY, "it waits for somebody who may never come");
        assert_eq!(turns.pace(true, start + HURRY), EVERY);
        assert_eq!(turns.pace(false, start + HURRY * 2), HURRIED, "it serves no more");
    }
}

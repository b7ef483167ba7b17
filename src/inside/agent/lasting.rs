//! How long something has been so: decisions look at no clock, so what they need of time is measured here and handed in.

use std::time::Duration;

use tokio::time::Instant;

/// Something that is so, or is not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lasting(Option<Instant>);

impl Lasting {
    /// Takes note of whether it is so now; for how long it has been without a break.
    pub(super) fn note(&mut self, so: bool, now: Instant) -> Duration {
        if !so {
            self.0 = None;
            return Duration::ZERO;
        }
        now.saturating_duration_since(*self.0.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_counted_from_its_last_beginning() {
        let (mut lasting, start, second) = (Lasting::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(lasting.note(true, start), Duration::ZERO);
        assert_eq!(lasting.note(true, start + second), second);
        assert_eq!(lasting.note(false, start + second * 2), Duration::ZERO);
        assert_eq!(lasting.note(true, start + second * 3), Duration::ZERO);
        assert_eq!(lasting.note(true, start + second * 5), second * 2);
    }
}

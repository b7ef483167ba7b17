//! The one waiting loop: ready, not yet (because …), or fatal. A timeout repeats the last reason.

use std::{fmt, future::Future, time::Duration};

use tokio::{sync::Notify, time::Instant};

/// What one look found. An `Err` beside it means that waiting is pointless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// It is there.
    Ready(T),
    /// Not yet, and why.
    NotYet(String),
}

/// Waiting ended without success; says what was waited for, how long, and what was seen last.
#[derive(Clone, Debug)]
pub struct TimedOut {
    /// What was waited for, as in "waiting for …".
    pub what: String,
    /// How long.
    pub after: Duration,
    /// Why it was not ready at the last look.
    pub last: String,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {} s for {}: {}", self.after.as_secs(), self.what, self.last)
    }
}

impl std::error::Error for TimedOut {}

/// Looks every `every` until the look is ready, an error says that waiting is pointless, or `limit` has passed.
///
/// A look that hangs is cut off at the deadline; `on_reason` hears every new reason for waiting.
///
/// # Errors
/// [`TimedOut`] with the last reason, or whatever a look returned.
pub async fn until<T, F>(
    what: &str,
    limit: Duration,
    every: Duration,
    on_reason: impl FnMut(&str),
    look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Look<T>>>,
{
    until_woken(what, limit, every, &Notify::new(), on_reason, look).await
}

/// [`until`] that also looks whenever `wake` is notified: then `every` is only for what nobody tells.
///
/// # Errors
/// As [`until`].
pub async fn until_woken<T, F>(
    what: &str,
    limit: Duration,
    every: Duration,
    wake: &Notify,
    mut on_reason: impl FnMut(&str),
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Look<T>>>,
{
    let start = Instant::now();
    let deadline = start + limit;
    let mut last = String::from("no answer to the first look");
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(Look::Ready(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(reason))) => {
                if reason != last {
                    on_reason(&reason);
                    last = reason;
                }
            }
            Ok(Err(fatal)) => return Err(fatal),
            Err(_) => {}
        }
        if Instant::now() + every >= deadline {
            return Err(TimedOut { what: what.to_owned(), after: start.elapsed(), last }.into());
        }
        // Too early is as good as in time: who is woken only looks.
        let _ = tokio::time::timeout(every, wake.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const EVERY: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn ready_returns_the_value_and_every_new_reason_is_told() {
        let mut left = 3;
        let mut reasons = Vec::new();
        let got = until(
            "x",
            LIMIT,
            EVERY,
            |r| reasons.push(r.to_owned()),
            || {
                left -= 1;
                let look = if left == 0 { Look::Ready(7) } else { Look::NotYet("still cold".into()) };
                async move { Ok(look) }
            },
        )
        .await;
        assert_eq!(got.ok(), Some(7));
        assert_eq!(reasons, ["still cold"]);
    }

    #[tokio::test]
    async fn who_is_woken_looks_at_once() {
        let (wake, hour) = (Notify::new(), Duration::from_hours(1));
        let mut looks = 0;
        let look = || {
            looks += 1;
            wake.notify_one();
            std::future::ready(Ok(if looks == 3 { Look::Ready(looks) } else { Look::NotYet("asleep".into()) }))
        };
        assert_eq!(until_woken("x", 2 * hour, hour, &wake, |_| {}, look).await.ok(), Some(3));
    }

    #[tokio::test]
    async fn a_timeout_repeats_the_last_reason() {
        let error = until::<(), _>(
            "the kettle",
            Duration::from_millis(20),
            EVERY,
            |_| {},
            || async { Ok(Look::NotYet("lid open".into())) },
        )
        .await
        .expect_err("must time out");
        let timed_out = error.downcast_ref::<TimedOut>().expect("a TimedOut");
        assert_eq!((timed_out.what.as_str(), timed_out.last.as_str()), ("the kettle", "lid open"));
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_off_and_a_fatal_error_ends_the_wait_at_once() {
        let hung = until::<(), _>("x", Duration::from_millis(20), EVERY, |_| {}, std::future::pending).await;
        assert!(hung.expect_err("must time out").is::<TimedOut>());
        let fatal = until::<(), _>("x", LIMIT, EVERY, |_| {}, || async { Err(anyhow::anyhow!("broken")) }).await;
        assert_eq!(fatal.expect_err("fatal").to_string(), "broken");
    }
}

//! How this executable listens inside the cluster: so many connections at once and no more, whoever has nothing to say goes
//! first, and no hurry after an error. What is spoken on them is each server's own.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long nothing is accepted after an error: one that lasts (no file descriptor is left) must not take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// One of the places that a server has for connections; free again when its last holder is gone. While all are taken, whoever
/// comes takes that of the connection that has been silent longest; when all have spoken, it waits outside.
#[derive(Clone)]
pub(super) struct Place(Arc<Held>);

impl Place {
    /// The other side has said what it came for, and is not shown out any more.
    pub(super) fn keep(&self) {
        self.0.silent.spoke(self.0.number);
    }
}

struct Held {
    number: u64,
    silent: Silent,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.silent.spoke(self.number);
    }
}

/// Those who have not said anything yet, the oldest first, and how each is told to go.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<BTreeMap<u64, Arc<Notify>>>>);

impl Silent {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spoke(&self, number: u64) {
        self.all().remove(&number);
    }

    fn show_the_oldest_out(&self) {
        if let Some((_, go)) = self.all().pop_first() {
            go.notify_one();
        }
    }
}

/// Every address of this pod, at this port.
///
/// # Errors
/// The port is taken.
pub(super) async fn at(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("cannot listen on port {port}"))
}

/// Gives every connection to `serve`, beside the caller, until the process ends.
pub(super) fn attend<F>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream, Place) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = Arc::new(listener);
    let next = move || {
        let listener = listener.clone();
        async move { listener.accept().await.map(|(stream, _)| stream) }
    };
    tokio::spawn(accept(next, most, serve));
}

async fn accept<S, A, F>(next: impl Fn() -> A, most: usize, serve: impl Fn(S, Place) -> F)
where
    A: Future<Output = io::Result<S>>,
    F: Future<Output = ()> + Send + 'static,
{
    let (places, silent) = (Arc::new(Semaphore::new(most)), Silent::default());
    for number in 0.. {
        let stream = loop {
            match next().await {
                Ok(stream) => break stream,
                // Too early is never: nothing ends it but the time.
                Err(_) => {
                    let _ = timeout(PAUSE, pending::<()>()).await;
                }
            }
        };
        if places.available_permits() == 0 {
            silent.show_the_oldest_out();
        }
        // It is never closed.
        let Ok(permit) = places.clone().acquire_owned().await else { return };
        let go = Arc::new(Notify::new());
        silent.all().insert(number, go.clone());
        let place = Place(Arc::new(Held { number, silent: silent.clone(), _permit: permit }));
        let served = serve(stream, place);
        tokio::spawn(async move {
            tokio::select! {
                () = served => {}
                () = go.notified() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Instant,
    };

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_error_that_lasts_is_not_met_in_a_hurry_and_ends_nothing() {
        let (tries, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let counted = tries.clone();
        let next = move || {
            let first = counted.fetch_add(1, Ordering::SeqCst) < 3;
            async move { if first { Err(io::Error::other("no file descriptor is left")) } else { Ok(()) } }
        };
        let (told, mut served) = mpsc::unbounded_channel();
        tokio::spawn(accept(next, 1, move |(), place| {
            place.keep();
            let _ = told.send(place);
            async {}
        }));
        let place = served.recv().await.expect("the fourth is served");
        assert!(begun.elapsed() >= PAUSE * 3, "{:?}", begun.elapsed());
        // One more waits outside; nobody is asked for others.
        assert!(tries.load(Ordering::SeqCst) <= 5);
        drop(place);
        assert!(served.recv().await.is_some(), "who waited outside");
    }

    #[tokio::test]
    async fn who_has_been_silent_longest_is_shown_out_and_whoever_spoke_is_not() {
        let (come, arrivals) = mpsc::unbounded_channel::<&'static str>();
        let arrivals = Arc::new(tokio::sync::Mutex::new(arrivals));
        let next = move || {
            let arrivals = arrivals.clone();
            async move { arrivals.lock().await.recv().await.ok_or_else(|| io::Error::other("nobody")) }
        };
        let (told, mut served) = mpsc::unbounded_channel();
        tokio::spawn(accept(next, 3, move |name: &'static str, place: Place| {
            let ends = Ends(name, told.clone());
            let _ = told.send(format!("{name} in"));
            async move {
                if name == "speaker" {
                    place.keep();
                }
                pending::<()>().await;
                drop((ends, place));
            }
        }));
        let mut seen = Vec::new();
        for name in ["speaker", "first", "second", "third", "fourth"] {
            come.send(name).expect("taken");
            while !seen.contains(&format!("{name} in")) {
                seen.push(timeout(Duration::from_secs(10), served.recv()).await.expect("in time").expect("news"));
            }
        }
        let wanted = ["speaker in", "first in", "second in", "first out", "third in", "second out", "fourth in"];
        assert_eq!(seen, wanted);
    }

    /// Tells when a connection has ended.
    struct Ends(&'static str, mpsc::UnboundedSender<String>);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.1.send(format!("{} out", self.0));
        }
    }
}

//! How this executable listens inside the cluster: so many connections at once and no more, and no hurry after an error. What
//! is spoken on them is each server's own.

use std::{future::pending, io, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long nothing is accepted after an error: one that lasts (no file descriptor is left) must not take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// One of the places that a server has for connections. It is free again when its last holder is gone; until then whoever
/// comes too many waits outside.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

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
    let places = Arc::new(Semaphore::new(most));
    // It is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        match next().await {
            Ok(stream) => {
                tokio::spawn(serve(stream, Arc::new(place)));
            }
            // Too early is never: nothing ends it but the time.
            Err(_) => {
                let _ = timeout(PAUSE, pending::<()>()).await;
            }
        }
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
            let _ = told.send(place);
            async {}
        }));
        let place = served.recv().await.expect("the fourth is served");
        assert!(begun.elapsed() >= PAUSE * 3, "{:?}", begun.elapsed());
        // The only place is taken, so nobody is asked for the next one.
        assert_eq!(tries.load(Ordering::SeqCst), 4);
        drop(place);
        assert!(served.recv().await.is_some(), "who waited outside");
    }
}

//! Readers and an editor at the front door, at a steady rate, as long as a round takes.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use tokio::sync::{Mutex, watch};

use super::{
    clock::{Clock, Pace, steadily},
    sums::Sample,
};
use crate::actions::smoke::{
    browser::{Browser, Door},
    marker::Marker,
    site::{self, Login, Visit},
};

/// Two readers a second.
pub(super) const READERS: Pace = Pace { every: Duration::from_millis(500), patience: Duration::from_secs(10) };
/// An edit every three seconds; it is three requests.
pub(super) const EDITOR: Pace = Pace { every: Duration::from_secs(3), patience: Duration::from_secs(15) };

/// The site answers, but not as it should.
#[derive(Debug)]
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Readers of the front page.
pub(super) async fn readers(
    clock: Clock,
    url: String,
    title: String,
    door: Door,
    stop: watch::Receiver<bool>,
) -> Result<Vec<Sample>> {
    let browser = Arc::new(Browser::new(&url)?);
    Ok(steadily(clock, READERS, stop, kind, move |_| {
        let (browser, door, title) = (browser.clone(), door.clone(), title.clone());
        async move {
            let page = browser.get(&door, "/").await?;
            match page.status {
                200 if site::shows_title(&page.text(), &title) => Ok(()),
                200 => Err(anyhow!(Wrong("another page".to_owned()))),
                status => Err(anyhow!(Wrong(format!("status {status}")))),
            }
        }
    })
    .await)
}

/// Somebody who has logged in, saves a draft again and again, and reads it back each time.
pub(super) struct Editor {
    visit: Arc<Visit<'static>>,
}

impl Editor {
    /// Logs in.
    ///
    /// # Errors
    /// The site does not let the administrator in.
    pub(super) async fn enter(url: &str, title: &str, door: Door, login: &Login) -> Result<Editor> {
        let doors = Box::new(move || {
            let doors = vec![door.clone()];
            async move { Ok(doors) }.boxed()
        });
        let visit = Arc::new(Visit::new(url, title, &Marker::new(), doors)?);
        visit.log_in(login).await?;
        Ok(Editor { visit })
    }

    /// Edits until told to stop.
    pub(super) async fn edit(&self, clock: Clock, stop: watch::Receiver<bool>) -> Vec<Sample> {
        // One person does one thing at a time; whoever has to wait for that waits.
        let desk = Arc::new(Mutex::new(()));
        let visit = self.visit.clone();
        steadily(clock, EDITOR, stop, kind, move |number| {
            let (visit, desk) = (visit.clone(), desk.clone());
            async move {
                let _turn = desk.lock().await;
                visit.draft(&format!("revision {number}")).await
            }
        })
        .await
    }

    /// Removes what was saved, and logs out.
    ///
    /// # Errors
    /// The site does not answer.
    pub(super) async fn leave(self) -> Result<()> {
        self.visit.clean_up().await.map(drop)
    }
}

/// What kind of failure this is, in few words, so that the same ones can be counted together.
fn kind(error: &anyhow::Error) -> String {
    if let Some(wrong) = error.downcast_ref::<Wrong>() {
        return wrong.to_string();
    }
    let broken = error.chain().find_map(|cause| cause.downcast_ref::<reqwest::Error>());
    match broken {
        Some(error) if error.is_connect() => "refused".to_owned(),
        Some(error) if error.is_timeout() => "no answer".to_owned(),
        Some(_) => "broken off".to_owned(),
        None => {
            let said = error.root_cause().to_string();
            // WordPress's own words are many; its number says enough.
            let status =
                said.split_once("answers ").and_then(|(_, rest)| rest.get(..3)).filter(|s| s.parse::<u16>().is_ok());
            status.map_or(said.clone(), |status| format!("status {status}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_kind_are_counted_together() {
        let cases = [
            (anyhow!(Wrong("status 503".into())), "status 503"),
            (anyhow!("WordPress answers 500: There has been a critical error"), "status 500"),
            (anyhow!("the draft is not what was saved").context("cannot edit"), "the draft is not what was saved"),
        ];
        for (error, wanted) in cases {
            assert_eq!(kind(&error), wanted);
        }
    }
}

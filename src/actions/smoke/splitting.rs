//! Whether pages are read from the readers where the lab file says so, and whoever has just saved something reads at the writer
//! (docs/front-door.md). Neighbour of [`super::site`], whose doors it goes through.

use anyhow::{Result, ensure};
use reqwest::{Method, header::COOKIE};

use super::{
    browser::{Browser, Door, Page},
    site::{Visit, expect_status, shows_title},
};

/// Says who has read a page.
const READ_BY: &str = "X-Wplab-Database";
/// What a browser has that has just saved something.
const SAVED: &str = "wplab_wrote=1";

impl Visit<'_> {
    /// Every door reads a stranger's page from a reader, and that of who has just saved something at the writer.
    ///
    /// # Errors
    /// Which door does not, and who has read it instead.
    pub async fn split_reads(&self) -> Result<String> {
        self.at_every_door(|door| self.split_at(door)).await
    }

    async fn split_at(&self, door: Door) -> Result<()> {
        // Whom nobody knows: the others may have saved something by now.
        let stranger = Browser::new(self.visitor.url("/")?.as_str())?;
        let page = stranger.get(&door, "/").await?;
        expect_status(&page, 200)?;
        ensure!(shows_title(&page.text(), &self.title), "the readers' front page has not the site's title");
        ensure!(read_by(&page) == Some("reader"), "a stranger's page is read {}", told(&page));
        let page = stranger.send(&door, Method::GET, "/", |request| request.header(COOKIE, SAVED)).await?;
        expect_status(&page, 200)?;
        ensure!(read_by(&page).is_none(), "the page of who has just saved something is read {}", told(&page));
        Ok(())
    }
}

/// Who has read a page, where its answer says so.
pub(super) fn read_by(page: &Page) -> Option<&str> {
    page.headers.get(READ_BY).and_then(|value| value.to_str().ok())
}

fn told(page: &Page) -> String {
    read_by(page).map_or_else(|| "at the writer".to_owned(), |way| format!("otherwise ({way})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::smoke::testing::{Asked, TITLE, answer, one_door};

    async fn visited(site: fn(&Asked) -> Vec<u8>) -> Result<String> {
        one_door(site).await.visit.split_reads().await
    }

    fn by_reader(_: &Asked) -> Vec<u8> {
        answer(200, &[(READ_BY, "reader")], TITLE)
    }

    fn by_writer(_: &Asked) -> Vec<u8> {
        answer(200, &[], TITLE)
    }

    fn split(asked: &Asked) -> Vec<u8> {
        if asked.header("cookie") == SAVED { by_writer(asked) } else { by_reader(asked) }
    }

    #[tokio::test]
    async fn who_is_known_reads_at_the_writer_and_the_others_do_not() {
        assert_eq!(visited(split).await.expect("passes"), "at the front door");
        let error = |result: Result<String>| format!("{:#}", result.expect_err("fails"));
        assert!(error(visited(by_writer).await).contains("a stranger's page is read at the writer"));
        assert!(error(visited(by_reader).await).contains("otherwise (reader)"));
    }
}

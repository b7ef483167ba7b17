//! What visitors meet while the database has no writer, tried on a healthy lab: a request that says so is answered as if there
//! were none (docs/front-door.md). Neighbour of [`super::site`], whose doors it goes through.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, header::RETRY_AFTER};

use super::{
    browser::Door,
    site::{Visit, expect_status, shows_title},
    splitting::read_by,
};

/// Asks the site to do without the writer.
const DO_WITHOUT: &str = "X-Wplab-Read-Only";

impl Visit<'_> {
    /// Every door shows the front page out of the readers, and tells whoever wants to save something to come again.
    ///
    /// # Errors
    /// Which door does not, and what it answered instead.
    pub async fn without_writer(&self) -> Result<String> {
        self.at_every_door(|door| self.without_writer_at(door)).await
    }

    async fn without_writer_at(&self, door: Door) -> Result<()> {
        let page = self.visitor.send(&door, Method::GET, "/", |request| request.header(DO_WITHOUT, "1")).await?;
        expect_status(&page, 200)?;
        ensure!(
            read_by(&page) == Some("read-only"),
            "wp-content/db.php is not this lab's: pages are not read from the readers"
        );
        ensure!(shows_title(&page.text(), &self.title), "the readers' front page has not the site's title");
        let form = [("comment", "smoke"), ("comment_post_ID", "1")];
        let comment = |request: reqwest::RequestBuilder| request.header(DO_WITHOUT, "1").form(&form);
        let refused = self.visitor.send(&door, Method::POST, "/wp-comments-post.php", comment).await?;
        expect_status(&refused, 503)?;
        refused.headers.get(RETRY_AFTER).map(drop).context("a comment is refused without Retry-After")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::smoke::testing::{Asked, TITLE, answer, one_door};

    async fn visited(site: fn(&Asked) -> Vec<u8>) -> Result<String> {
        one_door(site).await.visit.without_writer().await
    }

    fn sound(asked: &Asked) -> Vec<u8> {
        match (asked.method.as_str(), asked.header("x-wplab-read-only").as_str()) {
            ("GET", "1") => answer(200, &[("X-Wplab-Database", "read-only")], TITLE),
            ("POST", "1") => answer(503, &[("Retry-After", "10")], ""),
            _ => answer(200, &[], TITLE),
        }
    }

    #[tokio::test]
    async fn a_site_that_reads_on_and_refuses_what_it_cannot_save_passes() {
        assert_eq!(visited(sound).await.expect("passes"), "at the front door");
    }

    #[tokio::test]
    async fn a_site_that_does_not_know_of_readers_or_takes_what_it_cannot_save_does_not() {
        let error = |result: Result<String>| format!("{:#}", result.expect_err("fails"));
        let plain = |_: &Asked| answer(200, &[], TITLE);
        assert!(error(visited(plain).await).contains("db.php"));
        let takes = |asked: &Asked| if asked.method == "POST" { answer(302, &[], "") } else { sound(asked) };
        assert!(error(visited(takes).await).contains("answers 302"));
        let curt = |asked: &Asked| if asked.method == "POST" { answer(503, &[], "") } else { sound(asked) };
        assert!(error(visited(curt).await).contains("without Retry-After"));
    }
}

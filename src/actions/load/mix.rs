//! What users ask for, in which proportion, and what an answer must be to count. Pure.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::actions::smoke::stock::Stock;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The front page.
    Front,
    /// A post.
    Post,
    /// A page.
    Page,
    /// The search, which goes through all posts.
    Search,
    /// An uploaded image: a file, without PHP and without the database.
    Image,
    /// The dashboard and the list of posts, of somebody who has logged in.
    Admin,
    /// The editor with a post, likewise.
    Edit,
}

/// What is searched for, in turn: some is found, some is not.
const WORDS: [&str; 4] = ["hello", "wordpress", "sample", "nothing+has+this"];
/// What somebody looks at who has logged in.
const ADMIN: [&str; 2] = ["/wp-admin/", "/wp-admin/edit.php"];

impl Kind {
    /// All of them, in the order of a report.
    pub const ALL: [Kind; 7] =
        [Kind::Front, Kind::Post, Kind::Page, Kind::Search, Kind::Image, Kind::Admin, Kind::Edit];

    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Front => "front page",
            Kind::Post => "post",
            Kind::Page => "page",
            Kind::Search => "search",
            Kind::Image => "image",
            Kind::Admin => "dashboard",
            Kind::Edit => "editor",
        }
    }

    /// How many of twenty requests are of this kind.
    pub const fn of_twenty(self) -> usize {
        match self {
            Kind::Front | Kind::Post => 5,
            Kind::Image => 4,
            Kind::Page | Kind::Search => 2,
            Kind::Admin | Kind::Edit => 1,
        }
    }

    /// Whether only somebody who has logged in may ask for it.
    pub const fn logged_in(self) -> bool {
        matches!(self, Kind::Admin | Kind::Edit)
    }

    /// Why an answer with status 200 is not what was asked for; `at` is where it came from in the end.
    pub(super) fn wrong(self, at: &str, body: &[u8]) -> Option<&'static str> {
        if self == Kind::Image {
            return (!body.starts_with(b"GIF8") && body.starts_with(b"<")).then_some("no image");
        }
        if self.logged_in() && at.ends_with("/wp-login.php") {
            return Some("asks to log in again");
        }
        let whole = body.trim_ascii_end().ends_with(b"</html>");
        (!whole).then_some("half a page")
    }
}

/// What there is to ask for, and whose turn it is.
pub(super) struct Mix {
    stock: Stock,
    turn: AtomicUsize,
}

impl Mix {
    pub(super) fn of(stock: Stock) -> Mix {
        Mix { stock, turn: AtomicUsize::new(0) }
    }

    /// The kinds that this site has something of.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| *kind != Kind::Page || !self.stock.pages.is_empty())
    }

    /// The address of the next request of a kind.
    pub(super) fn next(&self, kind: Kind) -> String {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let of = |all: &[String]| all.get(turn % all.len().max(1)).map_or("/", String::as_str).to_owned();
        match kind {
            Kind::Front => "/".to_owned(),
            Kind::Post => of(&self.stock.posts),
            Kind::Page => of(&self.stock.pages),
            Kind::Search => format!("/?s={}", WORDS[turn % WORDS.len()]),
            Kind::Image => of(&self.stock.images),
            Kind::Admin => ADMIN[turn % ADMIN.len()].to_owned(),
            Kind::Edit => self.stock.edit.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(pages: &[&str]) -> Mix {
        let all = |some: &[&str]| some.iter().map(|one| (*one).to_owned()).collect();
        Mix::of(Stock { posts: all(&["/a/", "/b/"]), pages: all(pages), images: all(&["/i.gif"]), edit: "/e".into() })
    }

    #[test]
    fn twenty_requests_are_a_whole_round() {
        assert_eq!(Kind::ALL.iter().map(|kind| kind.of_twenty()).sum::<usize>(), 20);
        let logged_in = Kind::ALL.iter().filter(|kind| kind.logged_in()).map(|kind| kind.of_twenty()).sum::<usize>();
        assert_eq!(logged_in, 2);
    }

    #[test]
    fn everything_that_the_site_has_is_asked_for_in_turn() {
        let mix = mix(&["/p/"]);
        let posts: Vec<String> = (0..4).map(|_| mix.next(Kind::Post)).collect();
        assert_eq!(posts, ["/a/", "/b/", "/a/", "/b/"]);
        assert!(mix.next(Kind::Search).starts_with("/?s="));
        assert_eq!(mix.next(Kind::Edit), "/e");
    }

    #[test]
    fn nobody_asks_for_a_page_where_there_is_none() {
        assert!(mix(&[]).kinds().all(|kind| kind != Kind::Page));
        assert_eq!(mix(&["/p/"]).kinds().count(), Kind::ALL.len());
    }

    #[test]
    fn an_answer_must_be_what_was_asked_for() {
        assert_eq!(Kind::Front.wrong("/", b"<html></html>\n"), None);
        assert_eq!(Kind::Front.wrong("/", b"<html>"), Some("half a page"));
        assert_eq!(Kind::Admin.wrong("/wp-login.php", b"</html>"), Some("asks to log in again"));
        assert_eq!(Kind::Image.wrong("/i.gif", b"GIF89a"), None);
        assert_eq!(Kind::Image.wrong("/i.gif", b"<!DOCTYPE html>"), Some("no image"));
    }
}

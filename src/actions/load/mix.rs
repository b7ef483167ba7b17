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

/// Twenty requests, in the order in which they are asked for, by whoever is next: so few users, and few requests, ask for the same
/// mix as many.
const ROUND: [Kind; 20] = [
    Kind::Front,
    Kind::Post,
    Kind::Image,
    Kind::Page,
    Kind::Post,
    Kind::Front,
    Kind::Search,
    Kind::Image,
    Kind::Post,
    Kind::Front,
    Kind::Admin,
    Kind::Front,
    Kind::Post,
    Kind::Image,
    Kind::Page,
    Kind::Search,
    Kind::Post,
    Kind::Front,
    Kind::Image,
    Kind::Edit,
];

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
    pub fn of_twenty(self) -> usize {
        ROUND.iter().filter(|kind| **kind == self).count()
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

    /// What is asked for next, and where it is. A site without pages is asked for a post instead.
    pub(super) fn next(&self) -> (Kind, String) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (round, kind) = (turn / ROUND.len(), ROUND[turn % ROUND.len()]);
        let kind = if kind == Kind::Page && self.stock.pages.is_empty() { Kind::Post } else { kind };
        // Which of that kind: the same kind comes several times in a round.
        let nth = round * kind.of_twenty() + ROUND[..turn % ROUND.len()].iter().filter(|one| **one == kind).count();
        let of = |all: &[String]| all.get(nth % all.len().max(1)).map_or("/", String::as_str).to_owned();
        let path = match kind {
            Kind::Front => "/".to_owned(),
            Kind::Post => of(&self.stock.posts),
            Kind::Page => of(&self.stock.pages),
            Kind::Search => format!("/?s={}", WORDS[nth % WORDS.len()]),
            Kind::Image => of(&self.stock.images),
            Kind::Admin => ADMIN[nth % ADMIN.len()].to_owned(),
            Kind::Edit => self.stock.edit.clone(),
        };
        (kind, path)
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
    fn every_twenty_requests_have_the_same_mix() {
        let asked: Vec<usize> = Kind::ALL.iter().map(|kind| kind.of_twenty()).collect();
        assert_eq!(asked, [5, 5, 2, 2, 4, 1, 1]);
        let mix = mix(&["/p/"]);
        for _ in 0..3 {
            let round: Vec<Kind> = (0..20).map(|_| mix.next().0).collect();
            let logged_in = round.iter().filter(|kind| kind.logged_in()).count();
            assert!(logged_in == 2 && Kind::ALL.iter().all(|kind| round.contains(kind)), "{round:?}");
        }
    }

    #[test]
    fn everything_that_the_site_has_is_asked_for_in_turn() {
        let mix = mix(&["/p/"]);
        let asked: Vec<(Kind, String)> = (0..40).map(|_| mix.next()).collect();
        let of = |kind: Kind| asked.iter().filter(|one| one.0 == kind).map(|one| one.1.as_str()).collect::<Vec<_>>();
        assert_eq!(of(Kind::Post)[..4], ["/a/", "/b/", "/a/", "/b/"]);
        assert_eq!(of(Kind::Admin), ADMIN);
        assert_eq!(of(Kind::Search).len(), WORDS.len());
        assert_eq!((of(Kind::Image)[0], of(Kind::Edit)[0]), ("/i.gif", "/e"));
    }

    #[test]
    fn nobody_asks_for_a_page_where_there_is_none() {
        let mix = mix(&[]);
        assert!((0..40).map(|_| mix.next().0).all(|kind| kind != Kind::Page));
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

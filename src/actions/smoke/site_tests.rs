//! Tests of [`super`]: visits to a stand-in for WordPress that does as much as the checks can tell apart.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::FutureExt;

use super::*;
use crate::actions::smoke::testing::{Asked, Server, answer};

const SITE: &str = "http://127.0.0.1:8080";

/// What the replicas of a site share, and how one of them behaves badly.
#[derive(Default)]
struct Site {
    things: std::sync::Mutex<BTreeMap<u64, (String, String)>>,
    refuses_posts: bool,
    forgets_sessions: bool,
}

/// As much of WordPress as the checks can tell apart.
fn wordpress(site: &Site, asked: &Asked) -> Vec<u8> {
    let mut things = site.things.lock().expect("not poisoned");
    let inside = asked.header("cookie").contains("wordpress_logged_in_x=1") && !site.forgets_sessions;
    let (method, path) = (asked.method.as_str(), asked.path.as_str());
    let page = |body: &str| answer(200, &[], body);
    let found = |at: &str, headers: &[(&str, &str)]| answer(302, &[&[("Location", at)], headers].concat(), "");
    if let Some(rest) = path.strip_prefix("/index.php?rest_route=/wp/v2/") {
        let (kind, query) = rest.split_once(['/', '&']).unwrap_or((rest, ""));
        if asked.header("x-wp-nonce") != "abcdef0123"
            || !inside
            || (site.refuses_posts && method == "POST" && kind == "posts")
        {
            return answer(403, &[], r#"{"message":"Sorry, you are not allowed to do that."}"#);
        }
        let id = things.keys().max().unwrap_or(&0) + 1;
        return match (method, kind) {
            ("POST", "posts") => {
                let post: Value = serde_json::from_str(&asked.body).expect("JSON");
                things.insert(
                    id,
                    (post["slug"].as_str().expect("a slug").into(), post["content"].as_str().expect("text").into()),
                );
                answer(201, &[], &json!({ "id": id }).to_string())
            }
            ("DELETE", _) => {
                things.remove(&query.trim_end_matches("&force=true").parse().expect("a number"));
                page("{}")
            }
            ("GET", "posts") => {
                let list: Vec<Value> = things.iter().map(|(id, (slug, _))| json!({ "id": id, "slug": slug })).collect();
                page(&Value::from(list).to_string())
            }
            _ => page("[]"),
        };
    }
    match (method, path) {
        ("GET", "/") => page("<title>A &amp; B&#8217;s lab</title>"),
        ("GET", "/wp-login.php") => {
            answer(200, &[("Set-Cookie", "wordpress_test_cookie=1; path=/")], "<form id=\"loginform\">")
        }
        ("POST", "/wp-login.php")
            if asked.body.contains("pwd=right&") && asked.header("cookie").contains("wordpress_test_cookie") =>
        {
            found("http://127.0.0.1:8080/wp-admin/", &[("Set-Cookie", "wordpress_logged_in_x=1; path=/")])
        }
        ("POST", "/wp-login.php") => page("<div id=\"login_error\">"),
        ("GET", "/wp-login.php?action=logout&_wpnonce=1") => {
            found("/", &[("Set-Cookie", "wordpress_logged_in_x=; path=/; Max-Age=0")])
        }
        ("GET", "/wp-admin/") if inside => page(
            "<div id=\"wpadminbar\"><a href='http://x/wp-login.php?action=logout&amp;_wpnonce=1'></a><div id=\"dashboard-widgets\">",
        ),
        ("GET", "/wp-admin/") => found("/wp-login.php", &[]),
        ("GET", "/wp-admin/admin-ajax.php?action=rest-nonce") if inside => page("abcdef0123"),
        ("GET", path) => match path.strip_prefix("/?p=").and_then(|id| things.get(&id.parse().ok()?)) {
            Some((_, text)) => page(text),
            None => answer(404, &[], "<title>Page not found</title>"),
        },
        _ => answer(400, &[], ""),
    }
}

async fn server(site: &Arc<Site>) -> Server {
    let site = site.clone();
    Server::start(move |asked| wordpress(&site, asked)).await
}

fn visit<'a>(servers: &'a [Server], marker: &Marker) -> Visit<'a> {
    let doors =
        servers.iter().enumerate().map(|(n, s)| Door::new(format!("wordpress-{n}"), s.addr)).collect::<Vec<_>>();
    let doors: Doors<'a> = Box::new(move || std::future::ready(Ok(doors.clone())).boxed());
    Visit::new(SITE, "A & B's lab", marker, doors).expect("a visit")
}

fn login(password: &str) -> Login {
    Login { user: "admin".into(), password: password.into() }
}

#[tokio::test]
async fn a_whole_visit_passes_and_leaves_only_what_was_there_before() {
    let site = Arc::new(Site::default());
    let (stale, neighbour) = ("wplab-smoke-1000-00000000".to_owned(), "wplab-smoke-hints".to_owned());
    site.things.lock().expect("not poisoned").extend([(1, (stale, String::new())), (2, (neighbour, String::new()))]);
    let servers = [server(&site).await, server(&site).await];
    let visit = visit(&servers, &Marker::new());
    assert_eq!(visit.front_page().await.expect("a page"), "at the front door and 1 replica");
    assert_eq!(visit.log_in(&login("right")).await.expect("a session"), "as admin");
    visit.dashboard().await.expect("a dashboard");
    assert_eq!(visit.publish().await.expect("a post"), "post 3, at the front door and 1 replica");
    assert_eq!(visit.publish().await.expect("the same post"), "post 3, at the front door and 1 replica");
    assert_eq!(visit.clean_up().await.expect("clean"), 2);
    assert_eq!(site.things.lock().expect("not poisoned").keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(visit.clean_up().await.expect("logged out, nothing to do"), 0);
}

#[tokio::test]
async fn a_refused_password_is_hopeless_and_is_not_told() {
    let servers = [server(&Arc::default()).await];
    let error = visit(&servers, &Marker::new()).log_in(&login("hush-hush")).await.expect_err("refused");
    assert!(error.is::<Hopeless>() && !format!("{error:#}").contains("hush"));
}

#[tokio::test]
async fn a_replica_that_does_not_know_the_session_is_named() {
    let servers =
        [server(&Arc::default()).await, server(&Arc::new(Site { forgets_sessions: true, ..Site::default() })).await];
    let visit = visit(&servers, &Marker::new());
    visit.log_in(&login("right")).await.expect("a session");
    let error = format!("{:#}", visit.dashboard().await.expect_err("no dashboard there"));
    assert_eq!(error, "at wordpress-1: asks to log in again");
}

#[tokio::test]
async fn a_post_that_another_replica_does_not_show_fails_and_is_removed_all_the_same() {
    let (one, two) = (Arc::new(Site::default()), Arc::new(Site::default()));
    let servers = [server(&one).await, server(&two).await];
    let visit = visit(&servers, &Marker::new());
    visit.log_in(&login("right")).await.expect("a session");
    let error = format!("{:#}", visit.publish().await.expect_err("not at the second"));
    assert_eq!(error, "at wordpress-1: / answers 404 (\"Page not found\")");
    assert_eq!(one.things.lock().expect("not poisoned").len(), 1);
    assert_eq!(visit.clean_up().await.expect("clean"), 1);
    assert!(one.things.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn wordpress_own_words_say_why_a_post_was_refused() {
    let servers = [server(&Arc::new(Site { refuses_posts: true, ..Site::default() })).await];
    let visit = visit(&servers, &Marker::new());
    visit.log_in(&login("right")).await.expect("a session");
    let error = format!("{:#}", visit.publish().await.expect_err("refused"));
    assert_eq!(error, "cannot publish a post: WordPress answers 403: Sorry, you are not allowed to do that.");
}

#[test]
fn a_title_is_found_however_wordpress_prints_it() {
    let page = "<title>R&amp;D &#8211; Jane&#8217;s lab &#8211; Just another site</title>";
    assert!(shows_title(page, "R&D - Jane's lab"));
    assert!(!shows_title(page, "Joe's lab"));
    assert!(!shows_title("<h1>Jane's lab</h1>", "Jane's lab"));
}

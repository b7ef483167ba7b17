//! Users of a stand-in for a site. goose has one switch for all loads of a process, so everything is one test.

use super::super::mix::Kind;
use super::*;
use crate::actions::smoke::{
    stock::Stock,
    testing::{Server, answer},
};

fn stock() -> Stock {
    let all = |one: &str| vec![one.to_owned()];
    Stock { posts: all("/post/"), pages: all("/page/"), images: all("/i.gif"), edit: "/wp-admin/post.php".to_owned() }
}

async fn site() -> Server {
    Server::start(|request| {
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        match path.as_str() {
            "/i.gif" => answer(200, &[], "GIF89a"),
            "/page/" => answer(302, &[("Location", "http://127.0.0.1:9/")], ""),
            "/post/" => answer(503, &[], ""),
            path if path.starts_with("/wp-admin/") && request.header("cookie") != "in=1" => {
                answer(302, &[("Location", "/wp-login.php")], "")
            }
            _ => answer(200, &[], "<html></html>"),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_ask_for_everything_stay_on_the_site_and_stop_when_told() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tame();
    let server = site().await;
    let url = format!("http://{}", server.addr);
    let tally = Tally::new();
    let crowd = Crowd::new(&url, Mix::of(stock()), HeaderValue::from_static("in=1"), tally.clone()).expect("a crowd");
    let pace = Pace { users: 0, rate: Some(40), ramp: Duration::from_secs(1), length: None };
    let going = crowd.send(&pace).expect("they come");
    let begin = Instant::now();
    while tally.samples().len() < 60 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", tally.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rate = 60.0 / begin.elapsed().as_secs_f64();
    assert!(!going.is_over() && rate < 60.0, "{rate} requests a second");
    going.stop().await.expect("they stop");
    let samples = tally.samples();
    let failed = |kind: Kind| {
        let of = samples.iter().filter(|sample| sample.kind == kind);
        of.map(|sample| sample.error.as_deref()).next().expect("was asked for")
    };
    for good in [Kind::Front, Kind::Search, Kind::Image, Kind::Admin, Kind::Edit] {
        assert_eq!(failed(good), None, "{}", good.name());
    }
    assert_eq!((failed(Kind::Page), failed(Kind::Post)), (Some("leads elsewhere"), Some("status 503")));

    let pace = Pace { users: 2, rate: None, ramp: Duration::from_secs(1), length: Some(Duration::from_secs(2)) };
    let going = crowd.send(&pace).expect("they come");
    tokio::time::timeout(Duration::from_secs(20), going.over.notified()).await.expect("they go by themselves");
    assert!(tally.samples().len() > samples.len());
    going.stop().await.expect("it ended well");
}

#[test]
fn only_this_machine_is_asked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let crowd = |url: &str| Crowd::new(url, Mix::of(stock()), HeaderValue::from_static("a=1"), Tally::new()).map(drop);
    assert!(crowd("http://127.0.0.1:8080").is_ok());
    for other in ["http://example.org", "https://127.0.0.1:8080", "http://192.0.2.1:8080", "ftp://127.0.0.1"] {
        let error = crowd(other).expect_err("refused").to_string();
        assert!(error.contains("not on this machine"), "{error}");
    }
}

#[test]
fn goose_opens_no_port_and_prints_nothing() {
    let pace = Pace { users: 7, rate: None, ramp: Duration::from_secs(10), length: Some(Duration::from_mins(1)) };
    let how = configured(&Url::parse("http://127.0.0.1:8080/").expect("a URL"), &pace);
    assert!(how.no_telnet && how.no_websocket && how.no_metrics && how.no_print_metrics);
    assert_eq!((how.host.as_str(), how.users), ("http://127.0.0.1:8080", Some(7)));
    assert_eq!((how.startup_time.as_str(), how.run_time.as_str(), how.throttle_requests), ("10s", "50s", 0));
    let rated = configured(&Url::parse("http://127.0.0.1:8080/").expect("a URL"), &Pace { rate: Some(30), ..pace });
    assert_eq!((rated.users, rated.throttle_requests), (Some(60), 30));
}

//! What read/write splitting gives visitors: one lab that does it, strangers, who are read for at the readers, and others who carry the
//! cookie of who has just saved something, for whom it is as if the lab did not. Both ask for the same page of the same
//! replicas, in turn; then at a steady rate while a drill takes the writer away.

use std::time::{Duration, Instant};

use reqwest::{Client, header::COOKIE};

use crate::{in_turn, lab::Lab};

/// Between two visitors of a side while a drill goes on, how long they come, and how long one waits.
const EVERY: Duration = Duration::from_millis(200);
const COME: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
/// What takes the writer away for a moment, and what lets it hang.
const DRILLS: [&str; 2] = ["writer-process", "writer-frozen"];
const NAME: &str = "wplab-bench-reads";
const SIDES: [&str; 2] = ["readers", "writer"];

/// A visitor of one of the [`SIDES`] asks for the front page; how long that took, in seconds, and whether it was one.
async fn ask(client: &Client, url: &str, side: usize) -> (f64, bool) {
    let begin = Instant::now();
    let mut request = client.get(url);
    if side == 1 {
        request = request.header(COOKIE, "wplab_wrote=1");
    }
    let page = async { request.send().await?.error_for_status()?.text().await };
    let whole = page.await.is_ok_and(|page| page.contains("</html>"));
    (begin.elapsed().as_secs_f64(), whole)
}

/// `pairs` requests of each side by one visitor, then blocks of several, then the drills.
pub(crate) fn measure(pairs: usize) {
    let lab = Lab::new(NAME);
    let file = lab.file("wordpress: {reads: readers}\n");
    let url = lab.up(&["-f", &file]).assert_code(0).json()["url"].as_str().expect("a URL").to_owned();
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE).build().expect("a client");
    in_turn::compare(&lab, SIDES, pairs, async |side| {
        let (took, whole) = ask(&client, &url, side).await;
        assert!(whole, "the site answers");
        took * 1000.0
    });
    println!("{:<16} {:<8} {:>6} {:>7} {:>6} {:>12}", "while", "read at", "asked", "refused", "> 1 s", "longest, s");
    for drill in DRILLS {
        let args = ["chaos", "run", drill, "--lab", lab.name(), "-o", "json"];
        lab.run_while(&args, "for ", || lab.block_on(visited(drill, &client, &url))).assert_code(0);
    }
}

/// Both sides come at a steady rate, whatever became of those before.
async fn visited(drill: &str, client: &Client, url: &str) {
    let mut visitors = Vec::new();
    let mut due = tokio::time::interval(EVERY);
    let begin = Instant::now();
    while begin.elapsed() < COME {
        due.tick().await;
        for side in [0, 1] {
            let (client, url) = (client.clone(), url.to_owned());
            visitors.push((side, tokio::spawn(async move { ask(&client, &url, side).await })));
        }
    }
    let (mut took, mut refused) = ([Vec::new(), Vec::new()], [0, 0]);
    for (side, visitor) in visitors {
        let (seconds, whole) = visitor.await.expect("it ends");
        took[side].push(seconds);
        refused[side] += usize::from(!whole);
    }
    for side in [0, 1] {
        let slow = took[side].iter().filter(|seconds| **seconds > 1.0).count();
        let longest = took[side].iter().fold(0.0, |longest: f64, seconds| longest.max(*seconds));
        let (asked, refused) = (took[side].len(), refused[side]);
        println!("{drill:<16} {:<8} {asked:>6} {refused:>7} {slow:>6} {longest:>12.2}", SIDES[side]);
    }
}

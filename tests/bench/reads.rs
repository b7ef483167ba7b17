//! What read/write splitting gives visitors: one lab that does it, strangers, who are read for at the readers, and others who carry the
//! cookie of who has just saved something, for whom it is as if the lab did not. Both ask for the same page of the same
//! replicas, in turn; then at a steady rate while a drill takes the writer away.

use std::time::{Duration, Instant};

use reqwest::{Client, header::COOKIE};

use crate::{
    lab::Lab,
    stats::{median, ratio},
};

/// Requests of each side before the clock counts.
const WARM: usize = 60;
/// Blocks of requests by several visitors at a time, and how many requests each of them makes.
const BLOCKS: usize = 20;
const VISITORS: usize = 4;
const EACH: usize = 10;
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
    let whole = async |side| {
        let (took, whole) = ask(&client, &url, side).await;
        assert!(whole, "the site answers");
        took * 1000.0
    };
    // In turn, and who begins changes.
    let order = |turn: usize| if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    let mut alone = [Vec::new(), Vec::new()];
    for turn in 0..WARM + pairs {
        for side in order(turn) {
            let took = lab.block_on(whole(side));
            if turn >= WARM {
                alone[side].push(took);
            }
        }
    }
    tell("one visitor, ms a page", &alone);
    let mut together = [Vec::new(), Vec::new()];
    for turn in 0..BLOCKS {
        for side in order(turn) {
            let begin = Instant::now();
            let visitor = async || {
                for _ in 0..EACH {
                    whole(side).await;
                }
            };
            lab.block_on(futures_util::future::join_all((0..VISITORS).map(|_| visitor())));
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            together[side].push(begin.elapsed().as_secs_f64() * 1000.0 / (VISITORS * EACH) as f64);
        }
    }
    tell("four visitors, ms a page", &together);
    println!("{:<16} {:<8} {:>6} {:>7} {:>6} {:>12}", "while", "read at", "asked", "refused", "> 1 s", "longest, s");
    for drill in DRILLS {
        let args = ["chaos", "run", drill, "--lab", lab.name(), "-o", "json"];
        lab.run_while(&args, "for ", || lab.block_on(visited(drill, &client, &url))).assert_code(0);
    }
}

fn tell(what: &str, took: &[Vec<f64>; 2]) {
    let [readers, writer] = took;
    let (one, other) = (median(readers).unwrap_or_default(), median(writer).unwrap_or_default());
    let (ratio, low, high) = ratio(readers, writer).expect("both sides were asked");
    println!(
        "{what:<26} readers {one:>6.1}  writer {other:>6.1}  ratio {ratio:.3} ({low:.3} to {high:.3}), {} pairs",
        readers.len()
    );
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

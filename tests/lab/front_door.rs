//! The front door while what is behind it is away: visitors at a steady rate, each on a connection of its own, while the node
//! with the database's writer and then the NFS server are taken away. Nobody may be refused a connection, pages go on, and what
//! cannot be saved is told so. It does not matter who takes writes afterwards.

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use tokio::task::JoinSet;

use crate::lab::{Engine, Lab, say};

/// Between two visitors.
const EVERY: Duration = Duration::from_millis(250);
/// How long one waits. Those whose connection was given to a dead node's replica wait in vain until Kubernetes gives that up.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long each thing is away.
const AWAY: Duration = Duration::from_secs(30);
/// How long nobody at all may get a page: a second for the writer, up to five readers of which one is dead, and a busy machine.
const LONGEST_GAP: Duration = Duration::from_secs(12);
/// How soon the replicas know that the shared folder is away, or back: a look a second and its patience, on a busy machine.
const NOTICED: Duration = Duration::from_secs(10);

/// Takes the writer's node and the NFS server away, one after the other, and leaves the lab whole. `up` is what the lab was made with.
pub(crate) fn under_fire(lab: &Lab, url: &str, up: &[&str]) {
    lab.run(&["smoke", lab.name()]).assert_code(0);
    without_the_writers_node(lab, url, up);
    without_the_nfs_server(lab, url);
    lab.run(&["smoke", lab.name()]).assert_code(0);
}

fn without_the_writers_node(lab: &Lab, url: &str, up: &[&str]) {
    let writers: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("wplab.dev/role=writer"));
    let node = writers.first().and_then(|pod| pod.spec.as_ref()?.node_name.clone()).expect("a writer on a node");
    let visitors = Visitors::come(lab, url, &["/", "/?p=1"]);
    let begin = Instant::now();
    Engine::kill_container(&node);
    visitors.stay(begin, AWAY);
    lab.up(up).assert_code(0);
    let seen = visitors.leave(lab);
    say(&format!("the writer's node is away: {}", seen.told()));
    assert!(seen.refused.is_empty(), "nobody is refused a connection: {:?}", seen.refused);
    assert!(seen.longest_gap < LONGEST_GAP, "pages go on: {}", seen.told());
    assert!(seen.pages_without_writer > 0, "some were read from the readers: {}", seen.told());
    assert!(seen.told_later > 0, "who wants to save something is told to come again: {}", seen.told());
}

fn without_the_nfs_server(lab: &Lab, url: &str) {
    let replicas = lab.replicas();
    let one = replicas.first().expect("a replica").name_any();
    lab.exec(&one, &["sh", "-c", "echo kept > /mnt/wp-content/uploads/front-door.txt"]);
    let upload = format!("{url}/wp-content/uploads/front-door.txt");
    assert_eq!(lab.get(&upload), (200, "kept\n".to_owned()));

    lab.scale("nfs", 0);
    let begin = Instant::now();
    until(lab, &upload, 503, "an upload that cannot be had");
    // From now on nothing hangs any more, so everything is answered, and soon.
    let visitors = Visitors::come(lab, url, &["/"]);
    visitors.stay(begin, AWAY);
    let seen = visitors.leave(lab);
    assert_eq!(lab.get(&upload).0, 503, "the server is still away");
    let serving: Vec<String> = lab.replicas().iter().map(ResourceExt::name_any).collect();
    let now = lab.try_pods("app.kubernetes.io/name=wordpress").expect("the API server answers");
    // One that the autoscaler takes away meanwhile has not left by itself.
    let stays = now.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any);
    let was_there = |pod: &String| replicas.iter().any(|replica| replica.name_any() == *pod);
    let left: Vec<String> = stays.filter(was_there).filter(|pod| !serving.contains(pod)).collect();
    assert!(left.is_empty(), "these have left the Service: {left:?}");
    lab.scale("nfs", 1);
    until(lab, &upload, 200, "an upload when the server is back");
    say(&format!("the NFS server is away: {}", seen.told()));
    assert!(seen.failed.is_empty() && seen.refused.is_empty(), "every page is answered: {}", seen.told());
    assert!(seen.pages > 40 && seen.told_later == 0, "and every comment is taken: {}", seen.told());
    lab.exec(&one, &["rm", "/mnt/wp-content/uploads/front-door.txt"]);
}

/// Waits until every one of ten requests in a row gets this status: each may meet another replica.
#[track_caller]
fn until(lab: &Lab, url: &str, status: u16, what: &str) {
    let begin = Instant::now();
    let client = reqwest::Client::builder().timeout(PATIENCE).pool_max_idle_per_host(0).build().expect("a client");
    let mut in_a_row = 0;
    while in_a_row < 10 {
        let got = lab.block_on(async { client.get(url).send().await.map(|answer| answer.status().as_u16()) });
        in_a_row = if got.as_ref().is_ok_and(|got| *got == status) { in_a_row + 1 } else { 0 };
        // The server itself takes a while to be scheduled and to export.
        assert!(begin.elapsed() < NOTICED + Duration::from_secs(80), "{what}: {got:?} instead of {status}");
    }
}

/// What the visitors met.
#[derive(Debug, Default)]
struct Seen {
    pages: usize,
    pages_without_writer: usize,
    told_later: usize,
    /// When pages came, since the first visitor.
    at: Vec<Duration>,
    longest_gap: Duration,
    /// A connection that nobody listens for.
    refused: Vec<String>,
    /// Everything else that is no page and no invitation to come again, with how often.
    failed: BTreeMap<String, usize>,
}

impl Seen {
    fn told(&self) -> String {
        let Seen { pages, pages_without_writer, told_later, longest_gap, refused, failed, .. } = self;
        format!(
            "{pages} pages, {pages_without_writer} of them without a writer, longest gap {:.1} s; {told_later} told to come again; {} refused; {failed:?}",
            longest_gap.as_secs_f64(),
            refused.len()
        )
    }
}

struct Visitors {
    enough: Arc<AtomicBool>,
    begin: Instant,
    seen: Arc<Mutex<Seen>>,
    all: tokio::task::JoinHandle<()>,
}

impl Visitors {
    fn come(lab: &Lab, url: &str, pages: &[&str]) -> Visitors {
        let enough = Arc::new(AtomicBool::new(false));
        let (seen, begin) = (Arc::new(Mutex::new(Seen::default())), Instant::now());
        let pages: Vec<String> = pages.iter().map(|page| format!("{url}{page}")).collect();
        let comment = format!("{url}/wp-comments-post.php");
        lab.block_on(async {
            let all = tokio::spawn(stream(pages, comment, begin, enough.clone(), seen.clone()));
            Visitors { enough, begin, seen, all }
        })
    }

    /// Until so long after `begin`.
    fn stay(&self, begin: Instant, long: Duration) {
        std::thread::sleep(long.saturating_sub(begin.elapsed()));
    }

    fn leave(self, lab: &Lab) -> Seen {
        self.enough.store(true, Ordering::Relaxed);
        let end = self.begin.elapsed();
        lab.block_on(self.all).expect("every visitor comes back");
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.at.sort();
        let marks = [Duration::ZERO].into_iter().chain(seen.at.iter().copied()).chain([end]).collect::<Vec<_>>();
        seen.longest_gap = marks.windows(2).map(|two| two[1].saturating_sub(two[0])).max().unwrap_or_default();
        seen
    }
}

/// One after the other until there were enough; ends when the last one has left.
async fn stream(pages: Vec<String>, comment: String, begin: Instant, enough: Arc<AtomicBool>, seen: Arc<Mutex<Seen>>) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let (mut visits, mut turn) = (JoinSet::new(), tokio::time::interval(EVERY));
    for number in 0_usize.. {
        turn.tick().await;
        if enough.load(Ordering::Relaxed) {
            break;
        }
        visits.spawn(visit(client.get(&pages[number % pages.len()]), begin, seen.clone()));
        if number.is_multiple_of(2) {
            // Without a text WordPress refuses it, but only once it has looked at its database.
            let form = client.post(&comment).form(&[("comment_post_ID", "1"), ("comment", "")]);
            visits.spawn(visit(form, begin, seen.clone()));
        }
    }
    while visits.join_next().await.is_some() {}
}

async fn visit(request: reqwest::RequestBuilder, begin: Instant, seen: Arc<Mutex<Seen>>) {
    let answered = async {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        answer.bytes().await?;
        Ok::<_, reqwest::Error>((status, headers))
    };
    let answered = answered.await;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match answered {
        // Pages, redirects to pretty addresses, and what WordPress says of a comment.
        Ok((200..400 | 409, headers)) => {
            seen.pages += 1;
            seen.pages_without_writer += usize::from(headers.contains_key("x-wplab-database"));
            seen.at.push(begin.elapsed());
        }
        Ok((503, headers)) if headers.contains_key("retry-after") => seen.told_later += 1,
        Ok((status, _)) => *seen.failed.entry(status.to_string()).or_default() += 1,
        Err(error) if is_refused(&error) => seen.refused.push(format!("{error} at {:?}", begin.elapsed())),
        Err(error) => {
            let kind = if error.is_timeout() { "no answer in time" } else { "broken off" };
            *seen.failed.entry(kind.to_owned()).or_default() += 1;
        }
    }
}

fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(it) = cause {
        if it.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = it.source();
    }
    false
}

//! A user who writes row after row and remembers each one that was acknowledged: what a drill may not lose. Writes go to
//! whichever pod has the role of the writer, over TLS, as the site's account; nothing here uses the tool's library.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client, ResourceExt, api::ListParams};
use mysql_async::{Conn, OptsBuilder, SslOpts, prelude::Queryable};
use tokio::net::TcpListener;

/// A connection or a write that takes longer counts as failed; its row counts as unknown.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause between two writes.
const PAUSE: Duration = Duration::from_millis(20);

/// What was acknowledged, in the order of time.
#[derive(Default)]
struct Book {
    acknowledged: Mutex<Vec<(u64, Instant)>>,
    next: AtomicU64,
    failed: AtomicU64,
    closed: AtomicBool,
}

impl Book {
    fn acknowledged(&self) -> Vec<(u64, Instant)> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A writer at work; it ends with [`Ledger::close`].
pub(crate) struct Ledger {
    book: Arc<Book>,
    table: String,
    login: Login,
    task: tokio::task::JoinHandle<()>,
}

/// How a member is logged in to.
#[derive(Clone)]
struct Login {
    client: Client,
    password: String,
    ca: Vec<u8>,
}

impl Ledger {
    /// Begins to write into a table of its own.
    pub(crate) async fn open(client: Client, table: &str) -> Ledger {
        let login = Login::of(client).await;
        let book = Arc::new(Book::default());
        let task = tokio::spawn(write(book.clone(), login.clone(), table.to_owned()));
        let ledger = Ledger { book, table: table.to_owned(), login, task };
        ledger.until_written(10).await;
        ledger
    }

    /// The first rows that were acknowledged.
    pub(crate) fn first(&self, count: usize) -> BTreeSet<u64> {
        self.book.acknowledged().into_iter().take(count).map(|(id, _)| id).collect()
    }

    /// How many rows have been acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.book.acknowledged().len()
    }

    /// How many connections and writes have failed.
    pub(crate) fn failed(&self) -> u64 {
        self.book.failed.load(Ordering::Relaxed)
    }

    /// Waits until `more` further rows are acknowledged: writing works.
    pub(crate) async fn until_written(&self, more: usize) {
        let wanted = self.len() + more;
        let begin = Instant::now();
        while self.len() < wanted {
            assert!(begin.elapsed() < Duration::from_secs(240), "nothing can be written; {} rows were", self.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The longest time without an acknowledged write since then.
    pub(crate) fn longest_gap_since(&self, since: Instant) -> Duration {
        let book = self.book.acknowledged();
        let times = book.iter().map(|(_, at)| *at).filter(|at| *at >= since);
        let ends = std::iter::once(since).chain(times.clone());
        ends.zip(times.chain(std::iter::once(Instant::now()))).map(|(a, b)| b - a).max().unwrap_or_default()
    }

    /// Stops writing; every acknowledged row must be at every one of these members. Returns how many there are.
    pub(crate) async fn close(self, members: &[&str]) -> usize {
        self.put_back(members, usize::MAX, || ()).await
    }

    /// Stops writing; then the lab is put back to a moment when so many rows were acknowledged, each of which must be at every
    /// one of these members. Returns how many that is.
    pub(crate) async fn put_back(mut self, members: &[&str], then: usize, put_back: impl FnOnce()) -> usize {
        self.book.closed.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the writer ends");
        let wanted = self.first(then);
        put_back();
        for member in members {
            let mut conn = self.login.to(member).await.expect("the member lets us in");
            let query = format!("SELECT id FROM {}", self.table);
            let begin = Instant::now();
            loop {
                let found: Vec<u64> = conn.query(&query).await.expect("the member answers");
                let found: BTreeSet<u64> = found.into_iter().collect();
                let lost: Vec<&u64> = wanted.difference(&found).collect();
                if lost.is_empty() {
                    break;
                }
                // A replica has what was acknowledged, but may still be about to apply it.
                let applying = begin.elapsed() < Duration::from_secs(20);
                assert!(applying, "{member} lacks {} of {} acknowledged rows: {lost:?}", lost.len(), wanted.len());
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        wanted.len()
    }
}

async fn write(book: Arc<Book>, login: Login, table: String) {
    let closed = || book.closed.load(Ordering::Relaxed);
    let failed = || {
        book.failed.fetch_add(1, Ordering::Relaxed);
    };
    while !closed() {
        let Some(mut conn) = login.to_writer().await else {
            failed();
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let create = format!("CREATE TABLE IF NOT EXISTS {table} (id BIGINT UNSIGNED NOT NULL PRIMARY KEY)");
        if !within(conn.query_drop(create)).await {
            failed();
            continue;
        }
        while !closed() {
            // An id is never used twice: a row whose acknowledgement was lost may be there or not.
            let id = book.next.fetch_add(1, Ordering::Relaxed);
            if !within(conn.query_drop(format!("INSERT INTO {table} VALUES ({id})"))).await {
                failed();
                break;
            }
            book.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push((id, Instant::now()));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn within(work: impl Future<Output = mysql_async::Result<()>>) -> bool {
    matches!(tokio::time::timeout(PATIENCE, work).await, Ok(Ok(())))
}

/// The first column of the first row of a query at one member, as text.
pub(crate) async fn ask(client: Client, pod: &str, query: &str) -> String {
    let mut conn = Login::of(client).await.to(pod).await.expect("the member lets us in");
    conn.query_first(query).await.expect("the member answers").expect("a row")
}

/// What a member says to whoever knows the password and does not encrypt.
pub(crate) async fn in_the_open(client: Client, pod: &str) -> Result<(), String> {
    let login = Login::of(client).await;
    let opened = Conn::new(login.way(pod, None).await).await;
    opened.map(drop).map_err(|error| error.to_string())
}

/// A statement at one member that answers nothing.
pub(crate) async fn tell(client: Client, pod: &str, statement: &str) {
    let mut conn = Login::of(client).await.to(pod).await.expect("the member lets us in");
    conn.query_drop(statement).await.expect("the member takes it");
}

/// One statement at one member, which may fail.
pub(crate) async fn try_tell(client: Client, pod: &str, statement: &str) -> Result<(), mysql_async::Error> {
    let mut conn = Login::of(client).await.to(pod).await.expect("the member lets us in");
    conn.query_drop(statement).await
}

impl Login {
    /// As the site's account.
    async fn of(client: Client) -> Login {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "wplab");
        let value = async |secret: &str, key: &str| {
            let found = secrets.get(secret).await.expect("the Secret").data.unwrap_or_default();
            found.get(key).expect("the key").0.clone()
        };
        let password = String::from_utf8(value("db-credentials", "wordpress-password").await).expect("text");
        let ca = value("db-tls", "ca.crt").await;
        Login { client, password, ca }
    }

    /// A connection to the pod that has the role of the writer, if there is one and it answers.
    async fn to_writer(&self) -> Option<Conn> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "wplab");
        let params = ListParams::default().labels("app.kubernetes.io/component=database,wplab.dev/role=writer");
        let found = tokio::time::timeout(PATIENCE, pods.list(&params)).await.ok()?.ok()?;
        self.to(&found.items.first()?.name_any()).await
    }

    /// A connection to one member.
    async fn to(&self, pod: &str) -> Option<Conn> {
        let tls = SslOpts::default()
            .with_root_certs(vec![self.ca.clone().into()])
            .with_disable_built_in_roots(true)
            .with_danger_tls_hostname_override(Some("db"));
        tokio::time::timeout(PATIENCE, Conn::new(self.way(pod, Some(tls)).await)).await.ok()?.ok()
    }

    /// The way to one member, through the API server.
    async fn way(&self, pod: &str, tls: Option<SslOpts>) -> OptsBuilder {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (pods, name): (Api<Pod>, _) = (Api::namespaced(self.client.clone(), "wplab"), pod.to_owned());
        tokio::spawn(async move {
            let Ok((mut near, _)) = listener.accept().await else { return };
            let Ok(mut forward) = pods.portforward(&name, &[3306]).await else { return };
            let Some(mut far) = forward.take_stream(3306) else { return };
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .user(Some("wordpress"))
            .pass(Some(&self.password))
            .db_name(Some("wordpress"))
            .prefer_socket(false)
            .ssl_opts(tls)
    }
}

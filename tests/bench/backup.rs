//! What a backup of the database takes, against what a person would type: `mysqldump` of the server's own image through `zstd -3`, and
//! mydumper where this machine has it. Each in turn on the same server, so that a slow minute of the machine meets all of them.
//! Everybody's megabytes are those of the same text. Then a lab, for what the runner of backups holds meanwhile.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::ResourceExt;
use tempfile::TempDir;
use wplab::{
    spec::{LabName, LabSpec, destination::Destination},
    wire::{
        backup::{
            credentials::Credentials,
            manifest::{BackupId, DatabaseFacts, FORMAT, Manifest, Stream, WordpressFacts},
            seal::{Keys, Recipients},
            shelf::Shelf,
        },
        dump::{self, Snapshot},
    },
};

use crate::{
    database::{self, Server},
    lab::Lab,
    ledger, ready,
    stats::{median, ratio},
};

/// The database that is dumped, and the one that is loaded.
const FROM: &str = "much";
const INTO: &str = "again";
/// How often the runner's memory is read.
const READS: Duration = Duration::from_millis(20);

/// `rounds` of each on both kinds of server, with rows that are doubled so often (15: 300 MB); then a lab with a gigabyte.
pub(crate) async fn measure(rounds: usize, doublings: u32) {
    println!(
        "MB of SQL text a second, medians of {rounds} rounds; how many times as fast wplab is, with its 95 % interval"
    );
    for (role, tools) in [
        ("mysql", ["mysqldump --single-transaction --hex-blob --no-tablespaces --set-gtid-purged=OFF", "mysql"]),
        ("mariadb", ["mariadb-dump --single-transaction --hex-blob --no-tablespaces", "mariadb"]),
    ] {
        let images = ready::images(&[role]);
        let server = Server::start(role, &images[0]).await;
        database::fill(&mut server.session().await, FROM, doublings).await;
        of_server(&server, role, rounds, tools).await;
    }
}

/// One server, everybody in turn.
async fn of_server(server: &Server, role: &'static str, rounds: usize, [dumper, loader]: [&str; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let by_hand = folder.path().join("dump.sql.zst");
    // It is older than what MySQL says today.
    let mydumper = role == "mariadb" && Command::new("mydumper").arg("--version").output().is_ok();
    let (mut dumps, mut loads) = (BTreeMap::<&str, Vec<f64>>::new(), BTreeMap::<&str, Vec<f64>>::new());
    let mut text = 0;
    for _ in 0..rounds {
        let begin = Instant::now();
        let ours = Ours::dump(server).await;
        dumps.entry("wplab").or_default().push(begin.elapsed().as_secs_f64());
        text = ours.stream.bytes;
        let begin = Instant::now();
        dump_by_hand(server, dumper, &by_hand);
        dumps.entry("by hand").or_default().push(begin.elapsed().as_secs_f64());
        if mydumper {
            let begin = Instant::now();
            run_mydumper(server, &folder.path().join("mydumper"));
            dumps.entry("mydumper").or_default().push(begin.elapsed().as_secs_f64());
        }
        anew(server).await;
        let begin = Instant::now();
        ours.load(server).await;
        loads.entry("wplab").or_default().push(begin.elapsed().as_secs_f64());
        anew(server).await;
        let begin = Instant::now();
        load_by_hand(server, loader, &by_hand);
        loads.entry("by hand").or_default().push(begin.elapsed().as_secs_f64());
    }
    for (what, took) in [("dump", &dumps), ("load", &loads)] {
        let ours = &took["wplab"];
        for (who, theirs) in took.iter().filter(|(who, _)| **who != "wplab") {
            let (ratio, low, high) = ratio(theirs, ours).expect("both were measured");
            let rate = |took: &[f64]| mega(text) / median(took).unwrap_or_default();
            let (ours, theirs) = (rate(ours), rate(theirs));
            println!(
                "{role:<8} {what} {:>5.0} MB  wplab {ours:>6.1}  {who:<8} {theirs:>6.1}  {ratio:.2} ({low:.2} to {high:.2})",
                mega(text)
            );
        }
    }
    if role == "mariadb" && !mydumper {
        println!("mydumper is not installed here, and is left out");
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown in megabytes")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A dump as a backup has it: hashed, compressed, cut, in a folder.
struct Ours {
    shelf: Shelf,
    id: BackupId,
    stream: Stream,
    _folder: TempDir,
}

impl Ours {
    async fn dump(server: &Server) -> Ours {
        let folder = tempfile::tempdir().expect("a folder");
        let at = Destination::File { folder: folder.path().to_owned() };
        let lab = LabName::default();
        let shelf = Shelf::open(&at, &Credentials::default(), &lab).expect("a shelf");
        let id = BackupId::at(Timestamp::now(), 1);
        shelf.begin(&id, "a measurement").await.expect("begun");
        let mut session = server.session().await;
        let (feed, text) = dump::feed();
        let to = Recipients::default();
        let mut snapshot = Snapshot::begin(&mut session).await.expect("a snapshot");
        let (sent, tables) = tokio::join!(shelf.send(&id, "database", text, &to), snapshot.write(FROM, feed));
        tables.expect("dumped");
        Ours { stream: sent.expect("sent"), shelf, id, _folder: folder }
    }

    async fn load(&self, server: &Server) {
        let manifest = self.manifest();
        let (sink, source) = dump::drain();
        let mut session = server.session().await;
        let fetch = self.shelf.fetch(&manifest, "database", Arc::new(Keys::default()), sink);
        // The end of the text is the end of the sink.
        let fetched = async { fetch.await.map(drop) };
        let (fetched, loaded) = tokio::join!(fetched, dump::load(&mut session, INTO, source, None));
        loaded.expect("loaded");
        fetched.expect("fetched");
    }

    fn manifest(&self) -> Manifest {
        let lab = LabSpec::default();
        Manifest {
            format: FORMAT,
            made_by: String::new(),
            id: self.id.clone(),
            begun: Timestamp::now(),
            finished: Timestamp::now(),
            database: DatabaseFacts {
                topology: lab.database.topology,
                server: String::new(),
                version: String::new(),
                member: String::new(),
                position: String::new(),
                exact: false,
                tables: BTreeMap::new(),
            },
            wordpress: WordpressFacts { version: String::new(), db_version: 0, url: String::new(), files: 0 },
            lab,
            scheduled: false,
            recipients: Vec::new(),
            streams: BTreeMap::from([("database".to_owned(), self.stream.clone())]),
            seconds: BTreeMap::new(),
        }
    }
}

/// A pipe that the server's container and this machine both have: nothing of the engine is between them.
fn pipe(server: &Server) -> PathBuf {
    let path = server.folder().join("pipe");
    if !path.exists() {
        done(Command::new("mkfifo").args(["-m", "666"]).arg(&path).spawn().expect("mkfifo"), "mkfifo");
    }
    path
}

fn dump_by_hand(server: &Server, dumper: &str, to: &Path) {
    let pipe = pipe(server);
    let script = format!("{dumper} {} {FROM} > /run/test/pipe", Server::ACCOUNT);
    let from = thread::spawn({
        let (pipe, to) = (pipe.clone(), to.to_owned());
        move || {
            let (from, to) = (File::open(pipe).expect("a pipe"), File::create(to).expect("a file"));
            let zstd = Command::new("zstd").args(["-3", "-q", "-c"]).stdin(from).stdout(to).spawn();
            done(zstd.expect("zstd"), "zstd");
        }
    });
    server.shell(&script);
    from.join().expect("compressed");
}

fn load_by_hand(server: &Server, loader: &str, from: &Path) {
    let pipe = pipe(server);
    let text = thread::spawn({
        let from = from.to_owned();
        move || {
            let to = File::options().write(true).open(pipe).expect("a pipe");
            let zstd = Command::new("zstd").args(["-d", "-q", "-c"]).arg(from).stdout(to).spawn();
            done(zstd.expect("zstd"), "zstd");
        }
    });
    server.shell(&format!("{loader} {} {INTO} < /run/test/pipe", Server::ACCOUNT));
    text.join().expect("unpacked");
}

fn run_mydumper(server: &Server, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let mut command = Command::new("mydumper");
    command.args(["--threads", "2", "--compress", "--trx-consistency-only", "-B", FROM, "-o"]).arg(to);
    command.arg("-S").arg(server.folder().join("socket")).args(Server::CREDENTIALS);
    done(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mydumper"), "mydumper");
}

#[track_caller]
fn done(mut child: Child, what: &str) {
    assert!(child.wait().expect("an end").success(), "{what} failed");
}

async fn anew(server: &Server) {
    let mut session = server.session().await;
    for statement in [format!("DROP DATABASE IF EXISTS {INTO}"), format!("CREATE DATABASE {INTO}")] {
        session.run(&statement).await.expect("an empty database");
    }
}

/// What the runner of a lab holds in memory while it makes and proves a backup of a gigabyte.
pub(crate) fn memory() {
    let lab = Lab::new("wplab-bench-backup");
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!(
        "database: {{members: 2, resources: {{memory: 1Gi}}}}\ncluster: {{workers: 2}}\nwordpress: {{replicas: 2}}\nautoscale: {{min: 2, max: 2}}\nbackup: {{destination: 'file://{}'}}\n",
        folder.path().display()
    );
    lab.up(&["-f", &lab.file(&file)]).assert_code(0);
    let writer = lab.try_pods("wplab.dev/role=writer").expect("pods").first().expect("a writer").name_any();
    let statements = [
        "CREATE TABLE much (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, content longtext, title varchar(200), KEY (title))".to_owned(),
        "INSERT INTO much (content, title) VALUES (REPEAT('<p>It is a paragraph of some length.</p>', 12), 'a-title')".to_owned(),
    ];
    let more = "INSERT INTO much (content, title) SELECT content, CONCAT('a-title-', id) FROM much".to_owned();
    for statement in statements.into_iter().chain(std::iter::repeat_n(more, 21)) {
        lab.block_on(ledger::tell(lab.client(), &writer, &statement));
    }
    for command in [
        &["backup", "create", "wplab-bench-backup", "-o", "json"][..],
        &["backup", "verify", "latest", "--lab", "wplab-bench-backup", "-o", "json"],
    ] {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reads = thread::spawn({
            let (stop, most) = (stop.clone(), most.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    most.fetch_max(anonymous_of("/wplab\0backups\0"), Ordering::Relaxed);
                    thread::sleep(READS);
                }
            }
        });
        let begin = Instant::now();
        let done = lab.run(command).assert_code(0).json();
        let took = begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        reads.join().expect("an end");
        println!(
            "backup {}: {took:.1} s, at most {} MB of anonymous memory in the runner ({done})",
            command[1],
            most.load(Ordering::Relaxed) / 1_000_000
        );
    }
}

/// Bytes of anonymous memory of the process with this command line; nodes share this machine's kernel.
fn anonymous_of(command: &str) -> u64 {
    let processes = fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    let ours = processes.filter(|path| fs::read(path.join("cmdline")).is_ok_and(|line| line == command.as_bytes()));
    let anonymous = |path: PathBuf| -> Option<u64> {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    ours.filter_map(anonymous).max().unwrap_or_default()
}

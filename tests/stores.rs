//! Backups in the stores of others: two servers that speak S3, one that speaks WebDAV, one that plays Google Cloud Storage, each on
//! loopback, compiled from their Go modules. What is sent comes back, and what is wrong is told as what it is.

#![expect(clippy::print_stderr, reason = "what a store has written is told when a test fails")]

#[path = "support/golang.rs"]
mod golang;
#[path = "support/nfs.rs"]
#[allow(dead_code, reason = "the other half of it is for the NFS server")]
mod nfs;
#[path = "support/ready.rs"]
mod ready;

use std::{
    fs::File,
    io::Cursor,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use wplab::{
    run::advice::find,
    spec::{LabName, destination::Destination},
    wire::backup::{
        Unusable,
        credentials::Credentials,
        manifest::{BackupId, Manifest},
        seal::Recipients,
        shelf::Shelf,
    },
};

const LABEL: &str = "wplab.dev/test=stores";
const COMPILE: &str = "mkdir -p /cache/stores && go build -ldflags '-s -w' -o /cache/stores/ \
                       github.com/versity/versitygw/cmd/versitygw ./google ./rclone";
/// The rest of what a backup says of itself.
const SAMPLE: &str = include_str!("golden/backup/manifest-1.json");
const KEY: &str = "not-very-secret";
const PATIENCE: Duration = Duration::from_secs(20);

/// A store on loopback; gone when dropped.
struct Store {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Store {
    /// Starts one of the programs with these arguments, in which `PORT` and `FOLDER` stand for its own; the folder has a bucket `shop`.
    fn start(programs: &Path, args: &str, variables: &[(&str, &str)]) -> Store {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("data/shop")).expect("a bucket");
        std::fs::create_dir(folder.path().join("notes")).expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let filled = args.replace("PORT", &port.to_string()).replace("FOLDER", &folder.path().display().to_string());
        let (program, args) = filled.split_once(' ').expect("arguments");
        let log = File::create(folder.path().join("log")).expect("a log");
        let process = Command::new(programs.join("stores").join(program))
            .args(args.split(' '))
            .envs(variables.iter().copied())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        let store = Store { process, port, folder };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "{program} does not listen: {}", store.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        store
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// An address in it.
    fn at(&self, text: &str) -> Destination {
        Destination::new(&text.replace("PORT", &self.port.to_string())).expect("an address")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn credentials(values: &[(&str, &str)]) -> Credentials {
    Credentials::among(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn shelf(destination: &Destination, credentials: &Credentials) -> Shelf {
    Shelf::open(destination, credentials, &LabName::default()).expect("a shelf")
}

fn id(text: &str) -> BackupId {
    BackupId::new(text).expect("a name")
}

/// Sends a backup of three parts, finds it, fetches it, and removes it. Another one stays unfinished.
async fn there_and_back(destination: &Destination, credentials: &Credentials) {
    let shelf = shelf(destination, credentials);
    let found = shelf.list().await.expect("an empty list");
    assert!(found.backups.is_empty() && found.unfinished.is_empty(), "{found:?}");
    let (one, other) = (id("20261130T113000Z-4f2a"), id("20261130T113001Z-0000"));
    // Bytes that do not get much smaller, the same ones every time.
    let mut state = 88_172_645_463_325_252_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let sent: Vec<u8> = noise.take(2_500_000).flatten().collect();
    for id in [&one, &other] {
        shelf.begin(id, "a test").await.expect("begun");
    }
    let database = shelf.send(&one, "database", Cursor::new(sent.clone()), &Recipients::default()).await.expect("sent");
    assert!(database.parts.len() > 2, "{database:?}");
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).expect("a manifest");
    (manifest.id, manifest.streams) = (one.clone(), [("database".to_owned(), database)].into());
    shelf.finish(&manifest).await.expect("finished");
    let found = shelf.list().await.expect("a list");
    assert_eq!((found.backups, found.unfinished), (vec![manifest.clone()], vec![other.clone()]));
    assert_eq!(shelf.labs().await.expect("labs"), [LabName::default()]);
    shelf.complete(&manifest).await.expect("complete");
    let came = shelf.fetch(&manifest, "database", Arc::default(), Vec::new()).await.expect("fetched");
    assert!(came == sent, "other bytes came back");
    for id in [&one, &other] {
        assert!(shelf.remove(id).await.expect("removed") > 0);
    }
    let left = shelf.list().await.expect("a list");
    assert!(left.backups.is_empty() && left.unfinished.is_empty(), "{left:?}");
}

/// Why a destination cannot be used: said of a list as of what is sent.
async fn refused(destination: &Destination, credentials: &Credentials) -> Unusable {
    let shelf = shelf(destination, credentials);
    let listed = shelf.list().await.expect_err("refused");
    let begun = shelf.begin(&id("20261130T113000Z-4f2a"), "a test").await.expect_err("refused");
    let [listed, begun] =
        [listed, begun].map(|error| find::<Unusable>(&error).unwrap_or_else(|| panic!("{error:#}")).clone());
    assert_eq!(std::mem::discriminant(&listed), std::mem::discriminant(&begun), "{listed} / {begun}");
    let told = listed.to_string();
    assert!(told.len() < 300 && !told.contains('<') && !told.contains(KEY), "{told}");
    listed
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn backups_come_back_from_every_kind_of_store() {
    rustls::crypto::ring::default_provider().install_default().expect("a provider");
    let programs = golang::compile(&golang::golang(), "tests/stores", LABEL, COMPILE);

    let s3 = |key: &str| credentials(&[("AWS_ACCESS_KEY_ID", "lab"), ("AWS_SECRET_ACCESS_KEY", key)]);
    let versity = "versitygw --port 127.0.0.1:PORT --quiet posix --sidecar FOLDER/notes FOLDER/data";
    let versity = Store::start(&programs, versity, &[("ROOT_ACCESS_KEY", "lab"), ("ROOT_SECRET_KEY", KEY)]);
    // A list of pairs, as CSV.
    let auth = format!("\"lab,{KEY}\"");
    let rclone =
        Store::start(&programs, "rclone serve s3 --addr 127.0.0.1:PORT FOLDER/data", &[("RCLONE_AUTH_KEY", &auth)]);
    for store in [&versity, &rclone] {
        there_and_back(&store.at("s3://shop/backups?endpoint=http://127.0.0.1:PORT"), &s3(KEY)).await;
        let other_key = refused(&store.at("s3://shop?endpoint=http://127.0.0.1:PORT"), &s3("guessed")).await;
        assert!(matches!(other_key, Unusable::NotLetIn { .. }), "{other_key}");
        let no_bucket = refused(&store.at("s3://none?endpoint=http://127.0.0.1:PORT"), &s3(KEY)).await;
        assert!(matches!(no_bucket, Unusable::NoDestination { .. }), "{no_bucket}");
    }

    let dav = |key: &str| credentials(&[("WEBDAV_USER", "lab"), ("WEBDAV_PASSWORD", key)]);
    let variables = [("RCLONE_USER", "lab"), ("RCLONE_PASS", KEY)];
    let webdav = Store::start(&programs, "rclone serve webdav --addr 127.0.0.1:PORT FOLDER/data", &variables);
    // The folders are made; below it there may be other ones.
    there_and_back(&webdav.at("http://127.0.0.1:PORT/new/backups"), &dav(KEY)).await;
    let other_key = refused(&webdav.at("http://127.0.0.1:PORT/x"), &dav("guessed")).await;
    assert!(matches!(other_key, Unusable::NotLetIn { .. }), "{other_key}");

    let google = "google 127.0.0.1:PORT FOLDER/data";
    let google = Store::start(&programs, google, &[]);
    let account = format!(
        r#"{{"gcs_base_url": "http://127.0.0.1:{}", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}}"#,
        google.port
    );
    let account = credentials(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &account)]);
    there_and_back(&google.at("gs://shop/backups"), &account).await;

    let folder = tempfile::tempdir().expect("a folder");
    let here = Destination::File { folder: folder.path().join("new") };
    there_and_back(&here, &Credentials::default()).await;
}

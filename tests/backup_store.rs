//! The stores of backups that this machine itself has, on a real engine and without a cluster: made once, kept through restarts, used by
//! both ways into a folder, and gone without a trace.

#[path = "support/ready.rs"]
mod ready;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::Arc,
};

use wplab::{
    actions::images,
    host::docker::{Docker, Server, Source},
    labels,
    parts::{
        images::{Image, Role},
        store::{self, NAME, PORT, Place, Store, Taken},
    },
    run::{Run, StepCx, advice::find, event::StepId},
    spec::{ImageSource, LabName, destination::Destination},
    wire::backup::{
        credentials::Credentials,
        manifest::{BackupId, Manifest},
        seal::Recipients,
        shelf::Shelf,
    },
};

/// The rest of what a backup says of itself.
const SAMPLE: &str = include_str!("golden/backup/manifest-1.json");

struct Bench {
    cx: StepCx,
    docker: Docker,
    image: Image,
    lab: LabName,
}

impl Bench {
    async fn new() -> Bench {
        let _ = rustls::crypto::ring::default_provider().install_default();
        ready::images(&["versitygw"]);
        let run = Run::silent();
        let set = images::get(&run, &ImageSource::Packages, &[Role::Versitygw], None).await.expect("an image");
        let docker = Docker::connect().await.expect("an engine");
        let bench = Bench {
            cx: StepCx::new(&run, StepId::Remove),
            docker,
            image: set.get(Role::Versitygw).expect("an image").clone(),
            lab: LabName::new("store-test").expect("a name"),
        };
        let there = store::find(&bench.docker).await.expect("a list");
        assert!(there.is_empty(), "the tests want an engine without stores, and there is {there:?}");
        bench.docker.ensure_network("wplab-store-test", &labels::of_lab(&bench.lab)).await.expect("a network");
        bench
    }

    async fn ensure(&self, place: &Place) -> Store {
        store::ensure(&self.cx, &self.docker, &self.image, &self.lab, place).await.expect("a store")
    }

    fn shelf(&self, destination: &Destination, credentials: &Credentials) -> Shelf {
        Shelf::open(destination, credentials, &self.lab).expect("a shelf")
    }

    /// As `down` of the lab does.
    async fn leave(&self) {
        for it in store::find(&self.docker).await.expect("a list") {
            self.docker.leave(&it.place.container(), "wplab-store-test").await.expect("left");
        }
        let gone = self.docker.remove_networks(&labels::of_lab(&self.lab)).await.expect("removed");
        assert_eq!(gone, ["wplab-store-test"]);
    }
}

/// What a test that failed has left: nothing was there when it began.
impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script = "docker ps -aq --filter label=app.kubernetes.io/component=backup | xargs -r docker rm -f; \
                          docker volume rm wplab-backups; docker network rm wplab-store-test";
            let _ = Command::new("sh").args(["-c", script]).output();
        }
    }
}

fn id(text: &str) -> BackupId {
    BackupId::new(text).expect("a name")
}

/// Makes a small backup; what its database is.
async fn send(shelf: &Shelf, lab: &LabName, id: &BackupId) -> Vec<u8> {
    let sent = format!("the database of {id}").into_bytes();
    shelf.begin(id, "a test").await.expect("begun");
    let to = Recipients::default();
    let stream = shelf.send(id, "database", Cursor::new(sent.clone()), &to).await.expect("sent");
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).expect("a manifest");
    (manifest.id, manifest.lab.name) = (id.clone(), lab.clone());
    manifest.streams = [("database".to_owned(), stream)].into();
    shelf.finish(&manifest).await.expect("finished");
    sent
}

async fn fetch(shelf: &Shelf, id: &BackupId) -> Vec<u8> {
    let manifest = shelf.manifest(id).await.expect("a manifest");
    shelf.fetch(&manifest, "database", Arc::default(), Vec::new()).await.expect("fetched")
}

/// Everything in a folder that is no folder, without what the server keeps for itself.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn the_store_of_all_labs_is_made_once_outlives_restarts_and_goes_without_a_trace() {
    let bench = Bench::new().await;
    let (docker, place) = (&bench.docker, Place::Embedded);
    let first = bench.ensure(&place).await;
    assert_eq!(first.inside.to_string(), "s3://backups?endpoint=http://wplab-backups:7070");
    assert!(first.outside.to_string().starts_with("s3://backups?endpoint=http://127.0.0.1:"), "{}", first.outside);
    assert_eq!(bench.ensure(&place).await, first, "another one was made");
    let serving = docker.serving(NAME).await.expect("asked").expect("there");
    assert_eq!(serving.networks, ["bridge", "wplab-store-test"]);
    assert_eq!(serving.ports.keys().collect::<Vec<_>>(), [&PORT]);
    let subnet = docker.subnet("wplab-store-test").await.expect("asked").expect("a subnet");
    let address = docker.fixed_address(NAME, "wplab-store-test").await.expect("asked").expect("an address of its own");
    assert!(address.ends_with(".254"), "{address} in {subnet}");

    let one = id("20261130T113000Z-4f2a");
    let shelf = bench.shelf(&first.outside, &first.credentials);
    let sent = send(&shelf, &bench.lab, &one).await;
    shelf.begin(&id("20261130T113001Z-0000"), "a test").await.expect("begun");
    assert_eq!(shelf.list().await.expect("a list").backups.len(), 1);

    // Killed, it is made anew with what it had; its port may be another one.
    docker.kill(NAME).await.expect("killed");
    let found = store::find(docker).await.expect("a list").remove(0);
    assert!(!found.running && found.outside.is_none() && found.in_use(), "{found:?}");
    let second = bench.ensure(&place).await;
    assert_eq!((&second.inside, &second.credentials), (&first.inside, &first.credentials));
    let shelf = bench.shelf(&second.outside, &second.credentials);
    assert!(fetch(&shelf, &one).await == sent, "other bytes came back");
    let networks = docker.serving(NAME).await.expect("asked").expect("there").networks;
    assert_eq!(networks, ["bridge", "wplab-store-test"]);
    docker.pause(NAME).await.expect("frozen");
    assert_eq!(bench.ensure(&place).await, second, "one that was frozen is thawed");

    assert!(!store::remove_unused(&bench.cx, docker, &place).await.expect("asked"), "a lab has it");
    bench.leave().await;
    assert_eq!(shelf.ids().await.expect("it goes on without labs").len(), 2);
    assert!(store::remove_unused(&bench.cx, docker, &place).await.expect("removed"));
    assert!(store::find(docker).await.expect("a list").is_empty());
    assert!(!docker.has_volume(NAME).await.expect("asked"));
    store::remove(&bench.cx, docker, &place).await.expect("what is gone is no error");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_folder_is_the_same_from_both_sides() {
    let bench = Bench::new().await;
    let docker = &bench.docker;
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("backups");
    std::fs::create_dir(&folder).expect("a folder");
    // Somebody's who is not root, where that can be.
    let owned = std::os::unix::fs::chown(&folder, Some(1234), Some(1234)).is_ok();
    let place = Place::Folder(folder.clone());
    let made = bench.ensure(&place).await;
    assert_eq!(made.outside, Destination::File { folder: folder.clone() });
    assert_eq!(bench.ensure(&place).await, made);
    let name = place.container();
    let port = docker.serving(&name).await.expect("asked").expect("there").ports[&PORT];
    let served = Destination::new(&format!("s3://backups?endpoint=http://127.0.0.1:{port}")).expect("an address");
    let (direct, served) = (bench.shelf(&made.outside, &made.credentials), bench.shelf(&served, &made.credentials));

    let (one, two) = (id("20261130T113000Z-4f2a"), id("20261130T113001Z-4f2a"));
    let by_server = send(&served, &bench.lab, &one).await;
    let mine = if owned { 1234 } else { std::fs::metadata(&folder).expect("an owner").uid() };
    for file in files(&folder) {
        assert_eq!(std::fs::metadata(&file).expect("an owner").uid(), mine, "{file}");
    }
    let by_path = send(&direct, &bench.lab, &two).await;
    for shelf in [&direct, &served] {
        assert_eq!(shelf.ids().await.expect("names"), [one.clone(), two.clone()]);
        assert_eq!(shelf.list().await.expect("a list").backups.len(), 2);
        assert_eq!(shelf.labs().await.expect("labs"), std::slice::from_ref(&bench.lab));
        assert!(fetch(shelf, &one).await == by_server && fetch(shelf, &two).await == by_path);
    }
    served.remove(&one).await.expect("removed");
    direct.remove(&two).await.expect("removed");
    for shelf in [&direct, &served] {
        assert!(shelf.ids().await.expect("names").is_empty());
    }
    assert_eq!(files(&folder), BTreeSet::new(), "something else than objects was in the folder");

    // No lab has it any more: its server goes, and the folder stays.
    assert!(store::remove_forsaken(&bench.cx, docker).await.expect("asked").is_empty());
    bench.leave().await;
    assert_eq!(store::remove_forsaken(&bench.cx, docker).await.expect("asked"), [name]);
    assert!(folder.is_dir() && !folder.join(".sgwtmp").exists());
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_container_of_somebody_elses_is_left_alone_and_one_that_cannot_serve_says_why() {
    let bench = Bench::new().await;
    let docker = &bench.docker;
    let mut stranger = Server {
        name: NAME.to_owned(),
        image: bench.image.id.clone(),
        command: vec!["/usr/local/bin/versitygw".to_owned(), "--version".to_owned()],
        env: BTreeMap::new(),
        labels: [("wplab.dev/test".to_owned(), "store".to_owned())].into(),
        user: String::new(),
        data: (Source::Folder("/tmp".to_owned()), "/data".to_owned()),
        port: PORT,
    };
    docker.serve(&stranger).await.expect("started");
    let refused = store::ensure(&bench.cx, docker, &bench.image, &bench.lab, &Place::Embedded).await;
    let error = refused.expect_err("somebody else's");
    assert!(find::<Taken>(&error).is_some(), "{error:#}");
    let error = store::remove(&bench.cx, docker, &Place::Embedded).await.expect_err("somebody else's");
    assert!(find::<Taken>(&error).is_some(), "{error:#}");
    docker.remove_container(NAME).await.expect("removed");

    // A server that ends as soon as it has begun.
    let home = tempfile::tempdir().expect("a folder");
    let place = Place::Folder(home.path().join("closed"));
    (stranger.name, stranger.labels) = (place.container(), labels::of_stores());
    let folder = home.path().join("closed").display().to_string();
    stranger.labels.insert(labels::FOLDER.to_owned(), folder);
    docker.serve(&stranger).await.expect("started");
    let hurried = StepCx::new(&Run::new(Some(std::time::Duration::from_secs(5))).0, StepId::Remove);
    let error = store::start(&hurried, docker, &place).await.expect_err("it ends at once");
    let told = format!("{error:#}");
    assert!(told.contains(&format!(" s for the store {}: ", place.container())), "{told}");
    store::remove(&bench.cx, docker, &place).await.expect("removed");
    bench.leave().await;
}

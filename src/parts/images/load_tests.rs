//! Loading against an engine that exists only here.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::*;
use crate::{
    parts::images::Origin,
    run::{Run, event::StepId},
};

/// What a node does with an archive.
#[derive(Clone, Copy, Default, PartialEq)]
enum Import {
    #[default]
    Works,
    FailsOnce,
    Dies,
    DiskFull,
    /// Reads one piece each few milliseconds.
    Slow,
}

#[derive(Default)]
struct Node {
    has: BTreeSet<String>,
    stopped: bool,
    import: Import,
    received: usize,
}

#[derive(Default)]
struct Fake {
    nodes: Mutex<BTreeMap<String, Node>>,
    /// Every archive that was asked for.
    saves: Mutex<Vec<Vec<String>>>,
    /// Pieces that were taken out of the archive.
    taken: Arc<AtomicUsize>,
    pieces: usize,
    breaks_at: Option<usize>,
}

impl Fake {
    fn with<const N: usize>(nodes: [(&str, Import); N]) -> Fake {
        let nodes =
            nodes.into_iter().map(|(name, import)| (name.to_owned(), Node { import, ..Node::default() })).collect();
        Fake { nodes: Mutex::new(nodes), pieces: 50, ..Fake::default() }
    }

    fn node<T>(&self, name: &str, f: impl FnOnce(&mut Node) -> T) -> T {
        f(self.nodes.lock().expect("unpoisoned").get_mut(name).expect("a node"))
    }

    fn saves(&self) -> Vec<Vec<String>> {
        self.saves.lock().expect("unpoisoned").clone()
    }
}

impl Engine for Fake {
    fn save(&self, references: &[String]) -> BoxStream<'static, Result<Bytes>> {
        self.saves.lock().expect("unpoisoned").push(references.to_vec());
        let (taken, breaks_at) = (self.taken.clone(), self.breaks_at);
        taken.store(0, Ordering::SeqCst);
        let pieces = stream::iter(0..self.pieces).map(move |n| {
            taken.fetch_add(1, Ordering::SeqCst);
            if breaks_at == Some(n) { Err(anyhow!("Docker went away")) } else { Ok(Bytes::from(vec![0; 1024])) }
        });
        pieces.boxed()
    }

    async fn running(&self, container: &str) -> Result<Option<bool>> {
        Ok(self.nodes.lock().expect("unpoisoned").get(container).map(|n| !n.stopped))
    }

    async fn start(&self, container: &str) -> Result<()> {
        self.node(container, |n| n.stopped = false);
        Ok(())
    }

    async fn exec(&self, container: &str, command: &[&str], mut input: BoxStream<'static, Bytes>) -> Result<Exec> {
        let ended = |code, stderr: &str| Ok(Exec { code, stderr: stderr.to_owned(), ..Exec::default() });
        if self.node(container, |n| n.stopped) {
            return Err(anyhow!("container {container} is not running"));
        }
        if command.contains(&"check") {
            let has: Vec<String> = self.node(container, |n| n.has.iter().cloned().collect());
            return Ok(Exec { stdout: has.join("\n"), ..Exec::default() });
        }
        if !command.contains(&"import") {
            return ended(0, "");
        }
        let import = self.node(container, |n| n.import);
        let mut received = 0;
        while input.next().await.is_some() {
            received += 1;
            match import {
                Import::FailsOnce => {
                    self.node(container, |n| n.import = Import::Works);
                    return ended(1, "ctr: containerd restarted");
                }
                Import::Dies => {
                    self.node(container, |n| (n.stopped, n.import) = (true, Import::Works));
                    return Err(anyhow!("the container went away"));
                }
                Import::DiskFull => return ended(1, "ctr: write /var/lib/x: no space left on device"),
                Import::Slow => {
                    // Whoever reads slowly must slow down the archive: no more may be under way than fits.
                    assert!(
                        self.taken.load(Ordering::SeqCst) <= received + 12,
                        "the archive ran ahead of the slowest node"
                    );
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Import::Works => {}
            }
        }
        if received < self.pieces {
            return ended(1, "ctr: unexpected EOF");
        }
        let names = self.saves.lock().expect("unpoisoned").last().cloned().unwrap_or_default();
        self.node(container, |n| {
            n.has.extend(names);
            n.received = received;
        });
        ended(0, "")
    }
}

fn image(name: &str) -> (Role, Image) {
    let reference = format!("docker.io/wplab/{name}:0123456789ab");
    (Role::Nfs, Image { reference, id: String::new(), size: 1000, origin: Origin::Packages(name.to_owned()) })
}

async fn load_into(fake: &Fake, images: &[(Role, Image)]) -> Result<bool> {
    let nodes: Vec<String> = fake.nodes.lock().expect("unpoisoned").keys().cloned().collect();
    into(&StepCx::new(&Run::silent(), StepId::Load), fake, &nodes, images).await
}

#[tokio::test]
async fn every_node_gets_everything_from_one_archive_and_a_second_time_nothing_is_sent() {
    let fake = Fake::with([("a", Import::Works), ("b", Import::Works), ("c", Import::Works)]);
    let images = [image("nfs"), image("mysql")];
    assert!(load_into(&fake, &images).await.expect("loads"), "everything was lacking");
    assert_eq!(fake.saves().len(), 1);
    assert_eq!(fake.node("c", |n| (n.has.len(), n.received)), (2, 50));
    assert!(!load_into(&fake, &images).await.expect("loads"), "nothing was lacking");
    assert_eq!(fake.saves().len(), 1);
}

#[tokio::test]
async fn a_node_gets_only_what_it_lacks_and_nodes_that_lack_the_same_share_an_archive() {
    let fake = Fake::with([("a", Import::Works), ("b", Import::Works), ("c", Import::Works)]);
    let (nfs, mysql) = (image("nfs"), image("mysql"));
    fake.node("b", |n| n.has.insert(nfs.1.reference.clone()));
    load_into(&fake, &[nfs.clone(), mysql.clone()]).await.expect("loads");
    let mut saves = fake.saves();
    saves.sort_by_key(Vec::len);
    assert_eq!(saves, [vec![mysql.1.reference.clone()], vec![nfs.1.reference, mysql.1.reference]]);
}

#[tokio::test]
async fn one_node_failing_does_not_stop_the_others_and_is_served_again() {
    for trouble in [Import::FailsOnce, Import::Dies] {
        let fake = Fake::with([("a", trouble), ("b", Import::Works)]);
        load_into(&fake, &[image("nfs")]).await.expect("loads");
        assert_eq!(fake.saves().len(), 2, "the second archive is for the node that failed");
        assert_eq!(fake.node("a", |n| (n.has.len(), n.stopped)), (1, false));
        assert_eq!(fake.node("b", |n| n.received), 50);
    }
}

#[tokio::test]
async fn the_archive_waits_for_the_slowest_node() {
    let fake = Fake::with([("fast", Import::Works), ("slow", Import::Slow)]);
    load_into(&fake, &[image("nfs")]).await.expect("loads");
    assert_eq!(fake.node("slow", |n| n.received), 50);
}

#[tokio::test]
async fn a_full_disk_ends_it_at_once() {
    let fake = Fake::with([("a", Import::DiskFull), ("b", Import::Works)]);
    let error = load_into(&fake, &[image("nfs")]).await.expect_err("the disk is full");
    assert!(advice::find::<DiskFull>(&error).is_some(), "{error:#}");
    assert!(
        format!("{error:#}").starts_with("cannot load images into node a: the disk behind Docker is full"),
        "{error:#}"
    );
    assert_eq!(fake.saves().len(), 1);
}

#[tokio::test]
async fn an_archive_that_breaks_off_is_reported_as_such() {
    let fake = Fake { breaks_at: Some(20), ..Fake::with([("a", Import::Works)]) };
    let error = load_into(&fake, &[image("nfs")]).await.expect_err("breaks");
    assert_eq!(format!("{error:#}"), "cannot load images into node a: Docker went away");
    assert_eq!(fake.saves().len(), ROUNDS);
}

#[test]
fn the_snapshotter_is_read_from_both_forms_of_the_configuration() {
    let two = "[plugins]\n  [plugins.'io.containerd.cri.v1.runtime']\n    snapshotter = 'x'\n  [plugins.'io.containerd.cri.v1.images']\n    snapshotter = 'native'\n";
    assert_eq!(configured(two).as_deref(), Some("native"));
    let one = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"fuse-overlayfs\"\n";
    assert_eq!(configured(one).as_deref(), Some("fuse-overlayfs"));
    assert_eq!(configured("[plugins]\n"), None);
}

//! A shelf in a folder: what is sent comes back, and every way in which it may have suffered is seen. The stores of others are asked
//! the same by the tests of real labs.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
};

use tempfile::TempDir;

use super::*;
use crate::run::advice::find;

/// Bytes that do not get much smaller, the same ones every time.
struct Noise {
    left: usize,
    state: u64,
}

impl Noise {
    fn new(left: usize) -> Noise {
        Noise { left, state: 88_172_645_463_325_252 }
    }
}

impl Read for Noise {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let given = bytes.len().min(self.left);
        for byte in &mut bytes[..given] {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *byte = self.state.to_le_bytes()[0];
        }
        self.left -= given;
        Ok(given)
    }
}

fn shelf() -> (Shelf, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let destination = Destination::File { folder: folder.path().join("new") };
    let lab = LabName::new("zoo").expect("a name");
    (Shelf::open(&destination, &Credentials::default(), &lab).expect("a shelf"), folder)
}

fn id(text: &str) -> BackupId {
    BackupId::new(text).expect("a name")
}

/// As the first version wrote it; it stays readable, whatever comes.
const SAMPLE: &str = include_str!("../../../tests/golden/backup/manifest-1.json");

/// What a backup might say of itself.
pub(in crate::wire::backup) fn manifest(id: &BackupId, streams: &[(&str, Stream)], to: &Recipients) -> Manifest {
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).expect("a manifest");
    manifest.id = id.clone();
    manifest.lab.name = LabName::new("zoo").expect("a name");
    manifest.recipients = to.keys();
    manifest.streams = streams.iter().map(|(name, stream)| ((*name).to_owned(), stream.clone())).collect();
    manifest
}

const ONE: &str = "20261130T113000Z-4f2a";
const TWO: &str = "20261130T113000Z-5000";

/// A backup of three parts, and the files that it lies in.
async fn made(shelf: &Shelf, folder: &TempDir, name: &str, to: &Recipients) -> (Manifest, PathBuf) {
    let id = id(name);
    shelf.begin(&id, "a test").await.expect("begun");
    let stream = shelf.send(&id, "database", Noise::new(10 << 20), to).await.expect("sent");
    assert_eq!(stream.parts.len(), 3, "{stream:?}");
    let manifest = manifest(&id, &[("database", stream)], to);
    shelf.finish(&manifest).await.expect("finished");
    (manifest, folder.path().join("new/zoo").join(name))
}

/// What is said where a backup cannot be fetched.
async fn refused(shelf: &Shelf, manifest: &Manifest, keys: Keys) -> Unusable {
    let error = shelf.fetch(manifest, "database", Arc::new(keys), io::sink()).await.expect_err("refused");
    find::<Unusable>(&error).unwrap_or_else(|| panic!("{error:#}")).clone()
}

fn damaged(what: &Unusable) -> &str {
    match what {
        Unusable::Damaged { how, .. } => how,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_sent_comes_back_and_is_no_backup_before_its_manifest() {
    let (shelf, folder) = shelf();
    let one = id(ONE);
    let stream = shelf.send(&one, "database", Noise::new(100), &Recipients::default()).await.expect("sent");
    let found = shelf.list().await.expect("a list");
    assert!(found.backups.is_empty() && found.unfinished == [one.clone()]);
    let missing = shelf.manifest(&one).await.expect_err("unfinished");
    assert!(matches!(find::<Unusable>(&missing), Some(Unusable::Missing { .. })), "{missing:#}");
    let manifest = manifest(&one, &[("database", stream)], &Recipients::default());
    shelf.finish(&manifest).await.expect("finished");
    let (two, _) = made(&shelf, &folder, TWO, &Recipients::default()).await;

    assert_eq!(shelf.ids().await.expect("names"), [one, two.id.clone()]);
    let found = shelf.list().await.expect("a list");
    assert!(found.backups == [manifest.clone(), two.clone()] && found.unfinished.is_empty());
    assert_eq!(shelf.labs().await.expect("labs"), std::slice::from_ref(&shelf.lab));
    shelf.complete(&two).await.expect("complete");
    let came = shelf.fetch(&two, "database", Arc::default(), Vec::new()).await.expect("fetched");
    let mut sent = Vec::new();
    Noise::new(10 << 20).read_to_end(&mut sent).expect("noise");
    assert!(came == sent);

    let note = "begun by a test\n".len() as u64;
    assert_eq!(shelf.remove(&two.id).await.expect("removed"), two.stored() + manifest_bytes(&two) + note);
    assert_eq!(shelf.list().await.expect("a list").backups, [manifest]);
}

fn manifest_bytes(manifest: &Manifest) -> u64 {
    serde_json::to_vec_pretty(manifest).expect("JSON").len() as u64
}

#[tokio::test]
async fn every_damage_is_seen() {
    let (shelf, folder) = shelf();
    let (manifest, at) = made(&shelf, &folder, ONE, &Recipients::default()).await;
    let part = at.join("database.00001");
    let whole = fs::read(&part).expect("a part");

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&part, flipped).expect("written");
    shelf.complete(&manifest).await.expect("lengths do not tell");
    assert_eq!(
        damaged(&refused(&shelf, &manifest, Keys::default()).await),
        "database.00001 has other bytes than were sent"
    );

    fs::write(&part, &whole[..whole.len() - 1]).expect("written");
    let short = format!("database.00001 has {} bytes instead of {}", whole.len() - 1, whole.len());
    assert_eq!(damaged(&refused(&shelf, &manifest, Keys::default()).await), short);
    let error = shelf.complete(&manifest).await.expect_err("short");
    assert_eq!(damaged(find(&error).expect("typed")), short);

    fs::remove_file(&part).expect("removed");
    assert_eq!(damaged(&refused(&shelf, &manifest, Keys::default()).await), "database.00001 is missing");

    // Parts of which each is what it should be, and the whole is not.
    fs::write(&part, &whole).expect("written");
    let mut shorter = manifest.clone();
    shorter.streams.get_mut("database").expect("a stream").parts.pop();
    assert_eq!(damaged(&refused(&shelf, &shorter, Keys::default()).await), "database breaks off");
}

#[tokio::test]
async fn a_manifest_that_is_not_this_ones_is_not_believed() {
    let (shelf, folder) = shelf();
    let (manifest, at) = made(&shelf, &folder, ONE, &Recipients::default()).await;
    let write = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(&manifest).expect("JSON");
        change(&mut value);
        fs::write(at.join(MANIFEST), value.to_string()).expect("written");
    };
    let said = async || {
        let error = shelf.manifest(&id(ONE)).await.expect_err("not believed");
        find::<Unusable>(&error).unwrap_or_else(|| panic!("{error:#}")).to_string()
    };
    write(&|value| value["format"] = 2.into());
    assert!(said().await.contains("format 2"), "{}", said().await);
    write(&|value| value["id"] = TWO.into());
    assert!(said().await.contains(&format!("that of {TWO}")), "{}", said().await);
    write(&|value| value["streams"] = 1.into());
    assert!(said().await.contains("its manifest is wrong"), "{}", said().await);
    fs::write(at.join(MANIFEST), "{").expect("written");
    assert!(said().await.contains("cannot be read"), "{}", said().await);
}

#[tokio::test]
async fn what_came_of_proving_a_backup_is_beside_it_and_goes_with_it() {
    let (shelf, folder) = shelf();
    let (manifest, at) = made(&shelf, &folder, ONE, &Recipients::default()).await;
    let verified = |wrong: Option<&str>| Verified {
        at: "2026-11-30T12:00:00Z".parse().expect("a time"),
        wrong: wrong.map(str::to_owned),
        seconds: 1.5,
        by: "0.1.0".to_owned(),
    };
    assert_eq!(shelf.verdict(&manifest.id).await.expect("asked"), None);
    for one in [verified(None), verified(Some("wp_posts has other rows"))] {
        shelf.mark(&manifest.id, &one).await.expect("marked");
        assert_eq!(shelf.verdict(&manifest.id).await.expect("asked"), Some(one));
    }
    assert_eq!(shelf.manifest(&manifest.id).await.expect("there"), manifest, "it is as it was");
    shelf.complete(&manifest).await.expect("complete");
    fs::write(at.join(VERIFIED), "{").expect("written");
    assert_eq!(shelf.verdict(&manifest.id).await.expect("asked"), None, "what cannot be read proves nothing");

    shelf.remove(&manifest.id).await.expect("removed");
    let error = shelf.mark(&manifest.id, &verified(None)).await.expect_err("it is gone");
    assert!(matches!(find::<Unusable>(&error), Some(Unusable::Missing { .. })), "{error:#}");
    assert!(shelf.list().await.expect("a list").unfinished.is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn a_locked_backup_is_told_from_a_damaged_one() {
    let (shelf, folder) = shelf();
    let [mine, other] = [(); 2].map(|()| age::x25519::Identity::generate());
    let to = Recipients::new(&[mine.to_public().to_string()]).expect("a key");
    let (manifest, _) = made(&shelf, &folder, ONE, &to).await;
    let no_key = refused(&shelf, &manifest, Keys::default()).await;
    assert_eq!(no_key, Unusable::Locked { id: ONE.to_owned(), tried: false });
    let wrong = refused(&shelf, &manifest, Keys::of(other.clone())).await;
    assert_eq!(wrong, Unusable::Locked { id: ONE.to_owned(), tried: true });
    // Nobody need fetch anything to know; and where the manifest does not know, the streams do.
    opens(&manifest, &Keys::of(other.clone())).expect_err("another key");
    let lies = Manifest { recipients: vec![other.to_public().to_string()], ..manifest.clone() };
    opens(&lies, &Keys::of(other.clone())).expect("so it says");
    assert_eq!(refused(&shelf, &lies, Keys::of(other)).await, wrong);
    shelf.fetch(&manifest, "database", Arc::new(Keys::of(mine)), io::sink()).await.expect("with its key");
}

#[tokio::test]
async fn a_source_that_fails_and_a_sink_that_fails_are_told() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the dump ended early"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (shelf, folder) = shelf();
    let source = Noise::new(30 << 20).chain(Broken);
    let error = shelf.send(&id(TWO), "database", source, &Recipients::default()).await.expect_err("broken");
    assert_eq!(format!("{error:#}"), "cannot read database: the dump ended early");
    assert_eq!(shelf.list().await.expect("a list").unfinished, [id(TWO)]);
    let (manifest, _) = made(&shelf, &folder, ONE, &Recipients::default()).await;
    let error = shelf.fetch(&manifest, "database", Arc::default(), Broken).await.err().expect("broken");
    assert!(format!("{error:#}").contains("the disk is full"), "{error:#}");
}

//! A Galera member's volume: the data directory and what is kept beside it. A copy of another member's data is written by
//! the server's own script, so what it leaves behind when it is cut off must be told from data: see [`Volume::data`].

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::inside::{gone, member::files::ACCOUNTS_PENDING};

/// What the volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Nothing, or what never was data.
    Empty,
    /// What is left of data of the cluster that was being replaced by a copy, or that Galera itself has declared worthless.
    Unusable,
    /// A data directory to start the server on.
    Present,
}

/// The volume of one member.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    root: PathBuf,
    me: String,
}

/// The position of data that belongs to no history.
const NO_HISTORY: &str = "00000000-0000-0000-0000-000000000000";

impl Volume {
    pub(super) fn new(root: impl Into<PathBuf>, me: &str) -> Volume {
        Volume { root: root.into(), me: me.to_owned() }
    }

    /// The server's data directory; as `datadir` in the option files says.
    pub(super) fn datadir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where a data directory is initialised; renamed to [`Volume::datadir`] when it is whole.
    pub(super) fn draft(&self) -> PathBuf {
        self.root.join("data.new")
    }

    /// What the volume holds, while no server runs.
    pub(super) fn data(&self) -> Data {
        let datadir = self.datadir();
        let copying = self.copying() || self.pending().exists();
        // Galera names no history before a first copy is complete (its file is empty then), and after it has found the data
        // to differ from everybody else's. Without the file the directory is a new one of ours: it appeared whole.
        let named = self.saved("uuid").is_some_and(|uuid| uuid != NO_HISTORY);
        let disowned = self.state_file().exists() && !named;
        if datadir.join("mysql").is_dir() && !copying && !disowned {
            Data::Present
        } else if self.known().contains(&self.me) || self.copying() {
            Data::Unusable
        } else {
            Data::Empty
        }
    }

    /// Whether the server's script says that it replaces the data by a copy; it takes its word back also when it fails.
    pub(super) fn copying(&self) -> bool {
        self.datadir().join("sst_in_progress").exists()
    }

    /// Remembers that the data is being replaced: it is worth nothing until [`Volume::copied`].
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn expect_copy(&self) -> Result<()> {
        if self.pending().exists() {
            return Ok(());
        }
        File::create(self.pending()).and_then(|file| file.sync_all()).context("cannot write the marker of a copy")?;
        self.sync()
    }

    /// The data is whole: the member is in the cluster with it.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn copied(&self) -> Result<()> {
        gone(fs::remove_file(self.pending())).context("cannot remove the marker of a copy")?;
        self.sync()
    }

    /// Removes what is no data, and makes an empty directory for a copy, or for an initialisation beside it.
    ///
    /// # Errors
    /// The volume cannot be written; or it holds data, which is never removed.
    pub(super) fn clear(&self, for_a_copy: bool) -> Result<()> {
        ensure!(self.data() != Data::Present, "the volume holds data; it is not going to be removed");
        for path in [self.draft(), self.datadir()] {
            gone(fs::remove_dir_all(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let path = if for_a_copy { self.datadir() } else { self.draft() };
        if for_a_copy {
            self.expect_copy()?;
        } else {
            self.copied()?;
        }
        let made = fs::DirBuilder::new().mode(0o750).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        self.sync()
    }

    /// Makes the draft the data directory.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn adopt(&self) -> Result<()> {
        fs::rename(self.draft(), self.datadir()).context("cannot rename the new data directory")?;
        self.sync()
    }

    /// Makes the draft the beginning of the cluster of this uuid, which is to be started from it.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn begin_history(&self, uuid: &str) -> Result<()> {
        self.replace(&self.draft().join("grastate.dat"), &state(uuid, 0, true))
    }

    /// The position of the draft, after a server has counted it as the beginning of the cluster of this uuid and has ended;
    /// from now on only joining it is left to do.
    ///
    /// # Errors
    /// The server has not left such a position; or the volume cannot be written.
    pub(super) fn end_of_beginning(&self, uuid: &str) -> Result<i64> {
        let path = self.draft().join("grastate.dat");
        let text = fs::read_to_string(&path).context("cannot read what the server said of its position")?;
        ensure!(field(&text, "uuid").as_deref() == Some(uuid), "the server is part of another history");
        let seqno = field(&text, "seqno").and_then(|text| text.parse().ok()).filter(|seqno| *seqno >= 0);
        let seqno = seqno.context("the server did not end in good order")?;
        for own in ["galera.cache", "gvwstate.dat"] {
            gone(fs::remove_file(self.draft().join(own))).with_context(|| format!("cannot remove {own}"))?;
        }
        self.replace(&path, &state(uuid, seqno, false))?;
        Ok(seqno)
    }

    /// Makes the draft the data directory, which is not this member's data before it is in the cluster with it: whatever
    /// happens until then, it is made anew.
    ///
    /// # Errors
    /// The volume cannot be written; or it holds data, which is never removed.
    pub(super) fn adopt_for_joining(&self) -> Result<()> {
        ensure!(self.data() != Data::Present, "the volume holds data; it is not going to be replaced");
        self.expect_copy()?;
        gone(fs::remove_dir_all(self.datadir())).context("cannot remove what is no data")?;
        self.adopt()
    }

    /// Whether the last server ended in good order: it has told the others that it leaves, and written down how far it was.
    pub(super) fn left_in_good_order(&self) -> bool {
        self.saved("seqno").and_then(|seqno| seqno.parse().ok()).is_some_and(|seqno: i64| seqno >= 0)
    }

    /// Whether Galera says that this was the last member to stop.
    pub(super) fn safe_to_bootstrap(&self) -> bool {
        self.saved("safe_to_bootstrap").is_some_and(|value| value == "1")
    }

    /// Lets Galera start a cluster from this data: the election has said so.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn allow_bootstrap(&self) -> Result<()> {
        let path = self.state_file();
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let line = |line: &str| match line.starts_with("safe_to_bootstrap:") {
            true => "safe_to_bootstrap: 1\n".to_owned(),
            false => format!("{line}\n"),
        };
        self.replace(&path, &text.lines().map(line).collect::<String>())
    }

    /// Removes the memory of the last component: who belongs together is decided by the election alone.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn forget_view(&self) -> Result<()> {
        gone(fs::remove_file(self.datadir().join("gvwstate.dat"))).context("cannot remove gvwstate.dat")
    }

    /// The members that have had data, as far as this one has ever heard: etcd may lose what it knew.
    pub(super) fn known(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.root.join("known")).unwrap_or_default();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Remembers these members too.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn remember(&self, members: impl IntoIterator<Item = String>) -> Result<()> {
        let before = self.known();
        let known: BTreeSet<String> = before.iter().cloned().chain(members).collect();
        if known == before {
            return Ok(());
        }
        let text: String = known.iter().map(|name| format!("{name}\n")).collect();
        self.replace(&self.root.join("known"), &text)
    }

    /// A field of `grastate.dat`, in which Galera keeps its own account of the data.
    fn saved(&self, field: &str) -> Option<String> {
        self::field(&fs::read_to_string(self.state_file()).ok()?, field)
    }

    /// Whether the accounts are to get the Secret's passwords at the server's next start.
    pub(super) fn lacks_accounts(&self) -> bool {
        self.root.join(ACCOUNTS_PENDING).exists()
    }

    /// The accounts have the Secret's passwords.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn has_accounts(&self) -> Result<()> {
        gone(fs::remove_file(self.root.join(ACCOUNTS_PENDING))).context("cannot remove the marker of the accounts")?;
        self.sync()
    }

    fn pending(&self) -> PathBuf {
        self.root.join("copy-pending")
    }

    fn state_file(&self) -> PathBuf {
        self.datadir().join("grastate.dat")
    }

    /// Writes a file so that it is the old one or the new one, whenever we are killed.
    fn replace(&self, path: &Path, text: &str) -> Result<()> {
        let part = path.with_extension("part");
        let write = || {
            let mut file = File::create(&part)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        self.sync()
    }

    /// Makes renames, creations and removals last through a power failure.
    fn sync(&self) -> Result<()> {
        File::open(&self.root).and_then(|folder| folder.sync_all()).context("cannot sync the volume")
    }
}

/// `grastate.dat`, as Galera writes it.
fn state(uuid: &str, seqno: i64, safe: bool) -> String {
    let safe = u8::from(safe);
    format!("# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: {safe}\n")
}

fn field(text: &str, field: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "# GALERA saved state\nversion: 2.1\nuuid:    UUID\nseqno:   -1\nsafe_to_bootstrap: 0\n";
    const HISTORY: &str = "3786e29b-e582-11f1-a1dc-3a885dfb5510";

    fn volume() -> (tempfile::TempDir, Volume) {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path(), "db-1");
        (root, volume)
    }

    fn with_data(volume: &Volume, uuid: &str) {
        fs::create_dir_all(volume.datadir().join("mysql")).expect("made");
        fs::write(volume.state_file(), STATE.replace("UUID", uuid)).expect("written");
    }

    #[test]
    fn an_initialisation_counts_when_it_is_whole() {
        let (_root, volume) = volume();
        assert_eq!(volume.data(), Data::Empty);
        volume.clear(false).expect("cleared");
        fs::create_dir(volume.draft().join("mysql")).expect("made");
        assert_eq!(volume.data(), Data::Empty, "a draft is no data");
        volume.clear(false).expect("cleared again");
        assert!(!volume.draft().join("mysql").exists());
        fs::create_dir(volume.draft().join("mysql")).expect("made");
        volume.adopt().expect("adopted");
        assert_eq!(volume.data(), Data::Present);
        volume.clear(true).expect_err("data is never removed");
    }

    #[test]
    fn a_copy_counts_when_it_is_whole() {
        let (_root, volume) = volume();
        volume.clear(true).expect("cleared");
        assert_eq!(volume.data(), Data::Empty, "the copy has not begun");
        with_data(&volume, NO_HISTORY);
        assert_eq!(volume.data(), Data::Empty, "files, but Galera does not say whose; this member never had data");
        fs::write(volume.state_file(), "").expect("written");
        assert_eq!(volume.data(), Data::Empty, "nor does it before it is told");
        fs::write(volume.datadir().join("sst_in_progress"), "").expect("written");
        assert_eq!(volume.data(), Data::Unusable);
        fs::remove_file(volume.datadir().join("sst_in_progress")).expect("removed");
        with_data(&volume, HISTORY);
        assert_eq!(volume.data(), Data::Empty, "the member was not yet seen in the cluster with it");
        volume.copied().expect("marked");
        assert_eq!(volume.data(), Data::Present);
    }

    #[test]
    fn data_that_a_copy_has_begun_to_replace_is_unusable_until_the_member_serves_again() {
        let (_root, volume) = volume();
        with_data(&volume, HISTORY);
        volume.remember(["db-1".to_owned()]).expect("remembered");
        assert_eq!(volume.data(), Data::Present);
        volume.expect_copy().expect("marked");
        volume.expect_copy().expect("marked once");
        assert_eq!(volume.data(), Data::Unusable, "the script may have failed, and taken its own mark away");
        volume.copied().expect("marked");
        assert_eq!(volume.data(), Data::Present);
    }

    #[test]
    fn galera_says_whether_the_server_told_the_others_that_it_leaves() {
        let (_root, volume) = volume();
        assert!(!volume.left_in_good_order(), "nothing is known");
        with_data(&volume, HISTORY);
        assert!(!volume.left_in_good_order(), "it was killed");
        fs::write(volume.state_file(), state(HISTORY, 7, false)).expect("written");
        assert!(volume.left_in_good_order());
    }

    #[test]
    fn a_member_that_had_data_is_never_taken_for_a_new_one() {
        let (_root, volume) = volume();
        with_data(&volume, HISTORY);
        volume.remember(["db-1".to_owned(), "db-0".to_owned()]).expect("remembered");
        with_data(&volume, NO_HISTORY);
        assert_eq!(volume.data(), Data::Unusable);
        volume.clear(true).expect("cleared");
        assert_eq!(volume.data(), Data::Unusable, "also after its remains were removed");
        volume.remember(["db-2".to_owned()]).expect("remembered");
        assert_eq!(volume.known().into_iter().collect::<Vec<_>>(), ["db-0", "db-1", "db-2"]);
    }

    #[test]
    fn what_a_joiner_made_itself_counts_when_it_is_in_the_cluster_with_it() {
        let (_root, volume) = volume();
        volume.clear(false).expect("cleared");
        fs::create_dir(volume.draft().join("mysql")).expect("made");
        volume.end_of_beginning(HISTORY).expect_err("no server has counted it");
        volume.begin_history(HISTORY).expect("written");
        let state = volume.draft().join("grastate.dat");
        let text = fs::read_to_string(&state).expect("there");
        fs::write(&state, text.replace("seqno:   0", "seqno:   -1")).expect("written");
        volume.end_of_beginning(HISTORY).expect_err("the server was killed");
        fs::write(&state, text.replace("seqno:   0", "seqno:   1")).expect("written");
        fs::write(volume.draft().join("galera.cache"), "its own").expect("written");
        volume.end_of_beginning(NO_HISTORY).expect_err("another cluster has begun meanwhile");
        assert_eq!(volume.end_of_beginning(HISTORY).expect("a position"), 1);
        assert!(!volume.draft().join("galera.cache").exists());
        volume.adopt_for_joining().expect("adopted");
        assert_eq!((volume.data(), volume.safe_to_bootstrap()), (Data::Empty, false), "it has not joined yet");
        assert_eq!(volume.saved("uuid").as_deref(), Some(HISTORY));
        volume.copied().expect("it has joined");
        assert_eq!(volume.data(), Data::Present);
        volume.adopt_for_joining().expect_err("data is never removed");
    }

    #[test]
    fn a_cluster_that_begins_is_this_members_data_at_once() {
        let (_root, volume) = volume();
        volume.clear(false).expect("cleared");
        fs::create_dir(volume.draft().join("mysql")).expect("made");
        volume.begin_history(HISTORY).expect("written");
        volume.adopt().expect("adopted");
        assert_eq!((volume.data(), volume.safe_to_bootstrap()), (Data::Present, true));
    }

    #[test]
    fn only_the_elected_member_is_allowed_to_bootstrap() {
        let (_root, volume) = volume();
        volume.allow_bootstrap().expect("nothing to change in new data");
        with_data(&volume, HISTORY);
        assert!(!volume.safe_to_bootstrap());
        volume.allow_bootstrap().expect("changed");
        assert!(volume.safe_to_bootstrap());
        assert_eq!(volume.saved("uuid").as_deref(), Some(HISTORY));
        fs::write(volume.datadir().join("gvwstate.dat"), "my_uuid: x").expect("written");
        volume.forget_view().expect("removed");
        volume.forget_view().expect("nothing to remove");
        assert!(!volume.datadir().join("gvwstate.dat").exists());
    }
}

//! The member's volume: the data directory and the markers beside it. Every step is one rename or one synced file, so that
//! being killed at any point leaves a state that [`Volume::data`] tells apart.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};

use anyhow::{Context, Result};

use super::{config::password, decide::Data};
use crate::{
    inside::{
        gone,
        member::{
            files::{ACCOUNTS_PENDING, fingerprint},
            mandate::{Line, Mandate, Part, Term},
        },
    },
    wire::sql::literal,
};

/// The file with the agent's last order.
const MANDATE: &str = "mandate";

/// The volume.
#[derive(Clone, Debug)]
pub(super) struct Volume(PathBuf);

impl Volume {
    pub(super) fn new(root: impl Into<PathBuf>) -> Volume {
        Volume(root.into())
    }

    /// mysqld's data directory.
    pub(super) fn datadir(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Where a data directory is initialised; renamed to [`Volume::datadir`] when it is whole.
    pub(super) fn draft(&self) -> PathBuf {
        self.0.join("data.new")
    }

    /// What the volume holds, for a supervisor that has just been started.
    pub(super) fn data(&self) -> Data {
        match (self.datadir().is_dir(), self.marker("clone-pending").exists()) {
            (false, _) => Data::Empty,
            (true, true) => Data::Interrupted,
            (true, false) => Data::Present,
        }
    }

    /// By which recipe the data was made here; empty for a copy.
    pub(super) fn recipe(&self) -> String {
        fs::read_to_string(self.marker("recipe")).unwrap_or_default()
    }

    /// Remembers that the draft has no accounts yet: the server's first start makes them.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn expect_accounts(&self) -> Result<()> {
        self.mark(ACCOUNTS_PENDING)
    }

    /// Whether the data still lacks its accounts, or those of a snapshot are to get other passwords.
    pub(super) fn lacks_accounts(&self) -> bool {
        self.marker(ACCOUNTS_PENDING).exists()
    }

    /// The accounts are there.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn has_accounts(&self) -> Result<()> {
        gone(fs::remove_file(self.marker(ACCOUNTS_PENDING))).context("cannot remove the marker of the accounts")?;
        self.sync()
    }

    /// Remembers that the draft was made by this recipe.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn made_by(&self, recipe: &str) -> Result<()> {
        fs::write(self.marker("recipe"), recipe).context("cannot write down how the data was made")
    }

    /// Removes what a cut-off initialisation or copy left behind, and makes an empty draft directory.
    ///
    /// # Errors
    /// The volume cannot be written; or it holds data that is not marked as worthless, which is never removed.
    pub(super) fn clear(&self) -> Result<()> {
        anyhow::ensure!(self.data() != Data::Present, "the volume holds data; it is not going to be removed");
        for path in [self.draft(), self.datadir()] {
            gone(fs::remove_dir_all(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.forget_recipe()?;
        self.has_accounts()?;
        let draft = self.draft();
        fs::DirBuilder::new().mode(0o750).create(&draft).with_context(|| format!("cannot make {}", draft.display()))
    }

    /// Makes the draft the data directory; `copy_follows` marks it as worth nothing until [`Volume::copied`].
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn adopt(&self, copy_follows: bool) -> Result<()> {
        if copy_follows {
            self.expect_copy()?
        } else {
            self.copied()?
        }
        fs::rename(self.draft(), self.datadir()).context("cannot rename the new data directory")?;
        self.sync()
    }

    /// Marks the data as worth nothing: a copy of another member's is about to replace it.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn expect_copy(&self) -> Result<()> {
        self.mark("clone-pending")
    }

    /// Forgets how the data was made, because a copy replaces it.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn forget_recipe(&self) -> Result<()> {
        gone(fs::remove_file(self.marker("recipe"))).context("cannot forget how the data was made")?;
        self.sync()
    }

    /// The data counts from now on: it is a whole copy of another member's, or what the source began with.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn copied(&self) -> Result<()> {
        gone(fs::remove_file(self.marker("clone-pending"))).context("cannot remove the marker of a copy")?;
        self.sync()
    }

    /// What the agent has made of this member; `None` before its first order.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours: then nobody knows, and nothing may be assumed.
    pub(super) fn mandate(&self) -> Result<Option<Mandate>> {
        let path = self.marker(MANDATE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(self.mandate_of_before()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_str(&text).map(Some).with_context(|| format!("{} is no mandate", path.display()))
    }

    /// Labs that were made before there were mandates marked the member that was opened last.
    fn mandate_of_before(&self) -> Option<Mandate> {
        let source = Mandate { term: Term::default(), part: Part::Source, version: 1, line: Line::default() };
        self.marker("was-writer").exists().then_some(source)
    }

    /// Remembers an order, before it is obeyed.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn set_mandate(&self, mandate: &Mandate) -> Result<()> {
        let (path, draft) = (self.marker(MANDATE), self.marker("mandate.new"));
        let write = || -> Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(serde_json::to_string(mandate)?.as_bytes())?;
            file.sync_all()?;
            Ok(fs::rename(&draft, &path)?)
        };
        write().context("cannot write down what the agent ordered")?;
        gone(fs::remove_file(self.marker("was-writer"))).context("cannot remove the marker of before")?;
        self.sync()
    }

    /// The folders of what was kept aside, in the order of their names; none that cannot be read.
    pub(super) fn kept_aside(&self) -> Vec<String> {
        let folders = fs::read_dir(self.0.join("aside")).into_iter().flatten().flatten();
        let mut names: Vec<String> = folders.map(|folder| folder.path().display().to_string()).collect();
        names.sort_unstable();
        names
    }

    /// A new folder for what is kept aside; its name is the term in which that happened.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub(super) fn aside(&self, term: &Term) -> Result<PathBuf> {
        let of = |count: usize| self.0.join("aside").join(format!("{}-{count}", term.number));
        let folder = (1..).map(of).find(|folder| !folder.exists()).context("there is no name left")?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    fn marker(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn mark(&self, name: &str) -> Result<()> {
        let file = File::create(self.marker(name)).and_then(|file| file.sync_all());
        file.with_context(|| format!("cannot write the marker {name}"))?;
        self.sync()
    }

    /// Makes renames, creations and removals last through a power failure.
    fn sync(&self) -> Result<()> {
        File::open(&self.0).and_then(|folder| folder.sync_all()).context("cannot sync the volume")
    }
}

/// The passwords of the three accounts.
pub(super) struct Passwords {
    /// `root`, from the member's own pod only.
    pub(super) root: String,
    /// `replication`, for replicas.
    pub(super) replication: String,
    /// `wordpress`, for the site.
    pub(super) wordpress: String,
}

impl Passwords {
    /// Those of the pod's Secret.
    ///
    /// # Errors
    /// A file is not there.
    pub(super) fn read() -> Result<Passwords> {
        Ok(Passwords {
            root: password("root")?,
            replication: password("replication")?,
            wordpress: password("wordpress")?,
        })
    }
}

/// What every data directory that this program makes has in common: two members of the same recipe have the same data, but
/// for salts. No password is part of it.
pub(super) fn recipe() -> String {
    let same = || "the same everywhere".to_owned();
    let sql = init_sql(&Passwords { root: same(), replication: same(), wordpress: same() });
    fingerprint(&sql)
}

/// The statements of a new data directory, or of one whose accounts get other passwords: accounts and the site's database, one per line. They run without binary log,
/// so that they are nobody's transactions; replicas make them too, or get them with the copy. Run twice they make the same.
pub(super) fn init_sql(passwords: &Passwords) -> String {
    let Passwords { root, replication, wordpress } = passwords;
    let user = super::config::REPLICATION_USER;
    let (root, replication, wordpress) = (literal(root), literal(replication), literal(wordpress));
    format!(
        "ALTER USER root@localhost IDENTIFIED BY {root};\n\
         CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY {replication} REQUIRE SSL;\n\
         ALTER USER {user}@'%' IDENTIFIED BY {replication};\n\
         GRANT REPLICATION SLAVE, REPLICATION CLIENT, BACKUP_ADMIN ON *.* TO {user}@'%';\n\
         CREATE DATABASE IF NOT EXISTS wordpress CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;\n\
         CREATE USER IF NOT EXISTS wordpress@'%' IDENTIFIED BY {wordpress};\n\
         ALTER USER wordpress@'%' IDENTIFIED BY {wordpress} REQUIRE SSL;\n\
         GRANT ALL ON wordpress.* TO wordpress@'%';\n\
         GRANT ALL ON `wordpress\\_%`.* TO wordpress@'%';\n"
    )
}

/// The same for a server that starts on a directory without accounts: it begins writable and is read-only in the end.
pub(super) fn first_start_sql(passwords: &Passwords) -> String {
    format!("SET sql_log_bin = 0;\n{}SET GLOBAL super_read_only = ON;\n", init_sql(passwords))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_told_apart_whenever_the_work_on_it_was_cut_off() {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path());
        assert_eq!(volume.data(), Data::Empty);
        volume.clear().expect("cleared");
        fs::write(volume.draft().join("ibdata1"), "half").expect("written");
        assert_eq!(volume.data(), Data::Empty, "a draft is no data");
        volume.clear().expect("cleared again");
        assert!(!volume.draft().join("ibdata1").exists());
        volume.adopt(true).expect("adopted");
        assert_eq!(volume.data(), Data::Interrupted, "a copy was to follow");
        volume.clear().expect("worthless data may go");
        volume.adopt(true).expect("adopted");
        volume.copied().expect("marked");
        assert_eq!(volume.data(), Data::Present);
    }

    #[test]
    fn a_volume_forgets_how_its_data_was_made_when_that_is_replaced() {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path());
        volume.clear().expect("cleared");
        assert_eq!(volume.recipe(), "");
        volume.made_by("r").expect("written");
        volume.adopt(true).expect("adopted");
        assert_eq!(volume.recipe(), "r");
        volume.forget_recipe().expect("a copy begins");
        assert_eq!(volume.recipe(), "");
        volume.made_by("r").expect("written");
        volume.clear().expect("worthless data may go");
        assert_eq!(volume.recipe(), "");
    }

    #[test]
    fn accounts_are_pending_until_the_first_start_has_made_them() {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path());
        volume.clear().expect("cleared");
        assert!(!volume.lacks_accounts());
        volume.expect_accounts().expect("marked");
        volume.adopt(true).expect("adopted");
        assert!(volume.lacks_accounts());
        volume.has_accounts().expect("marked");
        assert!(!volume.lacks_accounts());
        volume.expect_accounts().expect("marked");
        volume.clear().expect("worthless data may go");
        assert!(!volume.lacks_accounts(), "what is made next has its own");
    }

    #[test]
    fn data_of_the_lab_is_never_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path());
        volume.clear().expect("cleared");
        volume.adopt(false).expect("adopted");
        volume.clear().expect_err("refused");
        assert_eq!(volume.data(), Data::Present);
    }

    #[test]
    fn an_order_is_remembered_and_a_file_that_is_none_is_no_order() {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path());
        assert_eq!(volume.mandate().expect("read"), None);
        fs::write(root.path().join("was-writer"), "").expect("written");
        let before = volume.mandate().expect("read").expect("marked");
        assert_eq!((before.part, before.term.number), (Part::Source, 0));
        let follows = Mandate {
            term: before.term.next("a"),
            part: Part::Follows("db-1".into()),
            version: 1,
            line: Line::default(),
        };
        volume.set_mandate(&follows).expect("written");
        assert_eq!(volume.mandate().expect("read"), Some(follows));
        assert!(!root.path().join("was-writer").exists());
        fs::write(root.path().join("mandate"), "half a li").expect("written");
        volume.mandate().expect_err("nobody knows");
    }

    #[test]
    fn what_is_kept_aside_never_replaces_what_was_kept_before() {
        let root = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(root.path());
        let term = Term { number: 7, by: "a".into() };
        assert!(volume.kept_aside().is_empty());
        let (one, two) = (volume.aside(&term).expect("made"), volume.aside(&term).expect("made"));
        assert_ne!(one, two);
        assert!(one.ends_with("aside/7-1") && two.ends_with("aside/7-2"));
        assert_eq!(volume.kept_aside(), [one, two].map(|folder| folder.display().to_string()));
    }

    #[test]
    fn passwords_cannot_leave_their_quotes() {
        let passwords = Passwords { root: "a'b".into(), replication: r"c\'; DROP".into(), wordpress: "plain".into() };
        let sql = init_sql(&passwords);
        assert!(sql.contains("ALTER USER root@localhost IDENTIFIED BY 'a''b';\n"), "{sql}");
        assert!(sql.contains(r"IDENTIFIED BY 'c\\''; DROP' REQUIRE SSL;"), "{sql}");
        assert_eq!(sql.lines().count(), 9, "the server reads one statement per line");
        let first = first_start_sql(&passwords);
        assert!(first.starts_with("SET sql_log_bin = 0;\n") && first.ends_with("SET GLOBAL super_read_only = ON;\n"));
    }
}

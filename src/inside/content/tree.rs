//! A folder as a tree, and what makes the copy of one the same again: reading both, the difference as a pure function, and
//! doing it file by file, so that whoever reads meanwhile finds a whole file, the old one or the new one.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};

use super::SEEDED;

/// The folders of `wp-content` that hold code. Drop-ins are the PHP files beside them; everything else is data.
const CODE: [&str; 4] = ["themes", "plugins", "mu-plugins", "languages"];
/// Names that are the lab's own, in both folders, and what NFS calls a removed file that somebody still has open.
const OURS: [&str; 2] = [".wplab-", ".nfs"];
/// Where links lead while the shared folder is away: there is no such file.
const NOWHERE: &str = ".wplab-nowhere";
/// A file or link that is not whole yet.
const PART: &str = ".wplab-part";

/// One thing in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    File { length: u64, modified: SystemTime },
    Link(PathBuf),
}

/// Everything below a folder, by relative path. A folder comes before what is in it.
pub(super) type Tree = BTreeMap<PathBuf, Entry>;

/// What the copy should be: code as it is, everything else as a link to it.
///
/// # Errors
/// The folder cannot be read, or was never filled: an export that came up empty is no reason to remove a site's code.
fn of_shared(shared: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut seeded = false;
    for name in names(shared)? {
        seeded |= name == SEEDED;
        let path = PathBuf::from(&name);
        if is_ours(&name) {
            continue;
        }
        if CODE.iter().any(|code| name == *code) || path.extension().is_some_and(|extension| extension == "php") {
            add(shared, path, &mut tree)?;
        } else {
            tree.insert(path, Entry::Link(shared.join(&name)));
        }
    }
    ensure!(seeded, "{} is not filled", shared.display());
    Ok(tree)
}

/// What the copy is.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn of_copy(local: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    for name in names(local)?.into_iter().filter(|name| !is_ours(name)) {
        add(local, name.into(), &mut tree)?;
    }
    Ok(tree)
}

fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    read().with_context(|| format!("cannot read {}", folder.display()))
}

fn is_ours(name: &OsStr) -> bool {
    OURS.iter().any(|ours| name.as_encoded_bytes().starts_with(ours.as_bytes()))
}

/// Adds what is at `path` below `root`, with everything in it. What is gone meanwhile is not there; pipes and the like are no code.
fn add(root: &Path, path: PathBuf, tree: &mut Tree) -> Result<()> {
    let full = root.join(&path);
    let entry = (|| -> io::Result<_> {
        let found = fs::symlink_metadata(&full)?;
        Ok(match found.file_type() {
            kind if kind.is_dir() => Some(Entry::Folder),
            kind if kind.is_symlink() => Some(Entry::Link(fs::read_link(&full)?)),
            kind if kind.is_file() => Some(Entry::File { length: found.len(), modified: found.modified()? }),
            _ => None,
        })
    })();
    let entry = match entry {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", full.display())),
    };
    if entry == Entry::Folder {
        for name in names(&full)?.into_iter().filter(|name| !is_ours(name)) {
            add(root, path.join(name), tree)?;
        }
    }
    tree.insert(path, entry);
    Ok(())
}

/// One step towards the same tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// With everything in it.
    Remove(PathBuf),
    Make(PathBuf, Entry),
}

/// The steps from `is` to `wanted`. What is new comes first and what is gone last: code that is replaced by other files is
/// there twice for a moment, and not missing.
fn changes(is: &Tree, wanted: &Tree) -> Vec<Change> {
    let mut steps = Vec::new();
    for (path, entry) in wanted {
        let before = is.get(path);
        if before == Some(entry) {
            continue;
        }
        // A file takes another one's place by being renamed to it; a folder cannot.
        if before.is_some_and(|before| (*before == Entry::Folder) != (*entry == Entry::Folder)) {
            steps.push(Change::Remove(path.clone()));
        }
        steps.push(Change::Make(path.clone(), entry.clone()));
    }
    let gone = |path: &Path| !wanted.contains_key(path);
    let topmost = is
        .keys()
        .filter(|path| gone(path) && path.parent().is_none_or(|folder| !gone(folder) || !is.contains_key(folder)));
    // What was below a folder that became a file went with it.
    let there = topmost.filter(|path| {
        path.ancestors().skip(1).all(|folder| !matches!(wanted.get(folder), Some(Entry::File { .. } | Entry::Link(_))))
    });
    steps.extend(there.cloned().map(Change::Remove));
    steps
}

/// Makes the copy the same as the shared folder; returns how many changes there were. `tree` is what the copy is, before and after.
///
/// # Errors
/// The shared folder cannot be read, or the copy cannot be written. What is not done yet is left as it was.
pub(super) fn follow(shared: &Path, local: &Path, tree: &mut Tree, links: &Links) -> Result<usize> {
    let steps = changes(tree, &of_shared(shared)?);
    let count = steps.len();
    for step in steps {
        match step {
            Change::Remove(path) => {
                remove(&local.join(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
                tree.retain(|other, _| !other.starts_with(&path));
                links.forget(&path);
            }
            Change::Make(path, entry) => {
                match make(shared, local, &path, &entry) {
                    // It is gone again, or a folder on the way to it is: the next comparison sees that.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    made => made.with_context(|| format!("cannot copy {}", path.display()))?,
                }
                links.learn(&path, &entry, shared);
                tree.insert(path, entry);
            }
        }
    }
    Ok(count)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn make(shared: &Path, local: &Path, path: &Path, entry: &Entry) -> io::Result<()> {
    let target = local.join(path);
    match entry {
        Entry::Folder => fs::create_dir(target),
        Entry::Link(to) => link(local, to, &target),
        Entry::File { modified, .. } => {
            let part = local.join(PART);
            let mut from = File::open(shared.join(path))?;
            let mut to = File::create(&part)?;
            io::copy(&mut from, &mut to)?;
            to.set_permissions(Permissions::from_mode(0o644))?;
            // Compiled code and browsers' copies are good as long as this stands, on every replica.
            to.set_modified(*modified)?;
            fs::rename(part, target)
        }
    }
}

fn link(local: &Path, to: &Path, at: &Path) -> io::Result<()> {
    let part = local.join(PART);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => symlink(to, &part)?,
    }
    fs::rename(part, at)
}

/// The links of the copy into the shared folder, which can be turned away and back.
#[derive(Clone, Debug, Default)]
pub(super) struct Links(Arc<Mutex<BTreeMap<PathBuf, PathBuf>>>);

impl Links {
    /// Those of a copy. What was turned away by an earlier process is a link of the same name into the shared folder.
    pub(super) fn of(tree: &Tree, shared: &Path) -> Links {
        let links = Links::default();
        for (path, entry) in tree {
            let entry = if *entry == Entry::Link(NOWHERE.into()) { &Entry::Link(shared.join(path)) } else { entry };
            links.learn(path, entry, shared);
        }
        links
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, path: &Path, entry: &Entry, shared: &Path) {
        match entry {
            Entry::Link(to)
                if to.starts_with(shared) && path.components().all(|c| matches!(c, Component::Normal(_))) =>
            {
                self.all().insert(path.to_owned(), to.clone());
            }
            _ => self.forget(path),
        }
    }

    fn forget(&self, path: &Path) {
        self.all().retain(|other, _| !other.starts_with(path));
    }

    /// Lets every link lead nowhere, or where it belongs.
    ///
    /// # Errors
    /// One cannot be replaced.
    pub(super) fn turn(&self, local: &Path, away: bool) -> io::Result<()> {
        for (path, to) in self.all().iter() {
            link(local, if away { Path::new(NOWHERE) } else { to }, &local.join(path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(length: u64) -> Entry {
        Entry::File { length, modified: SystemTime::UNIX_EPOCH + Duration::from_secs(length) }
    }

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        entries.iter().map(|(path, entry)| (PathBuf::from(path), entry.clone())).collect()
    }

    fn told(steps: &[Change]) -> Vec<String> {
        let tell = |step: &Change| match step {
            Change::Remove(path) => format!("- {}", path.display()),
            Change::Make(path, _) => format!("+ {}", path.display()),
        };
        steps.iter().map(tell).collect()
    }

    #[test]
    fn the_difference_is_as_small_as_it_can_be_and_takes_away_last() {
        let before = tree(&[
            ("a", Entry::Folder),
            ("a/same", file(1)),
            ("a/changed", file(2)),
            ("a/gone", Entry::Folder),
            ("a/gone/with", file(3)),
            ("b", file(4)),
            ("c", Entry::Folder),
            ("c/inside", file(5)),
        ]);
        let after = tree(&[
            ("a", Entry::Folder),
            ("a/same", file(1)),
            ("a/changed", file(7)),
            ("a/new", Entry::Folder),
            ("a/new/file", file(8)),
            ("b", Entry::Folder),
            ("b/now", file(9)),
            ("c", file(6)),
        ]);
        let steps = ["+ a/changed", "+ a/new", "+ a/new/file", "- b", "+ b", "+ b/now", "- c", "+ c", "- a/gone"];
        assert_eq!(told(&changes(&before, &after)), steps);
        assert_eq!(changes(&after, &after), []);
    }

    /// Every pair of small trees: the steps really lead from the one to the other.
    #[test]
    fn whatever_was_there_the_copy_becomes_the_same() {
        let kinds = [None, Some(Entry::Folder), Some(file(1)), Some(file(2)), Some(Entry::Link("x".into()))];
        let mut trees = Vec::new();
        for top in &kinds {
            for inside in &kinds {
                let mut entries = vec![(SEEDED, file(0)), ("themes", Entry::Folder)];
                entries.extend(top.clone().map(|entry| ("themes/a", entry)));
                let folder = *top == Some(Entry::Folder);
                entries.extend(inside.clone().filter(|_| folder).map(|entry| ("themes/a/b", entry)));
                trees.push(tree(&entries));
            }
        }
        for (n, before) in trees.iter().enumerate() {
            for after in &trees {
                let folder = tempfile::tempdir().expect("a folder");
                let (shared, local) = (folder.path().join("shared"), folder.path().join("local"));
                let put = |root: &Path, tree: &Tree| {
                    let _ = fs::remove_dir_all(root);
                    fs::create_dir(root).expect("made");
                    for (path, entry) in tree {
                        let at = root.join(path);
                        match entry {
                            Entry::Folder => fs::create_dir(at).expect("made"),
                            Entry::Link(to) => symlink(to, at).expect("linked"),
                            Entry::File { length, modified } => {
                                fs::write(&at, vec![b'x'; usize::try_from(*length).expect("short")]).expect("written");
                                File::options()
                                    .write(true)
                                    .open(&at)
                                    .and_then(|f| f.set_modified(*modified))
                                    .expect("dated");
                            }
                        }
                    }
                };
                fs::create_dir(&local).expect("made");
                let (mut tree, links) = (Tree::new(), Links::default());
                for wanted in [before, after] {
                    put(&shared, wanted);
                    follow(&shared, &local, &mut tree, &links).expect("followed");
                    let mut wanted = wanted.clone();
                    wanted.remove(Path::new(SEEDED));
                    assert_eq!(of_copy(&local).expect("read"), wanted, "tree {n}");
                    assert_eq!(tree, wanted, "tree {n}");
                }
            }
        }
    }

    #[test]
    fn code_and_drop_ins_are_copied_and_everything_else_is_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["plugins/p", "uploads/2026", "cache", "languages"] {
            fs::create_dir_all(folder.path().join(path)).expect("made");
        }
        for path in [SEEDED, "index.php", "debug.log", "plugins/p/p.php", ".nfs0123"] {
            fs::write(folder.path().join(path), "").expect("written");
        }
        let tree = of_shared(folder.path()).expect("read");
        let links: Vec<_> =
            tree.iter().filter(|(_, e)| matches!(e, Entry::Link(_))).map(|(p, _)| p.to_string_lossy()).collect();
        assert_eq!(links, ["cache", "debug.log", "uploads"]);
        let code: Vec<_> =
            tree.iter().filter(|(_, e)| !matches!(e, Entry::Link(_))).map(|(p, _)| p.to_string_lossy()).collect();
        assert_eq!(code, ["index.php", "languages", "plugins", "plugins/p", "plugins/p/p.php"]);
    }

    #[test]
    fn a_copy_that_was_left_turned_away_knows_where_its_links_belong() {
        let tree = tree(&[("uploads", Entry::Link(NOWHERE.into())), ("db.php", Entry::Link("/etc/db.php".into()))]);
        let links = Links::of(&tree, Path::new("/mnt/c"));
        assert_eq!(links.all().clone(), BTreeMap::from([("uploads".into(), "/mnt/c/uploads".into())]));
    }
}

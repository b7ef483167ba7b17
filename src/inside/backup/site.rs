//! `wp-content` in a backup: a tar of what is there, and an index that says what each file was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{inside::there, wire::hex};

/// The lab's own files at the top of `wp-content` begin so. They say how far this very folder is, and are no part of the site.
const OWN: &str = ".wplab-";
/// How often a file is read again that changes meanwhile.
const TRIES: usize = 2;

/// A line of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its path below `wp-content`.
    pub(super) path: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// When it was changed last, in seconds since 1970.
    pub(super) modified: i64,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub(super) sha256: String,
    /// Whether it was being changed while it was read, every time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) changing: bool,
}

/// Writes everything below `root` as a tar, and a line for each file into `index`. What is removed meanwhile is left out. Returns how
/// many files there are.
///
/// # Errors
/// Something cannot be read or written.
pub(super) fn pack(root: &Path, out: impl Write, mut index: impl Write) -> io::Result<u64> {
    let (mut tar, mut files) = (tar::Builder::new(out), 0);
    tar.follow_symlinks(false);
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for name in listed(&root.join(&folder))? {
            let path = folder.join(&name);
            if folder.as_os_str().is_empty() && name.to_string_lossy().starts_with(OWN) {
                continue;
            }
            let full = root.join(&path);
            let Some(about) = there(fs::symlink_metadata(&full))? else { continue };
            if about.is_dir() {
                tar.append_dir(&path, &full)?;
                folders.push(path);
            } else if about.is_symlink() {
                // The drop-in of the lab is one, and a new lab makes its own.
                if !fs::read_link(&full)?.starts_with("/etc/wplab") {
                    tar.append_path_with_name(&full, &path)?;
                }
            } else if about.is_file()
                && let Some(entry) = file(&mut tar, &path, &full)?
            {
                files += 1;
                serde_json::to_writer(&mut index, &entry)?;
                index.write_all(b"\n")?;
            }
        }
    }
    tar.into_inner()?.flush()?;
    index.flush()?;
    Ok(files)
}

/// The names in a folder, in order.
fn listed(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let Some(entries) = there(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let mut names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// One file; what is packed under a name last is what a tar holds.
fn file<W: Write>(tar: &mut tar::Builder<W>, path: &Path, full: &Path) -> io::Result<Option<Entry>> {
    let mut entry = None;
    for _ in 0..TRIES {
        let Some(mut open) = there(File::open(full))? else { return Ok(entry) };
        let before = open.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&before);
        let mut through = Exactly { left: before.len(), hash: Sha256::new(), inner: &mut open, short: false };
        tar.append_data(&mut header, path, &mut through)?;
        let (hash, short) = (through.hash, through.short);
        let changing = short || !same(&before, &open.metadata()?);
        entry = Some(Entry {
            path: path.to_string_lossy().into_owned(),
            bytes: before.len(),
            modified: before.mtime(),
            sha256: hex(&hash.finalize()),
            changing,
        });
        if !changing {
            break;
        }
    }
    Ok(entry)
}

fn same(before: &Metadata, after: &Metadata) -> bool {
    let of = |about: &Metadata| (about.len(), about.mtime(), about.mtime_nsec());
    of(before) == of(after)
}

/// As many bytes as a header has promised: of a file that became shorter, zeros.
struct Exactly<'a> {
    left: u64,
    hash: Sha256,
    inner: &'a mut File,
    short: bool,
}

impl Read for Exactly<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if most == 0 {
            return Ok(0);
        }
        let mut read = if self.short { 0 } else { self.inner.read(&mut bytes[..most])? };
        if read == 0 {
            self.short = true;
            bytes[..most].fill(0);
            read = most;
        }
        self.hash.update(&bytes[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

/// What an index says, by path.
pub(super) type Index = BTreeMap<String, Entry>;

/// Reads an index.
///
/// # Errors
/// A line is none.
pub(super) fn index(text: &[u8]) -> io::Result<Index> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let entries = lines.map(|line| serde_json::from_slice::<Entry>(line).map_err(io::Error::from));
    entries.map(|entry| entry.map(|entry| (entry.path.clone(), entry))).collect()
}

/// Compares a tar with its index and, with a folder to put it into, unpacks it there. Returns how many files there were. A file that
/// was changing while it was packed may be anything.
///
/// # Errors
/// It cannot be read or written; a name leads out of the folder; or a file is not what the index says: those are named.
pub(super) fn unpack(tar: impl Read, index: &Index, into: Option<&Path>) -> io::Result<u64> {
    let mut archive = tar::Archive::new(tar);
    archive.set_preserve_mtime(true);
    let (mut wrong, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() {
            if let Some(into) = into {
                within(entry.unpack_in(into)?, &path)?;
            }
            continue;
        }
        let sum = match into {
            Some(into) => {
                within(entry.unpack_in(into)?, &path)?;
                sum(File::open(into.join(&path))?)?
            }
            None => sum(&mut entry)?,
        };
        // The last one of a name counts.
        let known = index.get(&path);
        match known.is_some_and(|known| known.changing || known.sha256 == sum) {
            true => wrong.remove(&path),
            false => wrong.insert(path.clone()),
        };
        seen.insert(path);
    }
    wrong.extend(index.keys().filter(|path| !seen.contains(*path)).cloned());
    match wrong.first() {
        None => Ok(seen.len() as u64),
        Some(first) => {
            let more = if wrong.len() > 1 { format!(", and {} more", wrong.len() - 1) } else { String::new() };
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{first}{more}: not what the index says")))
        }
    }
}

fn within(done: bool, path: &str) -> io::Result<()> {
    match done {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} leads out of the folder"))),
    }
}

fn sum(mut source: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut source, &mut Hashing(&mut hash))?;
    Ok(hex(&hash.finalize()))
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("uploads/2026/11")).expect("made");
        let long = format!("uploads/2026/11/{}.jpg", "n".repeat(150));
        for (path, text) in
            [("index.php", "<?php"), ("uploads/2026/11/a b.jpg", "picture"), (&long, "long"), (".wplab-seeded", "")]
        {
            fs::write(root.join(path), text).expect("written");
        }
        symlink("/etc/wplab/wordpress/db.php", root.join("db.php")).expect("linked");
        symlink("uploads", root.join("media")).expect("linked");
        folder
    }

    fn packed(root: &Path) -> (Vec<u8>, Index) {
        let (mut tar, mut lines) = (Vec::new(), Vec::new());
        pack(root, &mut tar, &mut lines).expect("packed");
        (tar, index(&lines).expect("an index"))
    }

    #[test]
    fn what_is_packed_comes_out_the_same_without_what_is_the_labs_own() {
        let site = site();
        let (tar, index) = packed(site.path());
        assert_eq!(index.len(), 3);
        assert_eq!(unpack(&tar[..], &index, None).expect("the same"), 3);
        let into = tempfile::tempdir().expect("a folder");
        assert_eq!(unpack(&tar[..], &index, Some(into.path())).expect("the same"), 3);
        assert_eq!(fs::read_to_string(into.path().join("media/2026/11/a b.jpg")).expect("there"), "picture");
        assert!(
            !into.path().join(".wplab-seeded").exists() && fs::symlink_metadata(into.path().join("db.php")).is_err()
        );
    }

    #[test]
    fn a_file_that_is_another_one_or_is_missing_is_named() {
        let site = site();
        let (tar, mut index) = packed(site.path());
        index.get_mut("index.php").expect("there").sha256 = "00".to_owned();
        let error = unpack(&tar[..], &index, None).expect_err("another one").to_string();
        assert!(error.starts_with("index.php: not what"), "{error}");
        index.insert("uploads/gone.jpg".to_owned(), index["index.php"].clone());
        let error = unpack(&tar[..], &index, None).expect_err("two").to_string();
        assert!(error.starts_with("index.php, and 1 more"), "{error}");
        index.retain(|path, _| path != "uploads/gone.jpg");
        index.get_mut("index.php").expect("there").changing = true;
        assert_eq!(unpack(&tar[..], &index, None).expect("nobody knows what it was"), 3);
    }

    #[test]
    fn a_file_that_becomes_shorter_while_it_is_read_does_not_break_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, "0123456789").expect("written");
        let mut file = File::open(&path).expect("opened");
        fs::write(&path, "01").expect("written");
        let mut through = Exactly { left: 10, hash: Sha256::new(), inner: &mut file, short: false };
        let mut read = Vec::new();
        through.read_to_end(&mut read).expect("read");
        assert_eq!(read, b"01\0\0\0\0\0\0\0\0");
        assert!(through.short);
    }
}

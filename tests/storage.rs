//! The shared folder of a lab as its replicas see it: the package-built NFS server with the rights, the configuration and the
//! command of the lab, mounted by `mount-nfs` on a node; without a cluster. `MOUNT_NFS=FILE` takes another, static
//! `mount-nfs` than that of the node's image, so that no image has to be built to try one.

#![expect(clippy::print_stdout, reason = "what a suite found is told, whether it is as expected or not")]

#[path = "support/nfs.rs"]
mod nfs;
#[path = "support/ready.rs"]
mod ready;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nfs::{MOUNT, Manifest, Stand, text};

/// The POSIX suite, from crates.io; compiled once into the cache of the user.
const SUITE: (&str, &str) = ("pjdfstest", "0.2.2");

/// What the suite is told. Its two users are in every Debian. It may not remount: only one of both file systems is ours.
const SETTINGS: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["www-data", "www-data"]]
"#;

/// How long the suite may take on one file system; it takes seconds.
const SUITE_LIMIT: Duration = Duration::from_secs(180);

/// What of a node and a server, and between two nodes, `mount-nfs` has to get right: `test.sh` beside it.
#[test]
#[ignore = "needs Docker"]
fn nodes_see_what_others_do_and_survive_the_servers_death() {
    let images = ready::images(&["nfs", "node"]);
    let manifest = Manifest::read();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("ganesha.conf");
    std::fs::write(&config, &manifest.config).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/images/node-tools/mount-nfs/test.sh");
    let status = Command::new("bash")
        .arg(script)
        .args(&images)
        .env("SERVER_CONFIG", config)
        .env("SERVER_COMMAND", &manifest.command)
        .env("SERVER_CAPABILITIES", manifest.capabilities.join(" "))
        .status();
    assert!(status.expect("bash starts").success(), "see the lines that begin with FAILED");
}

/// What fails is what `storage/explained.txt` explains: nothing else, and nothing less.
#[test]
#[ignore = "needs Docker"]
fn posix_holds_but_for_what_is_explained() {
    let images = ready::images(&["nfs", "node"]);
    let (suite, manifest, explained) = (suite(), Manifest::read(), explained());
    let devices: BTreeSet<&str> =
        explained.iter().filter(|(_, why)| why.contains("CAP_MKNOD")).map(|(case, _)| case.as_str()).collect();
    let all: BTreeSet<&str> = explained.keys().map(String::as_str).collect();
    {
        let stand = Stand::start(&images, &manifest, &[]);
        let disk = Run::of(&stand, &suite, "/disk");
        let run = Run::of(&stand, &suite, MOUNT);
        // What a disk of this machine fails says nothing about the export.
        run.fails(&all, &disk.failed());
    }
    // The proof of an explanation: with the right that the server lacks, just what it does not explain is left.
    let stand = Stand::start(&images, &manifest, &["MKNOD"]);
    Run::of(&stand, &suite, MOUNT).fails(&all.difference(&devices).copied().collect(), &BTreeSet::new());
}

/// What the suite said of each case.
struct Run(BTreeMap<String, Said>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Passed,
    Failed,
    Skipped,
}

impl Run {
    fn of(stand: &Stand, suite: &Path, folder: &str) -> Run {
        stand.copy(suite, "/usr/local/bin/pjdfstest");
        let run = format!("cat > /suite.toml && exec pjdfstest -c /suite.toml -p {folder} -s /second");
        let output = stand.on_node(&["sh", "-c", &run], SUITE_LIMIT, SETTINGS);
        let told = text(&output.stdout);
        let run = Run(told.lines().filter_map(parsed).collect());
        let count = |wanted| run.0.values().filter(|&&said| said == wanted).count();
        let (passed, failed, skipped) = (count(Said::Passed), count(Said::Failed), count(Said::Skipped));
        println!("{folder}: {passed} cases pass, {failed} fail, {skipped} are skipped");
        let summary = format!("{failed} failed, {skipped} skipped, {passed} passed,");
        assert!(told.contains(&summary), "it did not come to its end: {told}\n{}", text(&output.stderr));
        assert!(passed > 300, "hardly anything was looked at: {told}");
        run
    }

    fn failed(&self) -> BTreeSet<&str> {
        self.0.iter().filter(|(_, said)| **said == Said::Failed).map(|(case, _)| case.as_str()).collect()
    }

    #[track_caller]
    fn fails(&self, wanted: &BTreeSet<&str>, forgiven: &BTreeSet<&str>) {
        let failed = self.failed();
        let new: Vec<_> = failed.difference(wanted).filter(|case| !forgiven.contains(*case)).collect();
        assert!(new.is_empty(), "these fail, and storage/explained.txt does not say why: {new:#?}");
        let healed: Vec<_> = wanted.difference(&failed).map(|case| (case, self.0.get(*case))).collect();
        assert!(healed.is_empty(), "these are explained, and do not fail: {healed:#?}");
    }
}

/// `CASE … ok`, `FAILED` or `skipped`.
fn parsed(line: &str) -> Option<(String, Said)> {
    let mut words = line.split_whitespace();
    let (case, said, None) = (words.next()?, words.next()?, words.next()) else { return None };
    let said = match said {
        "ok" => Said::Passed,
        "FAILED" => Said::Failed,
        "skipped" => Said::Skipped,
        _ => return None,
    };
    (case.contains("::") && !line.starts_with(char::is_whitespace)).then(|| (case.to_owned(), said))
}

/// Why which case fails.
fn explained() -> BTreeMap<String, String> {
    let lines = include_str!("storage/explained.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (case, why) = line.split_once(": ").unwrap_or_else(|| panic!("{line} does not say why"));
            assert!(why.len() > 20 && why.ends_with('.'), "{line} is no sentence");
            (case.to_owned(), why.to_owned())
        })
        .collect()
}

/// The suite's executable: static, so that it runs in any image.
fn suite() -> PathBuf {
    let (name, version) = SUITE;
    let root = nfs::cache().join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        // Not from within the checkout, whose settings are not for strangers; cargo itself keeps others waiting meanwhile.
        std::fs::create_dir_all(&root).expect("a cache");
        let installed = Command::new(env!("CARGO"))
            .args(["install", "--locked", "--target", "host-tuple", name, "--version", version, "--root"])
            .arg(&root)
            .current_dir(&root)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env_remove("CARGO_TARGET_DIR")
            .status();
        assert!(installed.expect("cargo starts").success(), "{name} {version} cannot be installed");
    }
    program
}

#[test]
fn every_explanation_is_a_sentence_about_a_case() {
    let explained = explained();
    assert!(!explained.is_empty() && explained.keys().all(|case| case.contains("::")), "{explained:#?}");
}

#[test]
fn verdicts_are_read_and_what_is_told_beside_them_is_not() {
    let read = |line| parsed(line).map(|(case, said)| (case == "unlink::remove_type::block", said));
    assert_eq!(read("unlink::remove_type::block          FAILED"), Some((true, Said::Failed)));
    assert_eq!(read("unlink::remove_type::block  ok"), Some((true, Said::Passed)));
    assert_eq!(read("unlink::remove_type::block  skipped"), Some((true, Said::Skipped)));
    assert_eq!(read("\tunlink::remove_type::block ok"), None);
    assert_eq!(read("\tcalled `Result::unwrap()` on an `Err` value: EPERM"), None);
    assert_eq!(read("Summary: 1 failed"), None);
}

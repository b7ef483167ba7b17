//! The arms of `just bench-up`: what each does before the clock runs, what is timed, and whether this version of the tool has it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::observer::Sought;

/// The lab of every arm; one at a time stands.
pub(crate) const LAB: &str = "wplab-bench";
/// Where its site answers; not the default, so that a lab that somebody uses is left alone.
pub(crate) const PORT: u16 = 8790;
/// Of the default lab.
pub(crate) const WORKERS: u8 = 3;
/// The snapshot that a lab comes back from; nobody else calls one so.
const SNAPSHOT: &str = "bench-pristine";

/// One way to a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    Strict,
    Good,
    Streamed,
    Up,
    Golden,
    Sequential,
    StopStart,
    PauseResume,
    Snapshot,
}

pub(crate) const ALL: [Arm; 9] = [
    Arm::Strict,
    Arm::Good,
    Arm::Streamed,
    Arm::Up,
    Arm::Golden,
    Arm::Sequential,
    Arm::StopStart,
    Arm::PauseResume,
    Arm::Snapshot,
];

impl Arm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Arm::Strict => "strict",
            Arm::Good => "good",
            Arm::Streamed => "streamed",
            Arm::Up => "up",
            Arm::Golden => "golden",
            Arm::Sequential => "sequential",
            Arm::StopStart => "stop-start",
            Arm::PauseResume => "pause-resume",
            Arm::Snapshot => "snapshot",
        }
    }

    /// The arms that are named, with commas between; every arm when none is.
    pub(crate) fn named(list: &str) -> Vec<Arm> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let arm =
            |name| *ALL.iter().find(|arm| arm.name() == name).unwrap_or_else(|| panic!("there is no arm {name:?}"));
        let named: Vec<Arm> = names.map(arm).collect();
        if named.is_empty() { ALL.to_vec() } else { named }
    }

    /// Why it cannot be measured.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let lacks = |args: &[&str], why| (!understands(args)).then_some(why);
        match self {
            Arm::Strict | Arm::Good => None,
            Arm::Streamed => lacks(&["up", "--stream"], "the tool has no `up --stream`"),
            Arm::Up => lacks(&["images", "prune"], "the tool has no `images prune`"),
            Arm::Golden => lacks(&["images", "warm"], "the tool has no `images warm`"),
            Arm::Sequential => lacks(&["up", "--sequential"], "the tool has no `up --sequential`"),
            Arm::StopStart => lacks(&["start"], "the tool has no `start`"),
            Arm::PauseResume => lacks(&["resume"], "the tool has no `resume`"),
            Arm::Snapshot => lacks(&["snapshot", "restore"], "the tool has no `snapshot`"),
        }
    }

    /// Whether it is a script and not the tool.
    pub(crate) fn is_script(self) -> bool {
        matches!(self, Arm::Strict | Arm::Good)
    }

    /// Whether it begins with a lab that stands.
    pub(crate) fn again(self) -> bool {
        matches!(self, Arm::StopStart | Arm::PauseResume | Arm::Snapshot)
    }

    /// Whether a lab runs when the clock begins.
    pub(crate) fn stands(self) -> bool {
        self == Arm::Snapshot
    }

    /// What must have been done before the clock runs, beside a lab that stands or does not.
    pub(crate) fn before(self) -> Option<Command> {
        match self {
            Arm::Up => Some(tool(&["images", "prune", "--all"])),
            Arm::Golden | Arm::Sequential => Some(tool(&["images", "warm"])),
            Arm::StopStart => Some(tool(&["stop", LAB])),
            Arm::PauseResume => Some(tool(&["pause", LAB])),
            Arm::Snapshot => Some(tool(&["snapshot", "save", SNAPSHOT, "--lab", LAB])),
            Arm::Strict | Arm::Good | Arm::Streamed => None,
        }
    }

    /// What takes away again what [`Arm::before`] has made and `down` leaves; also what a benchmark that was ended has left.
    pub(crate) fn after(self) -> Option<Command> {
        (self == Arm::Snapshot).then(|| tool(&["snapshot", "delete", SNAPSHOT]))
    }

    /// What is timed.
    pub(crate) fn timed(self, scripts: &Scripts) -> Command {
        match self {
            Arm::Strict => scripts.command("up-strict.sh"),
            Arm::Good => scripts.command("up-good.sh"),
            Arm::Streamed => up(&["--stream"]),
            Arm::Up | Arm::Golden => up(&[]),
            Arm::Sequential => up(&["--sequential"]),
            Arm::StopStart => tool(&["start", LAB]),
            Arm::PauseResume => tool(&["resume", LAB]),
            Arm::Snapshot => tool(&["snapshot", "restore", SNAPSHOT]),
        }
    }

    /// What an observer looks for. None where a lab stands that is replaced: it would be taken for the one that comes.
    pub(crate) fn sought(self, scripts: &Scripts) -> Option<Sought> {
        (!self.stands()).then(|| Sought {
            cluster: LAB.to_owned(),
            workers: WORKERS.into(),
            members: 3,
            database: if self.is_script() { "mysql-" } else { "db-" },
            port: PORT,
            title: "wplab".to_owned(),
            images: scripts.repositories(),
            again: self.again(),
        })
    }
}

/// `up` of the lab.
pub(crate) fn up(more: &[&str]) -> Command {
    let mut command = tool(&["up", LAB, "--port", &PORT.to_string()]);
    command.args(more);
    command
}

pub(crate) fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
    command.args(args).env("NO_COLOR", "1");
    command
}

/// Whether the tool knows these arguments; it is not asked to act on them.
fn understands(args: &[&str]) -> bool {
    let mut command = tool(args);
    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The baseline scripts with what they need: the tool's images under the names that the engine has, kind, and kubectl.
pub(crate) struct Scripts {
    images: Vec<(&'static str, String)>,
    path: String,
    programs: tempfile::TempDir,
}

impl Scripts {
    /// Finds the images, and takes kubectl out of the node image, so that it is as old as the cluster.
    pub(crate) fn new() -> Scripts {
        let roles = [
            ("NODE_IMAGE", "node"),
            ("NFS_IMAGE", "nfs"),
            ("MYSQL_IMAGE", "mysql"),
            ("WORDPRESS_IMAGE", "wordpress"),
            ("METRICS_IMAGE", "metrics-server"),
        ];
        let list = tool(&["images", "list", "-o", "json"]).output().expect("the tool runs");
        let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
        let images: Vec<_> = roles.map(|(variable, role)| (variable, reference(&list, role))).into();
        let programs = tempfile::tempdir().expect("a folder");
        let script = r#"set -e; id=$(docker create "$1"); trap 'docker rm "$id" >/dev/null' EXIT; docker cp -L "$id:/usr/bin/kubectl" "$2/kubectl" >/dev/null"#;
        let taken = Command::new("bash").args(["-c", script, "bash", &images[0].1]).arg(programs.path()).status();
        assert!(taken.is_ok_and(|status| status.success()), "the node image has no /usr/bin/kubectl");
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache"))).expect("a home");
        let (own, path) = (cache.join("wplab/bin"), std::env::var("PATH").unwrap_or_default());
        let path = format!("{}:{path}:{}", programs.path().display(), own.display());
        Scripts { images, path, programs }
    }

    /// A script below `lab/baseline/`.
    pub(crate) fn command(&self, script: &str) -> Command {
        self.at(&Path::new("lab/baseline").join(script))
    }

    /// A script of the project, with the images, the name and the port in its environment.
    pub(crate) fn at(&self, script: &Path) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
        command.env("PATH", &self.path).env("NAME", LAB).env("PORT", PORT.to_string()).env_remove("KUBECONFIG");
        command.env("KUBECONFIG", self.programs.path().join("kubeconfig"));
        command.envs(self.images.iter().map(|(variable, image)| (variable, image)));
        command
    }

    /// What the names of the images that nodes must have begin with, whatever the tag.
    pub(crate) fn repositories(&self) -> Vec<String> {
        let loaded = self.images.iter().filter(|(variable, _)| *variable != "NODE_IMAGE");
        loaded.map(|(_, image)| repository(image).to_owned()).collect()
    }

    /// Image by image, for the report.
    pub(crate) fn images(&self) -> String {
        self.images.iter().map(|(_, image)| format!("`{image}`")).collect::<Vec<_>>().join(", ")
    }
}

/// The name without digest and tag.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(image, |(name, _)| name)
}

fn reference(list: &Value, role: &str) -> String {
    let image =
        list.as_array().into_iter().flatten().find(|image| image["role"] == role).expect("the catalogue has it");
    let present = &image["present"];
    assert!(present.is_object(), "Docker lacks the image {role}: `wplab images get {role}`");
    let packages = present["origin"].get("packages").is_some();
    image[if packages { "built-tag" } else { "public" }].as_str().expect("a reference").to_owned()
}

#[test]
fn arms_have_names_and_unknown_ones_are_refused() {
    assert_eq!(Arm::named("up, strict"), [Arm::Up, Arm::Strict]);
    assert_eq!(Arm::named(""), ALL);
    assert!(std::panic::catch_unwind(|| Arm::named("upp")).is_err());
}

#[test]
fn a_repository_has_neither_tag_nor_digest() {
    for (image, name) in [
        ("wplab/mysql:0123", "wplab/mysql"),
        ("registry.example:5000/a/b@sha256:00", "registry.example:5000/a/b"),
        ("mysql", "mysql"),
    ] {
        assert_eq!(repository(image), name);
    }
}

#[test]
fn what_the_tool_lacks_is_known() {
    assert!(understands(&["up"]) && !understands(&["up", "--no-such-flag"]) && !understands(&["no-such-command"]));
}

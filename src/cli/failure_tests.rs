use std::{any::type_name, collections::BTreeSet, fmt::Write, fs, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use wplab::{
    actions::{
        backup::CameToNothing,
        chaos::CannotRun,
        logs::NoSuchPart,
        recover::Unasked,
        snapshot::{NoSuchSnapshot, SnapshotExists, restore::InTheWay},
        standing::{Impossible, NoSuchLab, Paused, Stopped},
        up::{OtherClass, OtherData, OtherMembers, SmallerVolume},
    },
    cluster::{
        NotComplete, OtherVersion,
        apply::{Elsewhere, Foreign, Unchangeable},
    },
    host::{
        docker::{EngineGone, NoEngine},
        machine::{Cure, Finding, Level, Missing, doctor::Gone},
        nodes::{Damaged, Differs, KindFailed, Meaning, NotOurs},
        ports::PortsTaken,
        process::CommandFailed,
    },
    parts::{
        database::{Alone, NotTaken, TakenBack, Undecided},
        discovery::EtcdSilent,
        images::{
            ContractBroken, DiskFull, NoBase, NoImage, NoRecipe, NoSuchImage, NotABundle, NotKept, PullError,
            PullErrorKind, Pulling, Role,
        },
        store::{NAME, Taken},
    },
    spec::{
        ImageSource, LabName, SnapshotName,
        destination::Destination,
        load::{Problem, SpecError},
    },
    wire::{backup::Unusable, dump::Refused},
};

use super::*;
use crate::cli::{args::Wanted, chaos::WrongScenarios};

fn demo() -> LabName {
    LabName::new("demo").expect("a name")
}

fn kept() -> SnapshotName {
    SnapshotName::new("kept").expect("a name")
}

/// `wplab up demo -f lab.yaml --images auto`, as far as it matters here.
fn up() -> Asked {
    let wanted = Wanted::of("-f lab.yaml --images auto");
    Asked::Up { wanted, lab: demo() }
}

fn through_a_step(error: impl Into<Error>) -> Error {
    Result::<()>::Err(error.into()).context("looking at it").context("step preflight failed").expect_err("an error")
}

/// An error of each kind, with the name of its type; of one that can mean several things, one for each.
fn every_error() -> Vec<(&'static str, Trouble)> {
    fn of<E: Advise>(error: E) -> (&'static str, Trouble) {
        (type_name::<E>().rsplit("::").next().unwrap_or_default(), error.into())
    }
    let lab = demo;
    let text = str::to_owned;
    let problem = || Problem { path: text("nam"), place: None, what: text("this is no field"), cure: text("use name") };
    let spec = || SpecError { file: text("lab.yaml"), problems: vec![problem()] };
    let cure = |by, fixable| Some(Cure { by, fixable });
    let found =
        |title: &str, cure| Finding { id: "x", title: text(title), level: Level::Blocking, detail: text("why"), cure };
    let mut all = vec![
        of(spec()),
        of(Misused(text("--a does not go with --b"))),
        of(NoSuchLab { name: lab(), others: vec![text("other")] }),
        of(Stopped { lab: lab() }),
        of(Paused { lab: lab() }),
        of(NotComplete { lab: lab(), lacks: text("it has no kubeconfig") }),
        of(OtherVersion { lab: lab(), wrong: spec() }),
        of(NoSuchPart { lab: lab(), of: text("cache"), known: vec![text("database")] }),
        of(Unasked {
            lab: lab(),
            member: text("db-0"),
            silent: vec![(text("db-2"), text("its supervisor, on node demo-worker, does not answer"))],
            dead: vec![text("db-1")],
        }),
        of(EtcdSilent { lab: lab() }),
        of(Impossible { lab: lab(), why: text("db-2 is 30 s behind db-0"), hints: Vec::new() }),
        of(Impossible {
            lab: lab(),
            why: text(
                "what the lab needs is on a worker that would leave: the data of db-2 (volume data-db-2) on demo-worker3",
            ),
            hints: vec![
                Hint::Scale { lab: lab(), what: "db", to: text("2") },
                Hint::Replace { lab: lab(), member: text("db-2"), node: text("demo-worker3") },
            ],
        }),
        of(NoSuchSnapshot { name: kept(), others: vec![text("lesson")] }),
        of(SnapshotExists { name: kept(), of: lab() }),
        of(CannotRun { lab: lab(), why: vec![(text("clock-jump"), text("there is one clock"))] }),
        of(WrongScenarios(vec![spec()])),
        of(InTheWay { lab: lab(), snapshot: kept() }),
        of(OtherMembers { lab: lab(), has: 5, wanted: 3 }),
        of(SmallerVolume { lab: lab(), has: text("2Gi"), wanted: text("1Gi") }),
        of(OtherClass { lab: lab(), has: text("default"), wanted: text("fast") }),
        of(Alone { lab: lab() }),
        of(TakenBack {
            lab: lab(),
            member: text("db-2"),
            said: text("unknown variable 'no_such_option=1'"),
            changes: vec![text("settings.no_such_option the server's own → 1")],
            well: true,
            stands: None,
        }),
        of(OtherData { lab: lab(), what: "topology", has: "replication", wanted: "galera" }),
        of(NotOurs { lab: lab(), containers: vec![text("demo-control-plane")] }),
        of(Differs { lab: lab(), workers: 3, wanted: 2 }),
        of(Damaged { lab: lab(), how: text("its control plane does not run") }),
        of(Elsewhere {
            lab: lab(),
            object: text("Database/db"),
            others: vec![(text("spec.settings.max_connections"), text("kubectl-edit"))],
        }),
        of(NotTaken { lab: lab(), why: text("database.resources.memory: 7Mi is out of range") }),
        of(Foreign { object: text("Service/db"), owner: None }),
        of(Foreign { object: text("Service/db"), owner: Some(text("other")) }),
        of(Unchangeable { lab: lab(), object: text("StatefulSet/db") }),
        of(Undecided {
            lab: lab(),
            what: text("db-1: db-2 lost its data"),
            start_from: vec![text("db-0"), text("db-1")],
        }),
        of(Undecided { lab: lab(), what: text("db-0 and db-1 are open for writes"), start_from: Vec::new() }),
        of(Missing {
            findings: vec![
                found("There is no kind", cure(Hint::words("go install kind"), true)),
                found(
                    "The kernel cannot mount NFS",
                    cure(Hint::Images { lab: Some(lab()), source: ImageSource::Packages }, false),
                ),
            ],
        }),
        of(NoEngine { tried: vec![(text("unix:///x"), text("there is no such socket"))] }),
        of(EngineGone { host: text("unix:///x"), why: text("no answer in time") }),
        of(Gone("kind")),
        of(Taken { container: text(NAME) }),
        of(PortsTaken { first: 8080, last: 8180 }),
        of(CommandFailed { command: text("false"), code: Some(1), said: String::new() }),
        of(DiskFull { said: text("no space left on device") }),
        of(NoBase { name: text("debian-trixie") }),
        of(NoImage { role: Role::Nfs }),
        of(NoSuchImage { image: text("mysql:9.7") }),
        of(NotABundle { path: "x.tar".into(), why: text("it does not begin with our index") }),
        of(NotKept { role: Role::Mysql, public: text("mysql:9.7") }),
        of(ContractBroken { role: Role::Mysql, image: text("mysql:1"), lines: vec![(text("version"), text("1"))] }),
    ];
    all.extend(
        [Pulling::NotAsked, Pulling::Silent, Pulling::Failed]
            .map(|pulling| of(NoRecipe { role: Role::Percona, public: text("percona:8"), pulling })),
    );
    all.extend(Meaning::ALL.map(Some).into_iter().chain([None]).map(|means| of(KindFailed { lab: lab(), means })));
    let kinds = [
        PullErrorKind::NotFound,
        PullErrorKind::LoginNeeded,
        PullErrorKind::TooMany(Some(Duration::from_secs(7))),
        PullErrorKind::TooMany(None),
        PullErrorKind::Unreachable(text("no such host")),
        PullErrorKind::DigestMismatch(text("sha256:0")),
        PullErrorKind::Broken(text("EOF")),
        PullErrorKind::Other(text("what nobody knows")),
    ];
    all.extend(kinds.map(|kind| of(PullError { image: text("docker.io/library/x:1"), kind })));
    let destination = || Destination::Gs { bucket: text("shop"), folder: text("labs") };
    let id = || text("20261130T113000Z-4f2a");
    let missing = |others| Unusable::Missing { lab: text("demo"), id: id(), others };
    all.extend([
        of(Unusable::NoCredentials { destination: destination(), missing: vec!["GOOGLE_SERVICE_ACCOUNT_KEY"] }),
        of(Unusable::NotLetIn { destination: destination(), why: text("the signature does not match") }),
        of(Unusable::NoDestination { destination: destination(), why: text("the bucket does not exist") }),
        of(missing(Vec::new())),
        of(missing(vec![text("20261129T113000Z-0001")])),
        of(Unusable::Damaged { id: id(), how: text("database.00001 is missing") }),
        of(Unusable::Newer { id: id(), format: 7 }),
        of(Unusable::Locked { id: id(), tried: false }),
        of(Unusable::Locked { id: id(), tried: true }),
        of(CameToNothing { lab: lab(), what: "the restore", why: text("the site does not answer with it") }),
        of(Impossible {
            lab: lab(),
            why: text("it has what a backup would replace"),
            hints: vec![Hint::Restore { lab: lab(), from: text("shop/latest") }],
        }),
        of(Refused::Undumpable { database: text("wordpress"), why: vec![text("table a is kept by MyISAM")] }),
        of(Refused::Changed { what: text("wp_posts") }),
        of(Refused::NoDump { how: text("it has no end") }),
        of(Refused::Unfit { why: vec![text("table a is kept by Aria")] }),
        of(Refused::Statement { number: 7, about: text("rows of `wp_posts`"), code: 1062, said: None }),
    ]);
    all
}

/// Everything that a source declares after these words, by name: `impl Advise for X` is `X`.
fn declared(folder: &Path, before: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("src can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            declared(&path, before, names);
        } else if !path.ends_with("failure_tests.rs") {
            let text = fs::read_to_string(&path).expect("a source can be read");
            let found = text.lines().filter_map(|line| line.strip_prefix(before));
            names.extend(found.map(|rest| rest.trim_end_matches([' ', '{']).to_owned()));
        }
    }
}

fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// The commands between backquotes in a text, word by word.
fn commands(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.split('`').skip(1).step_by(2).map(|command| command.split(' ').collect::<Vec<_>>()).filter(|c| c[0] == "wplab")
}

#[test]
fn no_error_is_forgotten_here() {
    let mut names = BTreeSet::new();
    declared(sources(), "impl Advise for ", &mut names);
    let here: BTreeSet<String> = every_error().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() > 20, "{names:?}");
    assert_eq!(here, names, "left: the errors of this test; right: the errors in src");
}

/// A golden file, so that one sees what users are told: the code, the sentence, and what can be done.
#[test]
fn every_error_is_told_with_its_code_and_what_can_be_done() {
    let mut text = String::new();
    for (name, trouble) in every_error() {
        let (blame, hints) = (trouble.blame(), trouble.hints());
        let sentence = trouble.to_string();
        assert_eq!(commands(&sentence).next(), None, "{name}: the library spells a command");
        let told = tell(&through_a_step(trouble), &Asked::Other);
        let code = match blame {
            Blame::User => Ending::Usage,
            Blame::Machine => Ending::Missing,
            Blame::Step => Ending::StepFailed,
        };
        assert_eq!(told.ending, code, "{name}");
        // What is to be done stands in the sentence, or nothing can be done, or what led to it says what.
        let silent = matches!(name, "SpecError" | "WrongScenarios" | "Misused")
            || sentence.contains("what nobody knows")
            || sentence.contains("only as percona:8");
        assert!(!hints.is_empty() || silent, "{name} says nothing of what can be done");
        assert!(hints.iter().filter_map(Hint::lab).all(|lab| *lab == demo()), "{name}: {hints:?}");
        let _ = writeln!(text, "{name} {:?}\n  {}", told.ending, [vec![told.error], told.causes].concat().join("\n  "));
        for hint in told.hints {
            let of_a_lab = ["up", "down", "status", "logs", "smoke", "recover", "resume", "start"];
            for command in commands(&hint).filter(|command| of_a_lab.contains(&command[1])) {
                assert!(matches!(command.get(2), Some(&("demo" | "NAME"))), "{name} names another lab: {hint}");
            }
            let _ = writeln!(text, "  hint: {hint}");
        }
    }
    let golden = sources().join("../tests/golden/cli/errors.txt");
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
        fs::write(&golden, &text).expect("written");
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap_or_default(), "GOLDEN=update writes it anew");
}

#[test]
fn every_hint_is_spelled_for_its_lab_and_as_it_was_asked_for() {
    let lab = demo;
    let hints = [
        (Hint::Up { lab: lab() }, "`wplab up -f lab.yaml --images auto` brings it up"),
        (
            Hint::Keep { lab: lab(), setting: "topology", has: "galera".into() },
            "`wplab up -f lab.yaml --images auto --topology galera` goes",
        ),
        (Hint::Images { lab: None, source: ImageSource::Packages }, "`wplab up -f lab.yaml --images packages` takes"),
        (
            Hint::Images { lab: Some(lab()), source: ImageSource::Registry },
            "`wplab up -f lab.yaml --images registry` takes",
        ),
        (Hint::Mirror, "`--registry-mirror HOST`"),
        (Hint::Resume { lab: lab() }, "`wplab resume demo` goes on"),
        (Hint::Start { lab: lab() }, "`wplab start demo` brings it back"),
        (Hint::Down { lab: lab() }, "`wplab down demo` removes it"),
        (Hint::Anew { lab: lab() }, "`wplab down demo`, then `wplab up -f lab.yaml --images auto`, make it anew"),
        (Hint::Recover { lab: lab(), member: "db-1".into() }, "`wplab recover demo --bootstrap db-1` starts"),
        (
            Hint::RecoverWithout { lab: lab(), member: "db-1".into(), dead: vec!["db-0".into(), "db-2".into()] },
            "`wplab recover demo --bootstrap db-1 --dead db-0 --dead db-2`, once",
        ),
        (Hint::RepairEtcd { lab: lab() }, "`wplab repair etcd demo` rebuilds"),
        (Hint::Failover { lab: lab() }, "`wplab failover demo` lets"),
        (
            Hint::Replace { lab: lab(), member: "db-2".into(), node: "demo-worker3".into() },
            "`kubectl --kubeconfig \"$(wplab kubeconfig demo)\" cordon demo-worker3`, then `wplab replace db-2 demo`, make",
        ),
        (Hint::Scale { lab: lab(), what: "workers", to: "4".into() }, "`wplab scale workers 4 demo` changes"),
        (
            Hint::Restore { lab: lab(), from: "shop/latest".into() },
            "`wplab backup restore shop/latest --lab demo` puts",
        ),
        (Hint::Status { lab: lab() }, "`wplab status demo` shows"),
        (Hint::Logs { lab: lab(), of: Some("storage") }, "`wplab logs demo --of storage` shows"),
        (Hint::Smoke { lab: lab() }, "`wplab smoke demo` looks"),
        (Hint::Scenarios { lab: lab() }, "`wplab chaos list --lab demo` shows"),
        (Hint::TakeOver { lab: lab() }, "`wplab up demo -f lab.yaml --images auto --take-over` gives"),
        (Hint::List, "`wplab list` shows"),
        (Hint::Snapshots, "`wplab snapshot list` shows"),
        (Hint::DeleteSnapshot { name: kept() }, "`wplab snapshot delete kept` removes it"),
        (Hint::OtherName, "`wplab up NAME -f lab.yaml --images auto` brings up"),
        (Hint::Doctor, "`wplab doctor` shows"),
        (Hint::Fix, "`wplab up -f lab.yaml --images auto --fix` installs"),
        (
            Hint::Cure { of: "No x".into(), by: Box::new(Hint::words("make x")), fixable: true },
            "No x: make x, or let --fix",
        ),
        (Hint::GetImage { role: "nfs" }, "`wplab images get nfs`"),
        (Hint::CheckImage { role: "nfs" }, "`wplab images check nfs`"),
        (Hint::SaveBundle, "`wplab images save FILE.tar`"),
        (Hint::Paste, "the command between"),
        (Hint::words("as it stands"), "as it stands"),
    ];
    for (hint, begins) in &hints {
        let told = spell::hint(hint, &up());
        assert!(told.starts_with(begins), "{hint:?}: {told}");
    }
    let name = |hint: &Hint| format!("{hint:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
    let here: BTreeSet<String> = hints.iter().map(|(hint, _)| name(hint)).collect();
    let source = fs::read_to_string(sources().join("run/advice.rs")).expect("a source");
    let declared =
        source.split("pub enum Hint {\n").nth(1).and_then(|rest| rest.split("\n}\n").next()).expect("the enum");
    let variants = declared
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(char::is_uppercase));
    let variants: BTreeSet<String> = variants.map(|line| line.trim_end_matches([' ', '{', ',']).to_owned()).collect();
    assert_eq!(here, variants, "left: the hints of this test; right: those that there are");
}

#[test]
fn of_another_lab_a_hint_is_spelled_by_its_name() {
    let other = LabName::new("other").expect("a name");
    let told = |hint| spell::hint(&hint, &up());
    assert!(told(Hint::Up { lab: other.clone() }).starts_with("`wplab up other` brings"));
    let keep = Hint::Keep { lab: other, setting: "flavour", has: "mariadb".into() };
    assert!(told(keep).starts_with("`wplab up other --flavour mariadb` goes on"));
    assert!(told(Hint::Up { lab: LabName::default() }).starts_with("`wplab up` brings"));
    let packages = |lab| Hint::Images { lab, source: ImageSource::Packages };
    assert!(spell::hint(&packages(Some(demo())), &Asked::Other).starts_with("`wplab up demo --images packages` takes"));
    assert!(spell::in_passing(&packages(Some(demo()))).starts_with("`--images packages` takes"));
}

#[test]
fn whoever_can_do_something_decides_however_deep_it_lies() {
    let gone = || Trouble::from(Gone("kind"));
    let kind = Trouble::from(KindFailed { lab: demo(), means: None }).because(through_a_step(gone()));
    let told = tell(&through_a_step(kind), &up());
    assert_eq!((told.ending, told.error), (Ending::Missing, gone().to_string()));
    assert_eq!(told.hints, ["`wplab doctor` shows what this machine has and lacks"]);
    let timed_out = TimedOut { what: "x".into(), after: Duration::from_secs(1), last: "cold".into() };
    assert_eq!(tell(&through_a_step(timed_out), &up()).ending, Ending::StepFailed);
    let interrupted = tell(&through_a_step(Interrupted("Ctrl-C")), &up());
    assert_eq!((interrupted.ending, interrupted.error.as_str()), (Ending::Interrupted, "interrupted by Ctrl-C"));
    assert!(interrupted.hints[0].starts_with("what is there is kept"), "{interrupted:?}");
}

#[test]
fn what_led_to_an_error_is_told_with_it_and_its_hints_too() {
    let failed = Trouble::from(CommandFailed { command: "kind".into(), code: Some(1), said: "no".into() });
    let kind = Trouble::from(KindFailed { lab: demo(), means: Some(Meaning::PortTaken) }).because(failed);
    let told = tell(&through_a_step(kind), &Asked::Other);
    assert_eq!(told.error, "step preflight failed");
    assert!(told.causes[2].starts_with("`kind` ended with status 1"), "{told:?}");
    assert_eq!(told.hints.len(), 2, "{told:?}");
}

#[test]
fn the_chain_is_told_from_the_outside_in_and_ends_in_what_to_type() {
    let told = tell(&through_a_step(anyhow!("db-1 is not ready")), &up());
    assert_eq!((told.ending, told.error.as_str()), (Ending::StepFailed, "step preflight failed"));
    assert_eq!(told.causes, ["looking at it", "db-1 is not ready"]);
    let kept = "what is there is kept: `wplab up -f lab.yaml --images auto` continues, `wplab down demo` removes it";
    assert_eq!(told.hints, [kept]);
    // Who says what to do with the lab is not contradicted.
    let damaged = Trouble::from(Damaged { lab: demo(), how: "it has no control plane".into() });
    assert!(!tell(&through_a_step(damaged), &up()).hints.join(" ").contains("continues"));
}

#[test]
fn what_a_context_repeats_is_told_once() {
    let told = tell(&anyhow!("disk full").context("cannot write: disk full"), &Asked::Other);
    assert_eq!((told.error.as_str(), told.causes.len()), ("cannot write: disk full", 0));
}

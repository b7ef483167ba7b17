//! Lab files: what is read, and what every wrong one is told. The wrong ones are `tests/golden/spec/*.yaml`, each beside
//! the text that a user sees.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::{golden, golden_path};
use wplab::spec::{
    Flavour, ImageSource, LabName, LabSpec, Topology,
    load::{DEFAULT, GALERA, Overrides, Source, load, parse},
    scenario,
};

fn lab(text: &str) -> LabSpec {
    parse("lab.yaml", Path::new(""), text, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_file_for_people_says_the_same_as_the_defaults_in_the_code() {
    assert_eq!(lab(DEFAULT), LabSpec::default());
    assert_eq!(load(&Source::Defaults, &Overrides::default()), Ok(LabSpec::default()));
}

#[test]
fn the_galera_file_for_people_says_the_same_as_the_flag() {
    let overrides = Overrides { topology: Some(Topology::Galera), ..Overrides::default() };
    let galera = load(&Source::Defaults, &overrides).expect("a lab");
    assert_eq!(lab(GALERA), galera);
    assert_eq!(lab("database: {topology: galera}\n"), galera);
    assert_eq!(parse("lab.yaml", Path::new(""), "database: {topology: replication}\n", &overrides), Ok(galera.clone()));
    let mut other = LabSpec::default();
    other.database.topology = Topology::Galera;
    other.database.settings.retain(|name, _| galera.database.settings.contains_key(name));
    assert_eq!(galera, other, "it differs in nothing but the options that only MySQL has");
    for only_mysql in ["innodb_redo_log_capacity", "temptable_max_ram"] {
        assert!(!galera.database.settings.contains_key(only_mysql), "{only_mysql}");
    }
}

#[test]
fn what_the_command_line_says_of_topology_and_flavour_is_held_against_the_file() {
    let over = |topology, flavour| Overrides { topology, flavour, ..Overrides::default() };
    let told = |text: &str, overrides: &Overrides| {
        parse("lab.yaml", Path::new(""), text, overrides).expect_err("a contradiction").to_string()
    };
    let (replication, galera) = (Some(Topology::Replication), Some(Topology::Galera));
    let spec = parse("lab.yaml", Path::new(""), GALERA, &over(None, Some(Flavour::Mariadb))).expect("a lab");
    assert_eq!(spec.database.flavour, Flavour::Mariadb);
    assert!(load(&Source::Defaults, &over(replication, Some(Flavour::Auto))).is_ok(), "auto is no choice");

    let error = load(&Source::Defaults, &over(None, Some(Flavour::Percona))).expect_err("replication").to_string();
    assert!(
        error.contains("flavour percona is one of topology galera, and this lab has topology replication"),
        "{error}"
    );
    let error = told("database: {flavour: mariadb}\n", &over(replication, None));
    assert!(error.contains("lab.yaml:1:21: database.flavour: flavour mariadb"), "{error}");
    let error = told("images: packages\ndatabase: {flavour: percona}\n", &over(galera, None));
    assert!(error.contains("flavour percona exists only as a public image"), "{error}");
    let error = told("database: {settings: {innodb_autoinc_lock_mode: 1}}\n", &over(galera, None));
    assert!(error.contains("Galera replicates rows, and only so"), "{error}");
    assert!(parse("lab.yaml", Path::new(""), "database: {members: 2}\n", &over(replication, None)).is_ok());
    let error = told("database: {members: 2}\n", &over(galera, None));
    assert!(error.contains("lab.yaml:1:21: database.members: 2 members are too few"), "{error}");
    let workers = Overrides { workers: Some(2), ..over(galera, None) };
    let error = load(&Source::Defaults, &workers).expect_err("too few").to_string();
    assert!(error.contains("the lab: cluster.workers: 2 workers are too few for topology galera"), "{error}");
    assert!(!error.contains("database.members"), "who said nothing of members is told nothing of them: {error}");
}

#[test]
fn every_field_may_be_left_out() {
    let field = |line: &&str| !line.trim_start().starts_with('#') && line.contains(':');
    for line in DEFAULT.lines().filter(field).filter(|line| !line.starts_with(' ')) {
        let text = if line.ends_with(':') { line.to_owned() } else { format!("{line}\n") };
        assert_eq!(lab(&text), LabSpec::default(), "{line}");
    }
}

/// The cases in a folder of golden files.
fn cases(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(golden_path(folder))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_wrong_scenario_gets_one_text_with_all_its_problems() {
    let files = cases("scenario");
    assert!(files.len() > 5, "the cases are there");
    for file in files {
        let text = fs::read_to_string(&file).expect("a case");
        let error = scenario::load::parse("mine.yaml", &text).expect_err("a wrong file");
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        golden(&format!("scenario/{name}.txt"), &format!("{error}\n"));
    }
}

#[test]
fn a_scenario_that_is_copied_can_be_read_from_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.yaml");
    let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab/scenarios/writer-process.yaml"));
    let text = text.expect("a scenario").replace("name: writer-process", "name: mine");
    fs::write(&path, text).expect("written");
    let mine = scenario::load::find(&path.display().to_string()).expect("a scenario");
    let original = scenario::load::find("writer-process").expect("built in");
    assert_eq!(scenario::Scenario { name: "writer-process".into(), ..mine }, original);
}

#[test]
fn every_wrong_file_gets_one_text_with_all_its_problems() {
    let files = cases("spec");
    assert!(files.len() > 15, "the cases are there");
    for file in files {
        let text = fs::read_to_string(&file).expect("a case");
        let error = parse("lab.yaml", Path::new(""), &text, &Overrides::default()).expect_err("a wrong file");
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        golden(&format!("spec/{name}.txt"), &format!("{error}\n"));
    }
}

#[test]
fn what_is_no_text_file_is_told_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file");
        told(&path, folder.path())
    };
    let mut all = case("binary.yaml", b"\x7fELF\0\0\0");
    all += &case("latin1.yaml", b"name: demo\nwordpress:\n  title: caf\xe9\n");
    all += &case("huge.yaml", "# long\n".repeat(200_000).as_bytes());
    all += &case("nothing.yaml", b"");
    all += &told(folder.path(), folder.path());
    all += &told(&folder.path().join("missing.yaml"), folder.path());
    golden("spec/no-text.txt", &all);
}

fn told(path: &Path, folder: &Path) -> String {
    let error = load(&Source::File(path.to_owned()), &Overrides::default()).expect_err("a wrong file");
    format!("{error}\n").replace(&folder.display().to_string(), "FOLDER")
}

#[test]
fn hostile_files_end_in_a_message() {
    let wide = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n";
    for text in [
        wide.as_str(),
        &deep,
        bomb,
        "%YAML 9.9\n---\na",
        "{",
        "\"",
        "? ",
        ": :",
        "- - -",
        "&a",
        "*a",
        "!!binary x",
        "---\n---\n",
    ] {
        assert!(
            parse("lab.yaml", Path::new(""), text, &Overrides::default()).is_err(),
            "{}",
            &text[..text.len().min(20)]
        );
    }
}

#[test]
fn settings_are_added_to_the_defaults_and_names_are_compared_as_mysql_does() {
    let spec = lab("database:\n  settings:\n    MAX-connections: 100\n    sync_binlog: 1\n    general_log: ON\n");
    let set = |name: &str| spec.database.settings.get(name).map(String::as_str);
    assert_eq!((set("max_connections"), set("sync_binlog"), set("general_log")), (Some("100"), Some("1"), Some("ON")));
    assert_eq!(set("innodb_buffer_pool_size"), Some("64M"));
}

#[test]
fn the_command_line_has_the_last_word() {
    let overrides = Overrides {
        name: Some(LabName::new("other").expect("a name")),
        workers: Some(2),
        port: Some(9000),
        images: Some(ImageSource::Packages),
        topology: None,
        flavour: None,
    };
    let spec = parse("lab.yaml", Path::new(""), "name: demo\ncluster: {workers: 5}\n", &overrides).expect("a lab");
    assert_eq!((spec.name.as_str(), spec.cluster.workers, spec.cluster.port), ("other", 2, 9000));
    assert_eq!(spec.images, ImageSource::Packages);
    assert_eq!(spec.database.members, 2, "members that nobody asked for make way");

    let error = parse("lab.yaml", Path::new(""), "database: {members: 4}\n", &overrides).expect_err("too few workers");
    assert!(error.to_string().contains("4 members need 4 workers, and there are 2"), "{error}");
}

#[test]
fn a_bundle_lies_beside_the_file_that_names_it() {
    let spec = parse("labs/a.yaml", Path::new("labs"), "images: bundle.tar\n", &Overrides::default()).expect("a lab");
    assert_eq!(spec.images, ImageSource::Bundle(PathBuf::from("labs/bundle.tar")));
}

#[test]
fn windows_files_are_read_as_well() {
    assert_eq!(lab("\u{feff}name: demo\r\ncluster:\r\n  workers: 4\r\n").cluster.workers, 4);
}

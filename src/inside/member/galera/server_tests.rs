//! The command lines of both flavours, and the server's work against a stand-in that behaves as documented.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use super::*;
use crate::{
    inside::member::galera::flavour::{MARIADB, PERCONA},
    spec::{LabSpec, Topology},
};

const UUID: &str = "3786e29b-e582-11f1-a1dc-3a885dfb5510";

/// A pod's folders, with passwords in them.
fn pod(flavour: &'static Flavour) -> (tempfile::TempDir, Config) {
    let root = tempfile::tempdir().expect("a folder");
    let at = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(&path).expect("made");
        path
    };
    let paths = Paths {
        options: at("options"),
        tls: at("tls"),
        etcd: at("etcd"),
        credentials: at("credentials"),
        volume: at("volume"),
        run: at("run"),
    };
    for of in ["root", "wordpress", "replication", "sst"] {
        fs::write(paths.credentials.join(format!("{of}-password")), format!("secret-{of}\n")).expect("written");
    }
    fs::write(paths.options.join("my.cnf"), "[mysqld]\n").expect("written");
    let config = Config::of_a_test("db-1", flavour, paths);
    (root, config)
}

/// The options of a line by name, in one spelling, without their values.
fn names(line: &CommandLine) -> BTreeSet<String> {
    line.args
        .iter()
        .map(|arg| arg.trim_start_matches("--").split('=').next().unwrap_or_default().replace('-', "_"))
        .collect()
}

fn lines(config: &Config) -> [CommandLine; 5] {
    let (options, data) = (options(&config.paths), Path::new("/data"));
    let at = Position::At { uuid: UUID.into(), seqno: 7 };
    [
        install_line(config.flavour, &options, data, Path::new("/run/init.sql")),
        recover_line(config.flavour, &options, data, Path::new("/run/recover.log")),
        start_line(config, &options, data, &Position::Empty, &How::Bootstrap),
        start_line(config, &options, data, &at, &How::Join(vec!["10.0.0.1".into(), "10.0.0.2".into()])),
        by_itself_line(config.flavour, &options, data),
    ]
}

#[test]
fn no_line_has_a_secret_and_every_line_begins_with_its_option_file() {
    for flavour in [&MARIADB, &PERCONA] {
        let (_root, config) = pod(flavour);
        for line in lines(&config) {
            assert!(line.args[0].starts_with("--defaults-file="), "{line:?}");
            let text = line.args.join(" ");
            assert!(!text.contains("secret") && !text.contains("sst_auth") && !text.contains("sst-auth"), "{text}");
        }
    }
}

#[test]
fn a_server_by_itself_is_of_no_cluster() {
    for flavour in [&MARIADB, &PERCONA] {
        let (_root, config) = pod(flavour);
        let [.., alone] = lines(&config);
        let wsrep: Vec<&str> = alone.args.iter().map(String::as_str).filter(|arg| arg.starts_with("--wsrep")).collect();
        assert_eq!((alone.program.as_str(), wsrep), (flavour.server, vec!["--wsrep-provider=none"]));
        assert!(alone.args.contains(&"--skip-log-bin".to_owned()), "nobody asks it what it did");
    }
}

#[test]
fn mariadb_is_told_on_its_command_line_what_its_installer_must_not_see() {
    let (_root, config) = pod(&MARIADB);
    let [install, recover, bootstrap, join, ..] = lines(&config);
    assert_eq!(install.program, "mariadb-install-db");
    assert!(!names(&install).iter().any(|name| name.starts_with("wsrep")));
    assert!(recover.args.contains(&"--wsrep-cluster-address=gcomm://recover.invalid".to_owned()));
    for line in [&recover, &bootstrap, &join] {
        assert_eq!(line.program, "mariadbd");
        assert!(line.args.contains(&"--wsrep-on=ON".to_owned()), "{line:?}");
    }
    assert!(bootstrap.args.ends_with(&["--wsrep-cluster-address=gcomm://".into(), "--wsrep-new-cluster".into()]));
    assert!(!names(&bootstrap).contains("wsrep_start_position"), "there is none");
    assert!(join.args.contains(&format!("--wsrep-start-position={UUID}:7")));
    assert!(join.args.contains(&"--wsrep-cluster-address=gcomm://10.0.0.1,10.0.0.2".to_owned()));
    assert!(!names(&join).contains("wsrep_new_cluster"));
    for line in [&bootstrap, &join] {
        assert!(line.args.contains(&format!("--gtid-domain-id={}", 10 + config.ordinal)), "{line:?}");
    }
    let provider = join.args.iter().find(|arg| arg.starts_with("--wsrep-provider-options=")).expect("options");
    assert!(provider.contains("pc.recovery=no;") && provider.contains("/tls/tls.key"), "{provider}");
}

/// Options of mysqld that the manuals of MySQL 8.4 and Percona XtraDB Cluster 8.4 document. The stand-in of
/// tests/percona.rs knows the same and no others.
const DOCUMENTED: &str = include_str!("../../../../tests/percona/options.txt");

/// The options of an option file's `[mysqld]` that stop a server which does not know them.
fn in_file(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    let lines = lines.filter(|line| !line.starts_with("loose_"));
    lines.map(|line| line.split('=').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_server_that_begins_alone_is_out_of_reach_and_ends_by_itself() {
    let (_root, config) = pod(&MARIADB);
    let line = alone_line(&config, Path::new("/my.cnf"), Path::new("/draft"), UUID, Path::new("/run/stop.sql"));
    assert_eq!((line.program.as_str(), line.args[0].as_str()), ("mariadbd", "--defaults-file=/my.cnf"));
    for arg in ["--datadir=/draft", "--skip-networking", "--wsrep-new-cluster", "--init-file=/run/stop.sql"] {
        assert!(line.args.iter().any(|given| given == arg), "{arg}: {line:?}");
    }
    assert!(line.args.contains(&format!("--wsrep-start-position={UUID}:0")));
    let provider = line.args.iter().find(|arg| arg.starts_with("--wsrep-provider-options=")).expect("told");
    assert!(provider.contains("gmcast.listen_addr=tcp://127.0.0.1:4567;"), "{provider}");
    assert!(!PERCONA.begins_alike, "its server has not been seen to do this");
}

#[test]
fn percona_is_given_documented_options_only() {
    let (_root, config) = pod(&PERCONA);
    let mut used: BTreeSet<String> = lines(&config).iter().flat_map(names).collect();
    used.extend(in_file(include_str!("../../../../manifests/database/percona-defaults.cnf")));
    used.extend(in_file(include_str!("../../../../manifests/database/percona-fixed.cnf")));
    used.extend(LabSpec::of(Topology::Galera).database.settings.into_keys());
    let documented: BTreeSet<&str> = DOCUMENTED.lines().collect();
    let unknown: Vec<&String> = used.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let idle: Vec<_> = documented.iter().filter(|name| !used.contains(**name)).collect();
    assert!(idle.is_empty(), "no longer used: {idle:?}");
}

#[test]
fn the_option_files_agree_with_the_flavours() {
    let mariadb = include_str!("../../../../manifests/database/mariadb-fixed.cnf");
    let percona = include_str!("../../../../manifests/database/percona-fixed.cnf");
    for name in ["wsrep_on", "wsrep_sst_method", "wsrep_sst_auth"] {
        assert!(!in_file(mariadb).contains(name), "mariadb-install-db would fail, or a secret be told: {name}");
    }
    for text in [mariadb, percona] {
        for line in ["datadir=/var/lib/mysql/data", "socket=/var/run/mysqld/mysqld.sock", "require_secure_transport=ON"]
        {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert!(text.contains("sql_mode=STRICT_TRANS_TABLES,"));
    }
    assert!(percona.contains(&format!("wsrep_sst_method={}\n", PERCONA.sst_method)));
    for (flavour, defaults) in [
        (&MARIADB, include_str!("../../../../manifests/database/mariadb-defaults.cnf")),
        (&PERCONA, include_str!("../../../../manifests/database/percona-defaults.cnf")),
    ] {
        assert!(defaults.contains(&format!("collation_server={}\n", flavour.collation)), "{}", flavour.name);
    }
}

#[test]
fn accounts_are_four_at_most_and_passwords_stay_in_their_quotes() {
    let (_root, config) = pod(&MARIADB);
    fs::write(config.paths.credentials.join("root-password"), "a'b").expect("written");
    let sql = config.flavour.init_sql(|of| config.paths.password(of)).expect("statements");
    assert!(sql.starts_with("FLUSH PRIVILEGES;\n"));
    assert!(sql.contains("ALTER USER root@localhost IDENTIFIED BY 'a''b';\n"), "{sql}");
    assert_eq!(sql.matches("CREATE USER").count(), 3);
    assert!(
        sql.contains("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO replication@'%';\n"),
        "it reads logs, and no table: {sql}"
    );
    let (_root, config) = pod(&PERCONA);
    let sql = config.flavour.init_sql(|of| config.paths.password(of)).expect("statements");
    assert!(!sql.contains("sst@") && !sql.contains("replication@") && !sql.contains("FLUSH"), "{sql}");
    assert!(sql.lines().all(|line| line.ends_with(';')), "the server reads one statement per line");
}

#[test]
fn other_passwords_are_given_on_this_member_alone() {
    for (flavour, accounts) in [(&MARIADB, 4), (&PERCONA, 2)] {
        let (_root, config) = pod(flavour);
        let sql = config.flavour.accounts_sql(|of| config.paths.password(of)).expect("statements");
        assert!(sql.starts_with("SET SESSION wsrep_on = OFF;\nSET SESSION sql_log_bin = 0;\n"), "{sql}");
        assert_eq!(sql.matches("ALTER USER").count(), accounts, "{sql}");
        assert_eq!(sql.lines().count(), accounts + 2, "the server reads one statement per line");
    }
}

#[test]
fn the_password_for_copies_is_in_a_private_file_that_includes_the_others() {
    let (_root, config) = pod(&MARIADB);
    let path = private_options(&config.paths).expect("written");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).expect("read");
    assert!(text.starts_with("!include ") && text.ends_with("wsrep_sst_auth=\"sst:secret-sst\"\n"), "{text}");
    fs::write(config.paths.credentials.join("sst-password"), "a\"b").expect("written");
    private_options(&config.paths).expect_err("it could not be quoted");
}

#[test]
fn the_position_is_read_from_both_servers_logs() {
    let at = |seqno| Some(Position::At { uuid: UUID.into(), seqno });
    let mariadb = format!("2026-11-21 8:04 0 [Note] WSREP: Recovered position: {UUID}:12\n");
    assert_eq!(position(&mariadb), at(12));
    assert_eq!(position(&format!("{mariadb}x [Note] WSREP: Recovered position: {UUID}:15,0-1-3\ny\n")), at(15));
    let percona = format!("2026-11-21T08:04:46Z 0 [Note] [MY-000000] [WSREP] Recovered position: {UUID}:7\n");
    assert_eq!(position(&percona), at(7));
    let none = "[WSREP] Recovered position: 00000000-0000-0000-0000-000000000000:-1\n";
    assert_eq!(position(none), Some(Position::Empty));
    for wrong in ["", "Recovered position:", "Recovered position: x:1", "Recovered position: 1-2-3-4-5:1"] {
        assert_eq!(position(wrong), None, "{wrong}");
    }
}

/// A flavour whose server is a script that does what the manual says, and writes down how it was called.
fn stand_in(script: &str) -> (tempfile::TempDir, Config) {
    let (root, mut config) = pod(&PERCONA);
    let path = root.path().join("mysqld");
    // Written under another name: a file that is still open for writing cannot be executed.
    fs::write(
        root.path().join("script"),
        format!("#!/bin/sh\necho \"$@\" >>{0}/calls\n{script}", root.path().display()),
    )
    .expect("written");
    fs::copy(root.path().join("script"), &path).expect("copied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    let server = Box::leak(path.display().to_string().into_boxed_str());
    config.flavour = Box::leak(Box::new(Flavour { server, ..PERCONA }));
    (root, config)
}

/// The value of an option, in shell.
const OPTION: &str =
    "option() { for arg in \"$@\"; do case $arg in \"--$name=\"*) echo \"${arg#*=}\";; esac; done; }\n";

#[tokio::test]
async fn percona_initialises_with_statements_that_are_gone_afterwards() {
    let script = format!(
        "{OPTION}name=init-file; cp \"$(option \"$@\")\" \"$0.sql\"; name=datadir; mkdir \"$(option \"$@\")/mysql\""
    );
    let (root, config) = stand_in(&script);
    let draft = config.paths.volume.join("data.new");
    fs::create_dir(&draft).expect("made");
    initialise(config.flavour, &config.paths, &draft, "").await.expect("initialised");
    assert!(draft.join("mysql").is_dir());
    let sql = fs::read_to_string(root.path().join("mysqld.sql")).expect("read");
    assert!(sql.contains("IDENTIFIED BY 'secret-root'"));
    assert_eq!(fs::read_dir(&config.paths.run).expect("read").count(), 0, "no secret is left");
    let calls = fs::read_to_string(root.path().join("calls")).expect("read");
    assert!(calls.contains("--initialize-insecure") && !calls.contains("secret"), "{calls}");
}

#[tokio::test]
async fn percona_tells_its_position_in_its_log() {
    let script = format!(
        "{OPTION}name=log-error; echo \"0 [Note] [MY-000000] [WSREP] Recovered position: {UUID}:345628\" >\"$(option \"$@\")\""
    );
    let (_root, config) = stand_in(&script);
    let found = recover(&config, &config.paths.volume).await.expect("recovered");
    assert_eq!(found, Position::At { uuid: UUID.into(), seqno: 345_628 });
}

#[tokio::test]
async fn a_server_that_cannot_tell_its_position_is_an_error_with_its_reason() {
    let script = format!(
        "{OPTION}name=log-error; echo '0 [ERROR] [MY-012574] Unable to lock ./ibdata1' >\"$(option \"$@\")\"; exit 1"
    );
    let (_root, config) = stand_in(&script);
    let error = recover(&config, &config.paths.volume).await.expect_err("refused");
    assert!(format!("{error:#}").contains("Unable to lock ./ibdata1"), "{error:#}");
    let (_root, config) = stand_in("exit 0");
    let error = recover(&config, &config.paths.volume).await.expect_err("nothing said");
    assert!(error.to_string().contains("did not say"), "{error:#}");
}

#[tokio::test]
async fn a_started_server_is_stopped_by_a_signal_and_its_end_is_seen() {
    let (root, config) = stand_in("trap 'exit 0' TERM; touch \"$0.up\"; while :; do sleep 0.1; done");
    let mut server = start(&config, &config.paths.volume, &Position::Empty, &How::Bootstrap, None).expect("started");
    let up = root.path().join("mysqld.up");
    let second = std::time::Duration::from_secs(1);
    crate::run::wait::until(
        "the stand-in",
        second * 10,
        second / 20,
        |_| {},
        || async {
            Ok(if up.exists() {
                crate::run::wait::Look::Ready(())
            } else {
                crate::run::wait::Look::NotYet("not up".into())
            })
        },
    )
    .await
    .expect("up");
    assert_eq!(server.ended().expect("asked"), None);
    server.stop(second * 10).await.expect("stopped");
    assert!(server.ended().expect("asked").is_some());
}

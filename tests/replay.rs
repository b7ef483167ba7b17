//! What was archived of a server's binary log, done once more: on real servers, of which the second is to have in the end what the first has.

#[path = "support/database.rs"]
mod database;
#[path = "support/ready.rs"]
mod ready;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use database::Server;
use tokio::task::spawn_blocking;
use wplab::wire::{
    backup::manifest::Table,
    dump::Snapshot,
    gtid::GtidSet,
    sql::{
        Session,
        logs::{History, Repeater, transactions},
    },
};

/// What a cluster of which there is no other member is called here.
const CLUSTER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const LOGS: [(&str, &str); 2] = [
    ("mysql", "--log-bin=binlog --server-id=1 --gtid-mode=ON --enforce-gtid-consistency=ON"),
    ("mariadb", "--log-bin=binlog --server-id=1 --gtid-domain-id=0 --binlog-format=ROW"),
];

/// What people and plugins do, and what a replica would have of it.
const DONE: &[(&str, &str, &str)] = &[
    (
        "a transaction",
        "site",
        "INSERT INTO t (v) VALUES ('a'), ('b');; START TRANSACTION;; UPDATE t SET v = 'c' WHERE id = 2;; DELETE FROM t WHERE id = 1;; COMMIT",
    ),
    (
        "savepoints",
        "site",
        "START TRANSACTION;; INSERT INTO t (v) VALUES ('kept');; SAVEPOINT s;; INSERT INTO t (v) VALUES ('undone');; \
        ROLLBACK TO s;; SAVEPOINT s;; INSERT INTO t (v) VALUES ('last');; COMMIT",
    ),
    (
        "savepoints of a session with no database",
        "",
        "START TRANSACTION;; INSERT INTO site.t (v) VALUES ('kept');; SAVEPOINT s;; \
        INSERT INTO site.t (v) VALUES ('last');; COMMIT",
    ),
    ("a table of what another one has", "site", "CREATE TABLE copied AS SELECT * FROM t"),
    (
        "tables of a session with no database",
        "",
        "ALTER TABLE site.t ADD COLUMN w int DEFAULT 7;; INSERT INTO site.t (v) VALUES ('d');; \
        CREATE TABLE site . made (a int);; INSERT INTO site.made VALUES (1);; CREATE TABLE `site`.gone (a int);; DROP TABLE `site`.`gone`",
    ),
    (
        "tables of a session in another database",
        "other",
        "CREATE TABLE site.from_there LIKE site.t;; INSERT INTO site.from_there (v) VALUES ('e');; \
        RENAME TABLE site.made TO site.renamed",
    ),
    (
        "tables of another database",
        "other",
        "CREATE TABLE there (a int DEFAULT 1, b varchar(20) DEFAULT 'site');; INSERT INTO there VALUES (1, 'site.t');; \
        ALTER TABLE there COMMENT 'not site.t';; DROP TABLE there",
    ),
    (
        "accounts",
        "",
        "CREATE USER somebody@'%' IDENTIFIED BY 'x';; GRANT ALL ON site.* TO somebody@'%';; ALTER USER somebody@'%' IDENTIFIED BY 'y'",
    ),
    (
        "accounts of a session in the site's database",
        "site",
        "GRANT SELECT ON t TO somebody@'%';; SET PASSWORD FOR somebody@'%' = PASSWORD('z');; REVOKE SELECT ON site.t FROM somebody@'%';; \
        /* no more */ DROP USER somebody@'%'",
    ),
    (
        "dates as WordPress has them",
        "site",
        "SET sql_mode='NO_ENGINE_SUBSTITUTION';; CREATE TABLE dated (id int, at datetime NOT NULL DEFAULT '0000-00-00 00:00:00');; \
        INSERT INTO dated (id) VALUES (1);; SET sql_mode=DEFAULT",
    ),
    (
        "names in double quotes",
        "site",
        "SET sql_mode='ANSI_QUOTES,PIPES_AS_CONCAT';; CREATE TABLE \"quoted\" (a varchar(20) DEFAULT ('x' || 'y'));; INSERT INTO quoted VALUES (DEFAULT);; \
        SET sql_mode=DEFAULT",
    ),
    (
        "keys to tables that come later",
        "site",
        "SET foreign_key_checks=0;; CREATE TABLE child (a int, FOREIGN KEY (a) REFERENCES parent (a));; CREATE TABLE parent (a int PRIMARY KEY);; \
        SET foreign_key_checks=1",
    ),
    (
        "other characters",
        "site",
        "SET NAMES latin1;; CREATE TABLE latin (a varchar(20) CHARACTER SET utf8mb4 DEFAULT 'ä');; INSERT INTO latin VALUES (DEFAULT);; SET NAMES utf8mb4",
    ),
    (
        "a character set of which no collation is named",
        "site",
        "CREATE TABLE usual (a varchar(20)) DEFAULT CHARSET utf8mb4;; INSERT INTO usual VALUES ('a')",
    ),
    (
        "rows of two databases at once",
        "other",
        "CREATE TABLE x (a int);; INSERT INTO x VALUES (1);; UPDATE site.t, x SET t.v = 'both', x.a = 2;; UPDATE site.t SET v = CONCAT(v, id)",
    ),
    (
        "what works by itself",
        "site",
        "CREATE VIEW seen AS SELECT v FROM t;; CREATE OR REPLACE VIEW seen AS SELECT id, v FROM t;; \
        CREATE TABLE counted (n int);; INSERT INTO counted VALUES (0);; \
        CREATE TRIGGER counts AFTER INSERT ON t FOR EACH ROW UPDATE counted SET n = n + 1;; INSERT INTO t (v) VALUES ('f');; \
        CREATE FUNCTION first_id() RETURNS int DETERMINISTIC RETURN 1;; \
        CREATE PROCEDURE adds() BEGIN INSERT INTO t (v) VALUES ('g'); UPDATE t SET v = 'h' WHERE id = first_id(); END;; CALL adds();; \
        CREATE EVENT never ON SCHEDULE AT '2040-01-01 00:00:00' DO DELETE FROM t;; ALTER EVENT never COMMENT 'at all'",
    ),
    (
        "numbers, moments and zones",
        "site",
        "SET time_zone='+05:30', auto_increment_increment=7, auto_increment_offset=3;; \
        CREATE TABLE numbered (v int);; INSERT INTO numbered VALUES (1), (2);; ALTER TABLE numbered ADD COLUMN id int AUTO_INCREMENT PRIMARY KEY;; \
        ALTER TABLE numbered ADD COLUMN at datetime(6) DEFAULT CURRENT_TIMESTAMP(6), ADD COLUMN ts timestamp DEFAULT '2026-03-01 00:00:00'",
    ),
    ("the database itself", "", "CREATE DATABASE more;; DROP DATABASE more"),
];
/// What ends the whole, and begins it anew.
const AGAIN: &str =
    "DROP DATABASE site;; CREATE DATABASE site;; USE site;; CREATE TABLE again (a int);; INSERT INTO again VALUES (1)";

async fn run(session: &mut Session, statements: &str) {
    for statement in statements.split(";;").map(str::trim).filter(|statement| !statement.is_empty()) {
        let done = session.run(statement).await;
        done.unwrap_or_else(|error| panic!("{error:#}: {statement}"));
    }
}

async fn tables(session: &mut Session) -> BTreeMap<String, Table> {
    let found = Snapshot::begin(session).await.expect("a snapshot").hashes("site").await.expect("hashes");
    session.run("COMMIT").await.expect("the snapshot ends");
    found
}

/// How the site's tables were made.
async fn shapes(session: &mut Session, names: impl Iterator<Item = &String>) -> Vec<String> {
    let mut shapes = Vec::new();
    for name in names {
        let shown = session.row(&format!("SHOW CREATE TABLE site.{name}")).await.expect("an answer").expect("a table");
        shapes.push(shown["Create Table"].clone().expect("a text"));
    }
    shapes
}

/// Does what a server has in its log after `had` once more, by the account that does so beside a lab.
async fn repeat(from: &Server, to: &Server, history: &History, had: &GtidSet) -> Result<()> {
    let has = history.executed(&mut from.session().await).await?;
    let (mut logs, mut file, mut read) = (from.session().await.logs(7, history, had).await?, Vec::new(), had.clone());
    while !read.contains(&has) {
        let transaction = logs.next().await?;
        if file.is_empty() {
            file = logs.head();
        }
        file.extend(&transaction.events);
        read = read.with(&transaction.covers);
    }
    let mut session = to.session_of("repeater").await;
    let mut repeater = Repeater::new(&mut session, "site", *history != History::Gtids);
    for kept in transactions(&file, CLUSTER)? {
        repeater.repeat(&kept).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_was_done_is_done_once_more() {
    let images = spawn_blocking(|| ready::images(&["mysql", "mariadb"])).await.expect("an end");
    let mut all = Vec::new();
    for ((role, options), image) in LOGS.into_iter().zip(&images) {
        let (from, to) = (Server::start_with(role, image, options).await, Server::start(role, image).await);
        let history = if role == "mysql" { History::Gtids } else { History::Cluster(CLUSTER.to_owned()) };
        let rights = if role == "mysql" { "REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN" } else { "BINLOG REPLAY" };
        let mut there = to.session().await;
        run(
            &mut there,
            &format!(
                "CREATE USER repeater@'%' IDENTIFIED BY 'not-very-secret';; CREATE DATABASE site;; \
            GRANT ALL ON site.* TO repeater@'%';; GRANT {rights} ON *.* TO repeater@'%'"
            ),
        )
        .await;
        let mut here = from.session().await;
        run(&mut here, "CREATE DATABASE site;; CREATE DATABASE other").await;
        run(&mut here, "CREATE TABLE site.t (id int AUTO_INCREMENT PRIMARY KEY, v varchar(20))").await;
        run(&mut there, "CREATE TABLE site.t (id int AUTO_INCREMENT PRIMARY KEY, v varchar(20))").await;
        let mut wrong = Vec::new();
        let mut had = history.executed(&mut here).await.expect("a set");
        for &(what, at, statements) in DONE {
            let mut session = from.session().await;
            if !at.is_empty() {
                run(&mut session, &format!("USE {at}")).await;
            }
            let statements =
                if role == "mysql" { statements.replace("PASSWORD('z')", "'z'") } else { statements.to_owned() };
            run(&mut session, &statements).await;
            if let Err(error) = repeat(&from, &to, &history, &had).await {
                wrong.push(format!("{role}: {what}: {error:#}"));
            }
            had = history.executed(&mut here).await.expect("a set");
            let (ours, theirs) = (tables(&mut here).await, tables(&mut there).await);
            if ours != theirs {
                let differs = |name: &&String| ours.get(*name) != theirs.get(*name);
                let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).filter(differs).collect();
                wrong.push(format!("{role}: {what}: {names:?}"));
                continue;
            }
            let (ours, theirs) = (shapes(&mut here, ours.keys()).await, shapes(&mut there, theirs.keys()).await);
            if ours != theirs {
                wrong.push(format!("{role}: {what}: {ours:#?} {theirs:#?}"));
            }
        }
        run(&mut here, AGAIN).await;
        if let Err(error) = repeat(&from, &to, &history, &had).await {
            wrong.push(format!("{role}: the database itself: {error:#}"));
        } else if tables(&mut here).await != tables(&mut there).await {
            wrong.push(format!("{role}: the database itself"));
        }
        all.extend(wrong);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

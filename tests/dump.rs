//! Dumps of real servers: what is loaded is what was dumped, on the same and on the other kind of server, and what cannot be is refused.

#![expect(clippy::print_stderr, reason = "how fast it is")]

#[path = "support/database.rs"]
mod database;
#[path = "support/ready.rs"]
mod ready;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use database::Server;
use tokio::task::spawn_blocking;
use wplab::{
    run::advice::find,
    wire::{
        backup::manifest::Table,
        dump::{self, Refused, Snapshot},
        sql::Session,
    },
};

type Tables = BTreeMap<String, Table>;

async fn servers() -> [Server; 2] {
    let images = spawn_blocking(|| ready::images(&["mysql", "mariadb"])).await.expect("an end");
    [Server::start("mysql", &images[0]).await, Server::start("mariadb", &images[1]).await]
}

async fn run(session: &mut Session, statements: &str) {
    for statement in statements.split(";;").map(str::trim).filter(|statement| !statement.is_empty()) {
        let done = session.run(statement).await;
        done.unwrap_or_else(|error| panic!("{error:#}: {statement}"));
    }
}

async fn dumped(session: &mut Session, database: &str) -> Result<(Vec<u8>, Tables)> {
    let (feed, mut reader) = dump::feed();
    let read = spawn_blocking(move || {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).map(|_| text)
    });
    let tables = Snapshot::begin(session).await?.write(database, feed).await;
    let text = read.await.expect("an end");
    assert_eq!(tables.is_ok(), text.is_ok(), "whoever reads knows of every failure");
    Ok((text.unwrap_or_default(), tables?))
}

async fn loaded(session: &mut Session, database: &str, text: &[u8], definer: Option<&str>) -> Result<()> {
    let (mut sink, source) = dump::drain();
    let text = text.to_vec();
    // Who loads may end before the text does.
    let written = spawn_blocking(move || text.chunks(100_000).try_for_each(|piece| sink.write_all(piece)));
    let loaded = dump::load(session, database, source, definer).await;
    let written = written.await.expect("an end");
    assert!(written.is_ok() || loaded.is_err(), "{written:?}");
    loaded
}

async fn hashes(session: &mut Session, database: &str) -> Tables {
    Snapshot::begin(session).await.expect("a snapshot").hashes(database).await.expect("hashes")
}

/// On both kinds of server.
const SCHEMA: &str = r#"
CREATE TABLE plain (id bigint unsigned NOT NULL AUTO_INCREMENT, tiny tinyint, zero int(5) zerofill, price decimal(30,10),
  born year, PRIMARY KEY (id)) AUTO_INCREMENT=4711;;
INSERT INTO plain VALUES (0, NULL, 0, 0, 1901), (18446744073709551615, -128, 42, -12345678901234567890.0123456789, 2155),
  (7, 127, 99999, 0.1, 0);;
CREATE TABLE reals (f float, d double, g float(7,3), h double(10,2));;
INSERT INTO reals VALUES (1.1, 0.1, 1.1, 1.25), (16777217, 1e300, -0.5, 0.01), (-1e-40, 2.2250738585072014e-308, 1234.567, 0),
  (3.4028234e38, 1.7976931348623157e308, NULL, 99999999.99), (-0e0, -0e0, 0, 0), (0.333333333333, 0.333333333333333333, 0, 0);;
CREATE TABLE `te``xts ; -- x` (`a``b` varchar(50) NOT NULL DEFAULT 'it''s', latin varchar(50) CHARACTER SET latin1, old text CHARACTER SET utf8mb3,
  fixed char(10), choice enum('a','b''\\','') DEFAULT 'a', several set('x','y','z'), long_one longtext, `select` varchar(10) COMMENT 'a
b`;')
  DEFAULT CHARSET=utf8mb4 COMMENT='x''y\\';;
INSERT INTO `te``xts ; -- x` VALUES ('', 'äöü€', 'žluťoučký', 'x  ', 'b''\\', 'x,z', 'it''s \\ a "test";\n-- x\r\n\0\Z\t`%_\\n', NULL),
  ('🦀 𝒳', NULL, NULL, '', '', '', REPEAT('🦀''\n\\', 100000), 'x'), ('', 'äöü€', 'žluťoučký', 'x  ', 'b''\\', 'x,z', '', 'NULL');;
CREATE TABLE bytes (b binary(4), v varbinary(300), t tinyblob, l longblob, bits bit(10), one bit(1), many bit(64), txt text CHARACTER SET binary);;
INSERT INTO bytes VALUES ('a', 0x00ff27225c0a0d1a, '', REPEAT(0x00ff275c, 50000), b'1100000001', b'1', b'1', 'x'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (0, '', 0xf09fa680, 'NULL', 0, 0, 0xffffffffffffffff, '');;
CREATE TABLE times (d date, t time(3), dt datetime(6), ts timestamp NULL DEFAULT NULL, m datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);;
SET SESSION sql_mode='ALLOW_INVALID_DATES';;
SET SESSION time_zone='+05:30';;
INSERT INTO times VALUES ('0000-00-00', '-838:59:59', '0000-00-00 00:00:00', '2026-03-29 02:30:00', '2026-01-01'),
  ('2026-02-31', '12:00:00.125', '9999-12-31 23:59:59.999999', NULL, NULL), ('0000-01-00', '0', '2026-00-00', '1970-01-02', '0000-00-00');;
SET SESSION sql_mode=DEFAULT;;
SET SESSION time_zone=DEFAULT;;
CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a * 2) STORED, c varchar(20) GENERATED ALWAYS AS (concat('x;', a)) VIRTUAL, d int DEFAULT (1 + 1),
  CONSTRAINT positive CHECK (a > 0), KEY (b));;
INSERT INTO made (a, d) VALUES (1, 1), (2, DEFAULT);;
CREATE TABLE json_and_places (j json, g geometry, p point);;
INSERT INTO json_and_places VALUES ('{"a": [1, 2.50, "ü\\n\\"\\u0000", null]}', ST_GeomFromText('LINESTRING(0 0, 1.5 -2)'), POINT(1, 2)),
  ('null', NULL, NULL), ('[]', ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))'), POINT(-1e-9, 1e9));;
CREATE TABLE empty_one (id int PRIMARY KEY);;
CREATE TABLE parent (id int PRIMARY KEY, above int, FOREIGN KEY (above) REFERENCES parent (id)) ;;
CREATE TABLE a_child (id int PRIMARY KEY, whose int, CONSTRAINT of_parent FOREIGN KEY (whose) REFERENCES parent (id) ON DELETE CASCADE);;
INSERT INTO parent VALUES (2, NULL), (1, 2);;
INSERT INTO a_child VALUES (1, 1);;
CREATE TABLE in_parts (id int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);;
INSERT INTO in_parts VALUES (1), (11);;
CREATE TABLE counted (n int);;
CREATE TABLE numbered (id int AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT=4711;;
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2;;
CREATE PROCEDURE fill(IN upto int) COMMENT 'it''s'
BEGIN
  -- a comment; with $end0$
  DECLARE i int DEFAULT 0;
  WHILE i < upto DO INSERT INTO counted VALUES (i); SET i = i + 1; END WHILE;
END;;
CREATE VIEW a_view AS SELECT twice(a) AS `do``uble`, 'x;\n' AS s FROM z_view;;
"#;
/// What needs the table before the view that is made first; a view may read one that sorts after it.
const LATER: &str = r#"
CREATE TRIGGER on_made BEFORE INSERT ON made FOR EACH ROW
BEGIN
  SET NEW.d = 99;
END;;
CREATE TRIGGER and_then BEFORE INSERT ON made FOR EACH ROW FOLLOWS on_made SET NEW.d = NEW.d + 1;;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' COMMENT 'x' DO DELETE FROM counted;;
"#;
const ON_MYSQL: &str = r#"
CREATE TABLE hidden (a int, b int INVISIBLE DEFAULT 5, c varchar(20) COLLATE utf8mb4_0900_bin, KEY (c DESC), KEY k2 (a) INVISIBLE);;
INSERT INTO hidden (a, b, c) VALUES (1, 2, 'x'), (1, 2, 'x'), (1, 2, 'X ');;
CREATE TABLE checked (a int, CHECK (a > 0) NOT ENFORCED, t text DEFAULT (concat('a', 'b')));;
INSERT INTO checked VALUES (-1, DEFAULT);;
"#;
const ON_MARIADB: &str = r#"
CREATE TABLE hidden (a int, b int INVISIBLE DEFAULT 5, c varchar(20) COLLATE utf8mb4_nopad_bin, t text DEFAULT 'it''s', u varchar(36) DEFAULT uuid(),
  CHECK (a > 0), KEY k2 (a) IGNORED);;
INSERT INTO hidden (a, b, c, u) VALUES (1, 2, 'x', 'u'), (1, 2, 'x', 'u'), (1, 2, 'X ', 'u');;
CREATE TABLE second_check (a int, CHECK (a > 0), j json);;
INSERT INTO second_check VALUES (1, '{"b":1,  "a":2}');;
"#;

/// Only where the server is the same.
const OWN_OF_MYSQL: &str =
    "CREATE TABLE own (j varchar(20) COLLATE utf8mb4_ja_0900_as_cs, v vector(2), KEY f ((lower(j))));;
INSERT INTO own VALUES ('x', STRING_TO_VECTOR('[1,2]')), (NULL, NULL);;";
const OWN_OF_MARIADB: &str = "CREATE TABLE own (u uuid, i inet6, t varchar(9) COLLATE utf8mb4_uca1400_turkish_as_ci);;
INSERT INTO own VALUES ('123e4567-e89b-12d3-a456-426614174000', '::1', 'ı'), (NULL, NULL, NULL);;";

async fn fill(session: &mut Session, database: &str, own: &[&str]) {
    session.run(&format!("CREATE DATABASE {database}")).await.expect("a database");
    session.run(&format!("USE {database}")).await.expect("used");
    let (tables, views) = SCHEMA.split_at(SCHEMA.find("CREATE VIEW a_view").expect("a view"));
    run(session, tables).await;
    run(session, "CREATE VIEW z_view AS SELECT a FROM made").await;
    run(session, views).await;
    for more in [&[LATER], own].concat() {
        run(session, more).await;
    }
}

/// A new database on a server with what is in a text.
async fn restored(server: &Server, database: &str, text: &[u8]) -> (Session, Tables) {
    let mut session = server.session().await;
    session.run(&format!("CREATE DATABASE {database}")).await.expect("a database");
    loaded(&mut session, database, text, Some("'somebody'@'%'")).await.unwrap_or_else(|error| panic!("{error:#}"));
    let found = hashes(&mut session, database).await;
    (session, found)
}

/// Whether programs came along, and work.
async fn works(session: &mut Session, database: &str) {
    session.run("ROLLBACK").await.expect("the snapshot ends");
    session.run(&format!("USE {database}")).await.expect("used");
    let mut ask = async |query: &str| {
        let answer = session.value(query).await;
        answer.unwrap_or_else(|error| panic!("{error:#}: {query}")).unwrap_or_default()
    };
    let of = format!("= '{database}'");
    assert_eq!(
        ask(&format!("SELECT GROUP_CONCAT(EVENT_NAME) FROM information_schema.EVENTS WHERE EVENT_SCHEMA {of}")).await,
        "nightly"
    );
    let triggers = format!(
        "SELECT GROUP_CONCAT(TRIGGER_NAME ORDER BY ACTION_ORDER) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA {of}"
    );
    assert_eq!(ask(&triggers).await, "on_made,and_then");
    assert_eq!(ask("SELECT MAX(`do``uble`) FROM a_view").await, "4");
    for program in [
        "SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_NAME = 'fill' AND ROUTINE_SCHEMA",
        "SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_NAME = 'a_view' AND TABLE_SCHEMA",
        "SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = 'on_made' AND TRIGGER_SCHEMA",
    ] {
        assert_eq!(ask(&format!("{program} {of}")).await, "somebody@%", "{program}");
    }
    assert_eq!(ask("SELECT COMMENT FROM (SELECT COLUMN_COMMENT AS COMMENT FROM information_schema.COLUMNS WHERE COLUMN_NAME = 'select' AND TABLE_SCHEMA = DATABASE()) AS t").await, "a\nb`;");
    run(session, "START TRANSACTION;; INSERT INTO numbered VALUES ();; INSERT INTO made (a) VALUES (5);; CALL fill(3)")
        .await;
    let done = session.value(
        "SELECT CONCAT(LAST_INSERT_ID(), ' ', (SELECT d FROM made WHERE a = 5), ' ', (SELECT COUNT(*) FROM counted))",
    );
    assert_eq!(done.await.expect("an answer").as_deref(), Some("4711 100 3"));
    session.run("ROLLBACK").await.expect("undone");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_is_loaded_is_what_was_dumped_on_either_kind_of_server() {
    let [mysql, mariadb] = servers().await;
    for (from, to, both, own) in
        [(&mysql, &mariadb, ON_MYSQL, OWN_OF_MYSQL), (&mariadb, &mysql, ON_MARIADB, OWN_OF_MARIADB)]
    {
        let mut session = from.session().await;
        // What views and triggers are given to.
        for server in [from, to] {
            let mut session = server.session().await;
            run(&mut session, "CREATE USER IF NOT EXISTS 'somebody'@'%';; GRANT ALL ON *.* TO 'somebody'@'%'").await;
        }
        fill(&mut session, "site", &[both]).await;
        let (text, tables) = dumped(&mut session, "site").await.expect("dumped");
        assert_eq!(hashes(&mut session, "site").await, tables, "the same without writing");
        assert_eq!(tables["empty_one"].rows, 0);
        assert_eq!(tables["plain"].rows, 3);
        for line in text.split(|byte| *byte == b'\n') {
            assert!(line.len() < 3 << 20, "a statement is too long");
        }
        for (server, database) in [(from, "same"), (to, "other")] {
            let (mut session, found) = restored(server, database, &text).await;
            assert_eq!(found, tables, "{database}");
            works(&mut session, database).await;
            // And back: nothing of what was mapped is lost on the way.
            if database == "other" {
                let (text, again) = dumped(&mut session, "other").await.expect("dumped");
                assert_eq!(again, tables);
                assert_eq!(restored(from, "back", &text).await.1, tables, "back");
            }
        }
        // By whoever has nothing but a client.
        session.run("ROLLBACK").await.expect("the snapshot ends");
        session.run("CREATE DATABASE script").await.expect("a database");
        let script = text.clone();
        tokio::task::block_in_place(|| from.script("script", &script));
        assert_eq!(hashes(&mut session, "script").await, tables, "by the client");

        // What only one of them can have.
        session.run("ROLLBACK").await.expect("the snapshot ends");
        run(&mut session, &format!("CREATE DATABASE own;; USE own;; CREATE TABLE fine (a int);; {own}")).await;
        let (text, tables) = dumped(&mut session, "own").await.expect("dumped");
        assert_eq!(restored(from, "own_again", &text).await.1, tables);
        let mut session = to.session().await;
        session.run("CREATE DATABASE own").await.expect("a database");
        let error = loaded(&mut session, "own", &text, None).await.expect_err("refused");
        let Some(Refused::Unfit { why }) = find::<Refused>(&error) else { panic!("{error:#}") };
        assert_eq!(why.len(), 3, "{why:?}");
        assert!(why.iter().all(|why| why.starts_with("own.")), "{why:?}");
        assert_eq!(session.value("SHOW TABLES FROM own").await.expect("an answer"), None, "none was made");
        for server in [from, to] {
            let mut session = server.session().await;
            for database in ["site", "same", "other", "back", "script", "own", "own_again"] {
                session.run(&format!("DROP DATABASE IF EXISTS {database}")).await.expect("dropped");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_writers_do_meanwhile_is_not_seen() {
    let servers = servers().await;
    for server in &servers {
        let mut session = server.session().await;
        run(
            &mut session,
            "CREATE DATABASE bank;; USE bank;; CREATE TABLE a_side (id int PRIMARY KEY, x int, pad varchar(200));; \
            CREATE TABLE z_side LIKE a_side;; INSERT INTO a_side SELECT 1, 0, '';; INSERT INTO z_side SELECT 1, 0, ''",
        )
        .await;
        // Enough that reading takes a while.
        for _ in 0..17 {
            run(&mut session, "INSERT INTO a_side SELECT id + (SELECT MAX(id) FROM (SELECT id FROM a_side) AS m), 0, REPEAT('x', 200) FROM (SELECT id FROM a_side) AS s").await;
        }
        let (ended, written) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
        let mut writer = server.session().await;
        run(&mut writer, "USE bank").await;
        // Every transaction moves one from one table to the other, by the rows that are read first and last.
        let write = async {
            while !ended.load(Ordering::Relaxed) {
                run(&mut writer, "START TRANSACTION;; UPDATE a_side SET x = x - 1 WHERE id = 1;; UPDATE z_side SET x = x + 1 WHERE id = 1;; \
                    UPDATE a_side SET x = x - 1 WHERE id = 131072;; UPDATE z_side SET x = x + 1 WHERE id = 1;; COMMIT").await;
                written.fetch_add(1, Ordering::Relaxed);
            }
        };
        let dump = async {
            let (feed, mut reader) = dump::feed();
            let read = spawn_blocking(move || {
                let mut text = Vec::new();
                reader.read_to_end(&mut text).map(|_| text)
            });
            let mut snapshot = Snapshot::begin(&mut session).await.expect("a snapshot");
            let before = written.load(Ordering::Relaxed);
            let hashes = snapshot.hashes("bank").await.expect("hashes");
            let tables = snapshot.write("bank", feed).await.expect("dumped");
            assert!(written.load(Ordering::Relaxed) > before, "nobody wrote meanwhile");
            ended.store(true, Ordering::Relaxed);
            assert_eq!(hashes, tables, "one snapshot for both");
            (read.await.expect("an end").expect("a text"), tables)
        };
        let ((), (text, tables)) = tokio::join!(write, dump);
        let mut session = server.session().await;
        session.run("CREATE DATABASE later").await.expect("a database");
        loaded(&mut session, "later", &text, None).await.unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(hashes(&mut session, "later").await, tables);
        assert_ne!(hashes(&mut session, "bank").await, tables, "it went on");
        let total = session.value("SELECT (SELECT SUM(x) FROM later.a_side) + (SELECT SUM(x) FROM later.z_side)").await;
        assert_eq!(total.expect("an answer").as_deref(), Some("0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn what_cannot_be_dumped_or_loaded_is_said() {
    let [mysql, mariadb] = servers().await;
    for (server, more) in
        [(&mysql, "DO 1"), (&mariadb, "CREATE SEQUENCE numbers;; CREATE TABLE old_rows (a int) WITH SYSTEM VERSIONING")]
    {
        let mut session = server.session().await;
        run(&mut session, "CREATE DATABASE bad;; USE bad;; CREATE TABLE fine (a int);; CREATE TABLE slow (a int) ENGINE=MyISAM;; \
            CREATE TABLE `line\nbreak` (a int);; CREATE TABLE gone (a int);; CREATE VIEW nowhere AS SELECT a FROM gone;; DROP TABLE gone").await;
        run(&mut session, more).await;
        let error = dumped(&mut session, "bad").await.expect_err("refused");
        let Some(Refused::Undumpable { database, why }) = find::<Refused>(&error) else { panic!("{error:#}") };
        assert_eq!(database, "bad");
        let expected = if more == "DO 1" { 3 } else { 5 };
        assert_eq!(why.len(), expected, "{why:?}");
        assert!(why.contains(&"table slow is kept by MyISAM, which has no snapshots".to_owned()), "{why:?}");

        // A table that is altered between the snapshot and its turn.
        session.run("ROLLBACK").await.expect("the snapshot ends");
        run(&mut session, "CREATE DATABASE moving;; USE moving;; CREATE TABLE t (a int);; INSERT INTO t VALUES (1)")
            .await;
        let mut snapshot = Snapshot::begin(&mut session).await.expect("a snapshot");
        let mut other = server.session().await;
        run(&mut other, "ALTER TABLE moving.t ADD COLUMN b int, ADD KEY (a), ALGORITHM=COPY").await;
        let error = snapshot.hashes("moving").await.expect_err("changed");
        assert_eq!(find::<Refused>(&error), Some(&Refused::Changed { what: "t".to_owned() }), "{error:#}");
        let mut session = server.session().await;
        let (text, _) = dumped(&mut session, "moving").await.expect("the second time");

        // Not all of it.
        run(&mut other, "CREATE DATABASE cut;; CREATE DATABASE twice").await;
        let end = text.iter().rposition(|byte| *byte == b'-').expect("a last line");
        let error = loaded(&mut other, "cut", &text[..end - 1], None).await.expect_err("cut");
        assert!(matches!(find::<Refused>(&error), Some(Refused::NoDump { .. })), "{error:#}");
        // There is something already, which stays; and what stands in a row is not told.
        let mut other = server.session().await;
        loaded(&mut other, "twice", &text, None).await.expect("once");
        let error = loaded(&mut other, "twice", &text, None).await.expect_err("twice");
        assert!(matches!(find::<Refused>(&error), Some(Refused::Statement { code: 1050, .. })), "{error:#}");
        let wrong = String::from_utf8(text).expect("UTF-8").replace("(1,NULL)", "('the secret',NULL)");
        let wrong = wrong
            .replace("sql_mode='", "sql_mode='STRICT_ALL_TABLES,")
            .replace("CREATE TABLE `t`", "CREATE TABLE IF NOT EXISTS `t`");
        let error = loaded(&mut other, "twice", wrong.as_bytes(), None).await.expect_err("no number");
        let told = format!("{error:#}");
        assert!(told.contains("rows of `t`") && !told.contains("secret"), "{told}");
    }
}

/// Where what is written goes when nobody wants it.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The most memory that this process has had since it was last asked, in MiB.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a figure");
    let most: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    fs::write("/proc/self/clear_refs", "5").expect("forgotten");
    most >> 10
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn memory_does_not_grow_with_the_tables() {
    // A minute, most of which makes the rows.
    if std::env::var_os("DRILLS").is_none() {
        return;
    }
    let servers = servers().await;
    for server in &servers {
        let mut session = server.session().await;
        database::fill(&mut session, "much", 15).await;
        let begin = Instant::now();
        let hashes = hashes(&mut session, "much").await;
        let hashed = begin.elapsed();
        let idle = most_memory().min(most_memory());
        let begin = Instant::now();
        let (feed, mut reader) = dump::feed();
        let read = spawn_blocking(move || {
            let mut count = Count(0);
            io::copy(&mut reader, &mut count).map(|_| count.0)
        });
        let mut snapshot = Snapshot::begin(&mut session).await.expect("a snapshot");
        let tables = snapshot.write("much", feed).await.expect("dumped");
        let written = begin.elapsed();
        let bytes = read.await.expect("an end").expect("a text");
        assert_eq!(tables, hashes);
        assert!(bytes > 280_000_000, "{bytes} bytes");
        let dumping = most_memory();

        // From the one to the other, through both bridges.
        let begin = Instant::now();
        let ((feed, mut reader), (mut sink, source)) = (dump::feed(), dump::drain());
        let copied = spawn_blocking(move || io::copy(&mut reader, &mut sink));
        let mut other = server.session().await;
        other.run("CREATE DATABASE again").await.expect("a database");
        let mut snapshot = Snapshot::begin(&mut session).await.expect("a snapshot");
        let (wrote, loaded) = tokio::join!(snapshot.write("much", feed), dump::load(&mut other, "again", source, None));
        loaded.unwrap_or_else(|error| panic!("{error:#}"));
        wrote.expect("dumped");
        copied.await.expect("an end").expect("copied");
        let loading = most_memory();
        let rate = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
        eprintln!(
            "{bytes} bytes: hashed {:.0} MB/s, written {:.0} MB/s, copied {:.0} MB/s; {idle}, {dumping}, {loading} MiB",
            rate(hashed),
            rate(written),
            rate(begin.elapsed())
        );
        assert!(dumping < idle + 32 && loading < idle + 48, "{idle} MiB, {dumping} MiB, {loading} MiB");
    }
}

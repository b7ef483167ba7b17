//! What the database drop-in takes for a read, for WordPress's own habit and for something that must be saved, and which
//! wp-content a request sees: asked of the PHP that the lab mounts, in the image that runs it. The rest of both is shown by labs.

#[path = "support/ready.rs"]
mod ready;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// The files of ConfigMap `wordpress-code`.
fn code(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/frontend/11-code.yaml");
    let map: Value = serde_yaml::from_str(&std::fs::read_to_string(file).expect("a manifest")).expect("YAML");
    map["data"][name].as_str().unwrap_or_else(|| panic!("there is no {name}")).to_owned()
}

/// Runs PHP in the lab's image on standard input; what it prints, as JSON.
fn php(image: &str, script: &str) -> Value {
    let mut child = Command::new("docker")
        .args(["run", "--rm", "-i", "--network", "none", "--label", "wplab.dev/test=drop-in", image, "php"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker starts");
    child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// What is said when something is away, as PHP constants, and the drop-in with servers `W` and `R` that answer when they are in `$up`
/// and end statements with the error `$errno`; whom it has asked is in `$asked`.
fn beside_made_up_servers() -> (String, String) {
    let reasons = code("away.php").lines().filter(|line| line.starts_with("const ")).collect::<Vec<_>>().join(" ");
    let connect = "private function connect(string $host): bool {";
    let made_up = "$GLOBALS['asked'] = ($GLOBALS['asked'] ?? '') . $host; return str_contains($GLOBALS['up'], $host);";
    let errno = "private function errno(): int {";
    let database = code("database.php").replace("require_once __DIR__ . '/away.php';", "");
    let database = database.replace(errno, &format!("{errno} return $GLOBALS['errno'] ?? 0;"));
    (reasons, database.replace(connect, &format!("{connect} {made_up}")))
}

/// Statements, whether they change something, and whether that is WordPress's own habit.
const STATEMENTS: &[(&str, bool, bool)] = &[
    ("SELECT option_name FROM wp_options WHERE autoload = 'yes'", false, false),
    ("\n\t\t\tSELECT SQL_CALC_FOUND_ROWS wp_posts.ID FROM wp_posts", false, false),
    ("(SELECT 1) UNION (SELECT 2)", false, false),
    ("/* a plugin's note */ SELECT 1", false, false),
    ("-- a note\nSELECT 1", false, false),
    ("SHOW FULL COLUMNS FROM `wp_posts`", false, false),
    ("DESCRIBE wp_posts", false, false),
    ("SET SESSION sql_mode = ''", false, false),
    ("WITH t AS (SELECT 1) SELECT * FROM t", false, false),
    ("SELECT ID FROM wp_posts WHERE post_content LIKE '%for update%'", false, false),
    ("SELECT ID FROM wp_posts WHERE post_title = 'it\\'s for update'", false, false),
    ("SELECT ID FROM wp_posts FOR UPDATE", true, false),
    ("SELECT 1 INTO OUTFILE '/tmp/x'", true, false),
    ("WITH t AS (SELECT 1 AS id) DELETE FROM wp_posts WHERE ID IN (SELECT id FROM t)", true, false),
    ("SET GLOBAL read_only = 0", true, false),
    ("/*!50000 DELETE */ FROM wp_posts", true, false),
    ("", true, false),
    ("INSERT INTO `wp_comments` (`comment_content`) VALUES ('about wp_options')", true, false),
    ("UPDATE `wp_posts` SET `post_title` = 'wp_options'", true, false),
    ("DELETE FROM `wp_usermeta` WHERE umeta_id = 1", true, false),
    ("CREATE TABLE wp_x (id INT)", true, false),
    ("ALTER TABLE wp_options ADD x INT", true, false),
    ("TRUNCATE wp_options", true, false),
    ("INSERT INTO `wp_options` (`option_name`) VALUES ('_transient_x') ON DUPLICATE KEY UPDATE x = 1", true, true),
    ("INSERT IGNORE INTO `wp_options` ( `option_name` ) VALUES ('cron') /* LOCK */", true, true),
    ("UPDATE `wp_options` SET `option_value` = 'x' WHERE `option_name` = 'cron'", true, true),
    ("DELETE FROM `wp_options` WHERE `option_name` = '_transient_x'", true, true),
    ("INSERT INTO `wp_postmeta` (`post_id`, `meta_key`) VALUES (1, '_oembed_0123')", true, true),
    ("INSERT INTO `wp_posts` (`post_type`) VALUES ('wp_navigation')", true, true),
];

#[test]
#[ignore = "needs Docker"]
fn statements_are_told_apart() {
    let images = ready::images(&["wordpress"]);
    let asked: Vec<&str> = STATEMENTS.iter().map(|(statement, ..)| *statement).collect();
    let asked = json!(asked).to_string().replace('\\', "\\\\").replace('\'', "\\'");
    let database = code("database.php").replace("require_once __DIR__ . '/away.php';", "");
    let script = format!(
        "<?php class wpdb {{ public $options = 'wp_options'; }} ?>{database}
        $class = new ReflectionClass('Wplab_Database');
        $one = $class->newInstanceWithoutConstructor();
        $of = fn($name, $statement) => (fn() => self::$name($statement))->bindTo($one, $class->name)();
        $habit = fn($statement) => (fn() => $this->is_a_habit($statement))->bindTo($one, $class->name)();
        echo json_encode(array_map(fn($s) => [$of('changes', $s), $habit($s)], json_decode('{asked}')));"
    );
    let told = php(&images[0], &script);
    for (index, (statement, changes, habit)) in STATEMENTS.iter().enumerate() {
        assert_eq!(told[index][0], *changes, "{statement} changes something");
        // What is a read is never asked for this.
        assert!(!changes || told[index][1] == *habit, "{statement} is a habit");
    }
}

/// Who is connected to: whether somebody has just noted that the writer is away, whether the request must write, who answers; and
/// who was asked (`W`riter, `R`eader), and what became of it.
const CONNECTIONS: &[(bool, bool, &str, &str, &str)] = &[
    (false, false, "WR", "W", "writer"),
    (false, false, "R", "WR", "reader"),
    (false, false, "", "WRRRRR", "It cannot reach its database at the moment."),
    (true, false, "WR", "R", "reader"),
    // No reader is left, and the writer is back already.
    (true, false, "W", "RRRRRW", "writer"),
    (true, false, "", "RRRRRW", "It cannot reach its database at the moment."),
    (false, true, "W", "W", "writer"),
    (false, true, "R", "W", "It can be read, but at the moment nothing can be saved. Nothing was changed."),
    (true, true, "W", "", "It can be read, but at the moment nothing can be saved. Nothing was changed."),
];

#[test]
#[ignore = "needs Docker"]
fn a_page_is_refused_only_when_nobody_answers() {
    let images = ready::images(&["wordpress"]);
    let (reasons, database) = beside_made_up_servers();
    let cases = json!(CONNECTIONS).to_string();
    let script = format!(
        "<?php {reasons} function wplab_away($why) {{ throw new Exception($why); }}
        class wpdb {{ public $dbhost = 'W'; }} putenv('WPLAB_DB_READ_HOST=R'); ob_start(); ?>{database}
        $class = new ReflectionClass('Wplab_Database');
        $told = [];
        foreach (json_decode('{cases}') as [$noted, $editing, $up, $_, $_]) {{
            $asked = '';
            $noted ? touch('/tmp/wplab-writer-away') : @unlink('/tmp/wplab-writer-away');
            $one = $class->newInstanceWithoutConstructor();
            $connect = function () use ($editing) {{
                $this->editing = $editing;
                $this->db_connect();
                return $this->reading ? 'reader' : 'writer';
            }};
            try {{
                $came = $connect->bindTo($one, $class->name)();
            }} catch (Exception $error) {{
                $came = $error->getMessage();
            }}
            $told[] = [$asked, $came];
        }}
        while (ob_get_level() > 0 && ob_end_clean());
        echo json_encode($told);",
    );
    let told = php(&images[0], &script);
    for (index, case @ (.., asked, came)) in CONNECTIONS.iter().enumerate() {
        assert_eq!((&told[index][0], &told[index][1]), (&json!(asked), &json!(came)), "{case:?}");
    }
}

/// Whether the request must write, who answers a second connection, and statements with what becomes of each (`+` an answer, `?` none,
/// or the number of an error); how many were sent, and what came of it.
type Talk = (bool, &'static str, &'static [(&'static str, &'static str)], usize, &'static str);
const UNCERTAIN: &str =
    "The connection was lost while something was being saved. Please look whether it was before you send it again.";
const INSERT: &str = "INSERT INTO `wp_comments` (`comment_content`) VALUES ('x')";
const SELECT: &str = "SELECT ID FROM wp_posts";
const TALKS: &[Talk] = &[
    (false, "W", &[(SELECT, "?")], 2, "answered"),
    (false, "R", &[(SELECT, "?")], 2, "answered"),
    (true, "W", &[(INSERT, "+"), (SELECT, "?")], 3, "answered"),
    // It may have been done: it is neither sent again nor said to be undone.
    (true, "W", &[(INSERT, "?")], 1, UNCERTAIN),
    (true, "", &[(INSERT, "?")], 1, UNCERTAIN),
    (false, "W", &[(INSERT, "?")], 1, UNCERTAIN),
    (true, "", &[(SELECT, "?")], 1, "It can be read, but at the moment nothing can be saved. Nothing was changed."),
    (true, "", &[(INSERT, "+"), (SELECT, "?")], 2, UNCERTAIN),
    // The first half of a transaction is lost with its connection.
    (true, "W", &[("START TRANSACTION", "+"), (SELECT, "?")], 2, UNCERTAIN),
    (true, "W", &[("START TRANSACTION", "+"), ("COMMIT", "+"), (SELECT, "?")], 4, "answered"),
    // A commit whose cluster fell apart, a server that has become a reader, one that is no part of its cluster, and a mistake.
    (true, "W", &[(INSERT, "1180")], 1, UNCERTAIN),
    (true, "W", &[(INSERT, "1290")], 1, "It can be read, but at the moment nothing can be saved. Nothing was changed."),
    (false, "R", &[(SELECT, "1047")], 2, "answered"),
    (true, "W", &[(INSERT, "1062")], 1, "nothing"),
    // A page's own habit is left out.
    (false, "W", &[("DELETE FROM `wp_options` WHERE `option_name` = '_transient_x'", "?")], 1, "nothing"),
];

#[test]
#[ignore = "needs Docker"]
fn what_may_have_been_saved_is_not_sent_again_and_not_denied() {
    let images = ready::images(&["wordpress"]);
    let (reasons, database) = beside_made_up_servers();
    let talks = json!(TALKS).to_string().replace('\\', "\\\\").replace('\'', "\\'");
    let script = format!(
        "<?php {reasons} function wplab_away($why) {{ throw new Exception($why); }}
        // As WordPress's own: a statement without an answer is sent again where the connection is there again.
        class wpdb {{
            public $dbhost = 'W', $dbh, $last_query, $insert_id, $rows_affected, $options = 'wp_options', $ends = [], $sent = 0;
            function query($query) {{
                $this->last_query = $query;
                $this->sent++;
                $end = array_shift($this->ends);
                $GLOBALS['errno'] = (int) $end;
                if ($end === '?') {{
                    if (!$this->check_connection()) {{
                        return false;
                    }}
                    $this->sent++;
                }}
                return $GLOBALS['errno'] === 0;
            }}
        }}
        putenv('WPLAB_DB_READ_HOST=R'); ob_start(); ?>{database}
        $class = new ReflectionClass('Wplab_Database');
        $told = [];
        foreach (json_decode('{talks}') as [$editing, $up, $statements, $_, $_]) {{
            @unlink('/tmp/wplab-writer-away');
            $one = $class->newInstanceWithoutConstructor();
            (fn() => $this->editing = $editing)->bindTo($one, $class->name)();
            $one->ends = array_column($statements, 1);
            try {{
                foreach ($statements as [$statement, $_]) {{
                    $came = $one->query($statement) ? 'answered' : 'nothing';
                }}
            }} catch (Exception $error) {{
                $came = $error->getMessage();
            }}
            $told[] = [$one->sent, $came];
        }}
        while (ob_get_level() > 0 && ob_end_clean());
        echo json_encode($told);",
    );
    let told = php(&images[0], &script);
    for (index, talk @ (.., sent, came)) in TALKS.iter().enumerate() {
        assert_eq!((&told[index][0], &told[index][1]), (&json!(sent), &json!(came)), "{talk:?}");
    }
}

/// Statements that change nothing, and whether a reader must not be asked them.
const ASKED_OF_READERS: &[(&str, bool)] = &[
    ("SELECT option_name FROM wp_options WHERE autoload = 'yes'", false),
    ("SELECT SQL_CALC_FOUND_ROWS wp_posts.ID FROM wp_posts", false),
    ("SELECT FOUND_ROWS()", false),
    ("SELECT @@version, @@global.read_only", false),
    ("SELECT ID FROM wp_posts WHERE post_author = 'me@example.org'", false),
    ("SHOW TABLES LIKE 'wp_posts'", false),
    ("SELECT GET_LOCK('cron', 0)", true),
    ("SELECT LAST_INSERT_ID()", true),
    ("SELECT ID FROM wp_posts FOR SHARE", true),
    ("SELECT ID FROM wp_posts LOCK IN SHARE MODE", true),
    ("SELECT @row := @row + 1 FROM wp_posts", true),
    ("SET SESSION sql_mode = ''", true),
    ("DO 1", true),
    ("INSERT INTO `wp_comments` (`comment_content`) VALUES ('x')", true),
];

/// What a request brings: its method, a cookie, and where pages are read; and whether it begins at a reader.
const BEGINNINGS: &[(&str, &str, &str, bool)] = &[
    ("GET", "", "readers", true),
    ("HEAD", "wp_lang", "readers", true),
    ("GET", "", "writer", false),
    ("GET", "wplab_wrote", "readers", false),
    ("GET", "wordpress_logged_in_0123", "readers", false),
    ("GET", "comment_author_0123", "readers", false),
    ("POST", "", "readers", false),
];

/// A note that readers are away, who answers, statements with what becomes of each (`+` an answer, `?` none); whom each answered one was
/// answered by, how the request is counted, and what its answer says.
type Split = (bool, &'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);
const HABIT: &str = "UPDATE `wp_options` SET `option_value` = 'x' WHERE `option_name` = 'cron'";
const SPLITS: &[Split] = &[
    (false, "WR", &[(SELECT, "+"), (SELECT, "+")], "RR", "reader"),
    // From the first change on everything is the writer's, also reads.
    (false, "WR", &[(SELECT, "+"), (HABIT, "+"), (SELECT, "+")], "RWW", "moved"),
    (false, "WR", &[(SELECT, "+"), ("START TRANSACTION", "+"), (SELECT, "+"), ("COMMIT", "+")], "RWWW", "moved"),
    // Readers that are away cost one request a second, and the next ones nothing.
    (false, "W", &[(SELECT, "+")], "W", "writer"),
    (true, "WR", &[(SELECT, "+")], "W", "writer"),
    // One that is lost in the middle of a page is asked no more.
    (false, "WR", &[(SELECT, "+"), (SELECT, "?"), (SELECT, "+")], "RWW", "moved"),
    (false, "R", &[(SELECT, "+"), (SELECT, "?"), (SELECT, "+")], "RRR", "read-only"),
    // Without a writer nobody notices, as long as nothing is to be saved.
    (false, "R", &[(SELECT, "+")], "R", "reader"),
    (false, "R", &[(SELECT, "+"), (HABIT, "+"), (SELECT, "+")], "RR", "read-only"),
    (false, "R", &[(SELECT, "+"), (INSERT, "+")], "R", "refused"),
];

#[test]
#[ignore = "needs Docker"]
fn pages_begin_at_a_reader_and_end_at_the_writer_once_something_is_saved() {
    let images = ready::images(&["wordpress"]);
    let (reasons, database) = beside_made_up_servers();
    let database = database.replace("'/run/wplab'", "'/tmp/counts'");
    let quoted = |value: Value| value.to_string().replace('\\', "\\\\").replace('\'', "\\'");
    let asked: Vec<&str> = ASKED_OF_READERS.iter().map(|(statement, _)| *statement).collect();
    let (asked, begin, splits) = (quoted(json!(asked)), quoted(json!(BEGINNINGS)), quoted(json!(SPLITS)));
    let script = format!(
        "<?php {reasons} function wplab_away($why) {{ throw new Exception($why); }}
        class wpdb {{
            public $dbhost = 'W', $dbh, $last_query, $insert_id, $rows_affected, $options = 'wp_options', $ends = [], $by = '';
            function query($query) {{
                $this->last_query = $query;
                if (array_shift($this->ends) === '?' && !$this->check_connection()) {{
                    return false;
                }}
                $this->by .= substr($GLOBALS['asked'], -1);
                return 1;
            }}
        }}
        putenv('WPLAB_DB_READ_HOST=R'); mkdir('/tmp/counts'); ob_start(); ?>{database}
        $class = new ReflectionClass('Wplab_Database');
        $one = $class->newInstanceWithoutConstructor();
        $needs = fn($s) => (fn() => self::needs_the_writer($s))->bindTo($one, $class->name)();
        $told = [array_map($needs, json_decode('{asked}')), [], []];
        foreach (json_decode('{begin}') as [$method, $cookie, $reads, $_]) {{
            putenv(\"WPLAB_READS=$reads\");
            $_SERVER = ['REQUEST_METHOD' => $method];
            $_COOKIE = ['wordpress_test_cookie' => '1'] + ($cookie === '' ? [] : [$cookie => '1']);
            $told[1][] = (fn() => !self::edits() && self::needs_nothing_fresh())->bindTo($one, $class->name)();
        }}
        foreach (json_decode('{splits}') as [$noted, $up, $statements, $_, $_]) {{
            $asked = '';
            array_map('unlink', array_merge(glob('/tmp/wplab-*'), glob('/tmp/counts/*')));
            $noted && touch('/tmp/wplab-readers-away');
            $one = $class->newInstanceWithoutConstructor();
            (function () {{
                [$this->editing, $this->splitting] = [false, true];
                $this->db_connect();
            }})->bindTo($one, $class->name)();
            $one->ends = array_column($statements, 1);
            try {{
                foreach ($statements as [$statement, $_]) {{
                    $one->query($statement);
                }}
            }} catch (Exception $error) {{
            }}
            $one->count_request();
            $told[2][] = [$one->by, implode(array_map('basename', glob('/tmp/counts/*')))];
        }}
        while (ob_get_level() > 0 && ob_end_clean());
        echo json_encode($told);",
    );
    let told = php(&images[0], &script);
    for (index, (statement, writer)) in ASKED_OF_READERS.iter().enumerate() {
        assert_eq!(told[0][index], *writer, "{statement}");
    }
    for (index, request) in BEGINNINGS.iter().enumerate() {
        assert_eq!(told[1][index], request.3, "{request:?}");
    }
    for (index, split @ (.., by, way)) in SPLITS.iter().enumerate() {
        assert_eq!((&told[2][index][0], &told[2][index][1]), (&json!(by), &json!(way)), "{split:?}");
    }
}

/// Requests (method, address, cookie or header, whether the shared folder is away), and whether they see the shared folder.
const REQUESTS: &[(&str, &str, &str, bool, bool)] = &[
    ("GET", "/", "", false, false),
    ("POST", "/wp-comments-post.php", "", false, false),
    ("GET", "/wp-admin/", "", false, false),
    ("GET", "/", "wordpress_logged_in_0", false, false),
    ("GET", "/2026/11/30/a-wp-admin-story/", "wordpress_logged_in_0", false, false),
    ("GET", "/wp-admin/plugins.php", "wordpress_logged_in_0", false, true),
    ("POST", "/", "wordpress_logged_in_0", false, true),
    ("GET", "/wp-json/wp/v2/plugins", "wordpress_logged_in_0", false, true),
    ("GET", "/index.php?rest_route=/wp/v2/themes", "Authorization", false, true),
    ("POST", "/index.php?rest_route=/wp/v2/posts/7", "wordpress_logged_in_0", false, false),
    (
        "POST",
        "/index.php?_locale=user&rest_route=%2Fwp%2Fv2%2Fpages%2F7%2Fautosaves",
        "wordpress_logged_in_0",
        false,
        false,
    ),
    ("PUT", "/wp-json/wp/v2/posts/7?_locale=user", "wordpress_logged_in_0", false, false),
    ("POST", "/wp-json/wp/v2/posts", "Authorization", false, false),
    ("POST", "/wp-json/wp/v2/media", "wordpress_logged_in_0", false, true),
    ("POST", "/wp-json/wp/v2/posts?preview=true", "wordpress_logged_in_0", false, true),
    ("POST", "/wp-json/wp/v2/posts-of-a-plugin", "wordpress_logged_in_0", false, true),
    ("POST", "/wp-json/batch/v1?with=/wp-json/wp/v2/posts", "wordpress_logged_in_0", false, true),
    ("POST", "/?rest_route[]=/wp/v2/posts", "wordpress_logged_in_0", false, true),
    ("POST", "/wp-admin/update.php?rest_route=/wp/v2/posts", "wordpress_logged_in_0", false, true),
    ("POST", "/wp-admin/admin-ajax.php", "wordpress_logged_in_0", false, true),
    ("GET", "/wp-admin/admin-ajax.php?action=rest-nonce", "wordpress_logged_in_0", false, false),
    ("GET", "/wp-admin/update.php?action=heartbeat", "wordpress_logged_in_0", false, true),
    ("GET", "/?wp_scrape_key=1&wp_scrape_nonce=2", "wordpress_logged_in_0", false, true),
    ("GET", "/?p=1&preview=true", "wordpress_logged_in_0", false, true),
    ("GET", "/?customize_changeset_uuid=1", "wordpress_logged_in_0", false, true),
    ("POST", "/wp-admin/admin-ajax.php", "wordpress_logged_in_0", true, false),
];

#[test]
#[ignore = "needs Docker"]
fn who_may_change_code_sees_the_shared_folder_while_it_answers() {
    let images = ready::images(&["wordpress"]);
    // On the command line nobody is asked, and nothing may be defined twice.
    let content = code("content.php")
        .replace("PHP_SAPI === 'cli'", "false")
        .replace("is_file('/usr/src/wordpress/wp-content/.wplab-away')", "$GLOBALS['away']")
        .replace("define('DISALLOW_FILE_MODS', true);", "");
    let requests = json!(REQUESTS).to_string();
    let script = format!(
        "{content}
        putenv('WPLAB_SHARED=/mnt/wp-content');
        $told = [];
        foreach (json_decode('{requests}') as [$method, $address, $known, $away]) {{
            $_SERVER = ['REQUEST_METHOD' => $method, 'REQUEST_URI' => $address];
            $_SERVER['HTTP_AUTHORIZATION'] = $known === 'Authorization' ? 'Basic x' : '';
            $_COOKIE = ['wordpress_test_cookie' => '1', $known => '1'];
            parse_str(explode('?', $address, 2)[1] ?? '', $_GET);
            $_REQUEST = $_GET;
            $told[] = wplab_shared_content() !== null;
        }}
        echo json_encode($told);"
    );
    let told = php(&images[0], &script);
    for (index, request) in REQUESTS.iter().enumerate() {
        assert_eq!(told[index], request.4, "{request:?}");
    }
}

//! What a page of a lab costs a visitor, against the same image with everything on a local disk and a database that is asked
//! without TLS: two containers of the engine's beside the lab. Both are asked in turn, so that a slow minute of the machine
//! meets both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::ListParams;
use serde_json::Value;

use crate::{in_turn, lab::Lab};

/// How long the local site may take to be there.
const PATIENCE: Duration = Duration::from_secs(120);
/// Label of everything that is made here but the lab.
const LABEL: &str = "wplab.dev/test=page";
const NAME: &str = "wplab-bench-page";

/// The local site's wp-config.php: as the lab's, but for secrets, TLS and where wp-content is.
const CONFIG: &str = r#"<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', 'bench');
define('DB_HOST', 'db');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';
foreach (['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT'] as $key) {
    define($key, $key);
}
define('WP_HOME', getenv('SITE'));
define('WP_SITEURL', getenv('SITE'));
define('AUTOMATIC_UPDATER_DISABLED', true);
define('DISABLE_WP_CRON', true);
if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
"#;

/// As the lab's installer does it.
const INSTALL: &str = r#"<?php
define('WP_INSTALLING', true);
$_SERVER += ['HTTP_HOST' => '127.0.0.1', 'SERVER_NAME' => '127.0.0.1', 'REQUEST_URI' => '/', 'REQUEST_METHOD' => 'GET', 'SERVER_PROTOCOL' => 'HTTP/1.1'];
$_SERVER['PHP_SELF'] = '/index.php';
function wp_mail(): bool {
    return true;
}
require '/usr/src/wordpress/wp-config.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install(getenv('TITLE'), 'admin', 'admin@wplab.example', true, '', 'bench');
update_option('permalink_structure', '/%year%/%monthnum%/%day%/%postname%/');
delete_option('rewrite_rules');
echo 'installed';
"#;

const ACCOUNTS: &str = "CREATE DATABASE wordpress CHARACTER SET utf8mb4;\nCREATE USER wordpress@'%' IDENTIFIED BY 'bench';\nGRANT ALL ON wordpress.* TO wordpress@'%';\n";

const DATABASE: &str = "mysqld --no-defaults --initialize-insecure --datadir=/tmp/data && \
    exec mysqld --no-defaults --datadir=/tmp/data --socket=/tmp/mysqld.sock --pid-file=/tmp/mysqld.pid --mysqlx=OFF --init-file=/etc/bench/accounts.sql";

/// `pairs` requests of each side by one visitor, then blocks of several; prints both sides and their ratio.
pub(crate) fn measure(pairs: usize) {
    let lab = Lab::new(NAME);
    let url = lab.up(&[]).assert_code(0).json()["url"].as_str().expect("a URL").to_owned();
    let local = Local::start(&lab);
    let sides = [url.as_str(), local.url.as_str()];
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
    in_turn::compare(&lab, ["lab", "local"], pairs, async |side| {
        let (url, begin) = (sides[side], Instant::now());
        let page = client.get(url).send().await.expect("the site answers");
        assert_eq!(page.status(), 200, "{url}");
        assert!(page.text().await.expect("a body").contains("</html>"), "{url} sends whole pages");
        begin.elapsed().as_secs_f64() * 1000.0
    });
}

/// The local site; gone when dropped.
struct Local {
    url: String,
    _folder: tempfile::TempDir,
}

impl Local {
    fn start(lab: &Lab) -> Local {
        remove();
        let folder = tempfile::tempdir().expect("a folder");
        let config = lab_config();
        let php = config["php.ini"].as_str().expect("settings");
        // The authority of the lab's database is not mounted here.
        let php: Vec<&str> = php.lines().filter(|line| !line.starts_with("openssl.cafile")).collect();
        let text = |name: &str| config[name].as_str().unwrap_or_else(|| panic!("there is no {name}")).to_owned();
        let files = [
            ("php.ini", php.join("\n")),
            ("ports.conf", text("ports.conf")),
            ("000-default.conf", text("000-default.conf")),
            ("wp-config.php", CONFIG.to_owned()),
            ("install.php", INSTALL.to_owned()),
            ("accounts.sql", ACCOUNTS.to_owned()),
        ];
        let at = |name: &str| -> PathBuf { folder.path().join(name) };
        for (name, text) in &files {
            fs::write(at(name), text).expect("written");
        }
        // For the user that the container has.
        docker_quietly(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path()));
        let (site, database) = images(lab);
        docker(&["network", "create", "--label", LABEL, NAME]);
        let mount = |from: &str, to: &str| format!("{}:{to}:ro", at(from).display());
        let (db, web) = (format!("{NAME}-db"), format!("{NAME}-web"));
        let accounts = mount("accounts.sql", "/etc/bench/accounts.sql");
        let db_args = [
            "run",
            "-d",
            "--name",
            &db,
            "--label",
            LABEL,
            "--network",
            NAME,
            "--network-alias",
            "db",
            "--user",
            "mysql",
        ];
        docker(&[&db_args[..], &["-v", &accounts, "--entrypoint", "sh", &database, "-c", DATABASE]].concat());
        let port = free_port();
        let (url, published) = (format!("http://127.0.0.1:{port}"), format!("127.0.0.1:{port}:8080"));
        let mounts = [
            mount("php.ini", "/etc/bench/php/bench.ini"),
            mount("ports.conf", "/etc/apache2/ports.conf"),
            mount("000-default.conf", "/etc/apache2/sites-enabled/000-default.conf"),
            mount("wp-config.php", "/usr/src/wordpress/wp-config.php"),
            mount("install.php", "/etc/bench/install.php"),
        ];
        let (site_url, title) = (format!("SITE={url}"), format!("TITLE={NAME}"));
        let mut args = vec!["run", "-d", "--name", &web, "--label", LABEL, "--network", NAME, "-p", &published];
        args.extend(["-e", "PHP_INI_SCAN_DIR=:/etc/bench/php", "-e", &site_url, "-e", &title]);
        args.extend(mounts.iter().flat_map(|mount| ["-v", mount.as_str()]));
        args.extend([site.as_str(), "apache2-foreground"]);
        docker(&args);
        let begin = Instant::now();
        // Without its database WordPress ends as if all were well.
        let install = || Command::new("docker").args(["exec", &web, "php", "/etc/bench/install.php"]).output();
        while !install().is_ok_and(|done| done.stdout.ends_with(b"installed")) {
            assert!(begin.elapsed() < PATIENCE, "WordPress cannot be installed on the local disk");
            std::thread::sleep(Duration::from_millis(500));
        }
        Local { url, _folder: folder }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        remove();
    }
}

/// ConfigMap `wordpress-config`: Apache and PHP are set as the lab's.
fn lab_config() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/frontend/10-config.yaml");
    let map: Value = serde_yaml::from_str(&fs::read_to_string(file).expect("a manifest")).expect("YAML");
    map["data"].clone()
}

/// The images of the lab's site and database.
fn images(lab: &Lab) -> (String, String) {
    let sites: Vec<Deployment> = lab.list_in("wplab", &ListParams::default().fields("metadata.name=wordpress"));
    let sets: Vec<StatefulSet> = lab.list_in("wplab", &ListParams::default().fields("metadata.name=db"));
    let site = sites.into_iter().next().and_then(|d| d.spec?.template.spec).expect("Deployment wordpress");
    let members = sets.into_iter().next().and_then(|s| s.spec?.template.spec).expect("StatefulSet db");
    let image = |pod: k8s_openapi::api::core::v1::PodSpec| pod.containers[0].image.clone().expect("an image");
    (image(site), image(members))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn docker(args: &[&str]) {
    let done = Command::new("docker").args(args).stdout(Stdio::null()).status().expect("docker starts");
    assert!(done.success(), "docker {}", args.join(" "));
}

fn docker_quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What an earlier run or this one has made.
fn remove() {
    for container in [format!("{NAME}-web"), format!("{NAME}-db")] {
        docker_quietly(Command::new("docker").args(["rm", "-f", "-v", &container]));
    }
    docker_quietly(Command::new("docker").args(["network", "rm", NAME]));
}

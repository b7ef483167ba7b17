//! Contracts of images: the table that people read, and the look at real images: the package-built ones, stand-ins with one
//! property of a public image each (which a cure in the manifests must make harmless), and images that are broken.

#[path = "support/engine_alone.rs"]
mod engine;
#[path = "support/ready.rs"]
mod ready;

use engine::Docker;
use ready::wplab;
use serde_json::Value;
use wplab::inside::inspect;

/// The table in the README is the one that is looked at.
#[test]
fn the_readme_has_the_contracts_as_they_are_checked() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/images/README.md");
    let text = std::fs::read_to_string(&path).expect("a README");
    let (before, rest) = text.split_once("<!-- contracts -->\n").expect("the beginning of the table");
    let (table, after) = rest.split_once("<!-- end of contracts -->\n").expect("the end of the table");
    let wanted = inspect::as_markdown();
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
        let text = format!("{before}<!-- contracts -->\n{wanted}<!-- end of contracts -->\n{after}");
        return std::fs::write(path, text).expect("written");
    }
    assert!(table == wanted, "the README's table is another one; run the test again with GOLDEN=update:\n{wanted}");
}

/// What a look at an image found.
struct Look {
    code: Option<i32>,
    lines: Value,
    stderr: String,
}

impl Look {
    fn at(role: &str, image: &str) -> Look {
        let (code, stdout, stderr) = wplab(&["images", "check", role, "--image", image, "-o", "json"]);
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}\n{stderr}"));
        Look { code, lines: report[0]["report"]["lines"].clone(), stderr }
    }

    #[track_caller]
    fn keeps(&self) {
        assert_eq!(self.code, Some(0), "{:#}\n{}", self.lines, self.stderr);
    }

    /// It breaks just this line, and says why.
    #[track_caller]
    fn breaks(&self, line: &str, why: &str) {
        assert_eq!(self.code, Some(1), "{:#}\n{}", self.lines, self.stderr);
        let lines = self.lines.as_array().expect("lines");
        let broken: Vec<_> = lines.iter().filter(|seen| seen["verdict"] == "breaks").collect();
        assert!(broken.len() == 1 && broken[0]["line"] == line, "{broken:#?}");
        let said = broken[0]["seen"].as_str().expect("a reason");
        assert!(said.contains(why), "{said:?} does not say {why:?}");
    }
}

/// A program that is put in another's place, which goes on under the name with `.real` behind it.
fn in_place_of(program: &str, script: &str) -> String {
    let script = script.replace('\n', "\\n").replace('\'', "'\\''");
    format!(
        "RUN p=$(command -v {program}) && mv \"$p\" \"$p.real\" && printf '#!/bin/sh\\n{script}\\nexec {program}.real \"$@\"\\n' > \"$p\" && chmod 755 \"$p\"\n"
    )
}

#[test]
#[ignore = "needs Docker"]
fn what_is_built_from_packages_keeps_its_contract_and_nothing_is_left_behind() {
    let roles = [
        "node",
        "mysql",
        "mariadb",
        "etcd",
        "wordpress",
        "nfs",
        "metrics-server",
        "prometheus",
        "mysqld-exporter",
        "versitygw",
    ];
    ready::images(&roles);
    let docker = Docker::new();
    let before = docker.everything();
    let (code, stdout, stderr) = wplab(&[&["images", "check"], &roles[..]].concat());
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    assert!(stdout.ends_with("all 10 images keep their contracts\n"), "{stdout}");
    let (_, again, quick) = wplab(&[&["images", "check"], &roles[..]].concat());
    assert!(again == stdout && !quick.contains("holding the image"), "it is not remembered: {quick}");
    assert_eq!(docker.everything(), before);
}

#[test]
#[ignore = "needs Docker"]
fn a_server_without_libnuma_and_with_a_closed_folder_for_files_will_do() {
    let mysql = &ready::images(&["mysql"])[0];
    // As builds say that do not know an option; what is read before the options proper begins at no line's start.
    let refuses = "for f in /etc/wplab/mysql/*.cnf; do\\nif grep -q ^innodb_numa_interleave $f; then\\necho \"[ERROR] unknown variable innodb_numa_interleave=OFF.\" >&2; exit 7\\nfi; done";
    let docker = Docker::new();
    let image = docker.build("numa", &format!("FROM {mysql}\n{}", in_place_of("mysqld", refuses)));
    Look::at("mysql", &image.name).keeps();
    let image = docker.build("files", &format!("FROM {mysql}\nRUN rm -rf /var/lib/mysql-files\n"));
    Look::at("mysql", &image.name).keeps();
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_refuses_an_option_or_lacks_a_plugin_breaks_the_contract() {
    let mysql = &ready::images(&["mysql"])[0];
    let docker = Docker::new();
    let refuses = "for f in /etc/wplab/mysql/*.cnf; do\\nif grep -q ^sync_binlog $f; then\\necho \"[ERROR] unknown variable sync_binlog=1.\" >&2; exit 7\\nfi; done";
    let image = docker.build(
        "option",
        &format!(
            "FROM {mysql}\n{}",
            in_place_of(
                "mysqld",
                &format!("case \"$*\" in *validate-config*) ;; *) exec mysqld.real \"$@\";; esac\\n{refuses}")
            )
        ),
    );
    Look::at("mysql", &image.name).breaks("options", "unknown variable sync_binlog");
    let image = docker.build("plugin", &format!("FROM {mysql}\nRUN rm /usr/lib/mysql/plugin/mysql_clone.so\n"));
    Look::at("mysql", &image.name).breaks("plugins", "mysql_clone.so not in /usr/lib/mysql/plugin");
}

#[test]
#[ignore = "needs Docker"]
fn a_site_with_more_themes_plugins_and_a_configuration_of_its_own_will_do() {
    let wordpress = &ready::images(&["wordpress"])[0];
    let more = "RUN cd /usr/src/wordpress && mkdir -p wp-content/themes/another wp-content/plugins/akismet \\\n && touch wp-content/themes/another/style.css wp-content/plugins/akismet/akismet.php \\\n && echo '<?php echo 1;' > wp-config-docker.php && chown -R www-data:www-data .\n";
    let docker = Docker::new();
    let image = docker.build("themes", &format!("FROM {wordpress}\n{more}"));
    Look::at("wordpress", &image.name).keeps();
}

#[test]
#[ignore = "needs Docker"]
fn a_site_without_its_modules_or_with_an_owner_of_its_own_breaks_the_contract() {
    let wordpress = &ready::images(&["wordpress"])[0];
    let docker = Docker::new();
    let image = docker.build("gd", &format!("FROM {wordpress}\nRUN rm /etc/php/*/*/conf.d/*gd.ini\n"));
    Look::at("wordpress", &image.name).breaks("php", "gd not listed");
    let image = docker.build("owner", &format!("FROM {wordpress}\nRUN chown root /usr/src/wordpress/wp-load.php\n"));
    Look::at("wordpress", &image.name).breaks("owner", "wp-load.php belongs to user 0 and not to 33");
    let image = docker.build("config", &format!("FROM {wordpress}\nRUN touch /usr/src/wordpress/wp-config.php && chown 33 /usr/src/wordpress/wp-config.php\n"));
    Look::at("wordpress", &image.name).breaks("unconfigured", "wp-config.php is there");
}

#[test]
#[ignore = "needs Docker"]
fn a_file_server_with_other_folders_of_its_own_will_do() {
    let nfs = &ready::images(&["nfs"])[0];
    let docker = Docker::new();
    // The pid file that this build names by itself is in a folder that is not there.
    let pid = "case \"$*\" in *\" -p \"*) ;; *) set -- \"$@\" -p /usr/local/var/run/ganesha/ganesha.pid ;; esac";
    let image = docker.build("pid", &format!("FROM {nfs}\n{}", in_place_of("ganesha.nfsd", pid)));
    Look::at("nfs", &image.name).keeps();
    // This build keeps what it recovers from in what it exports, unless it is told where.
    let recovery = "if ! grep -q RecoveryRoot /etc/wplab/ganesha.conf; then\\nsed -i \"s,^NFSv4 {,NFSv4 { RecoveryRoot = /export;,\" /etc/wplab/ganesha.conf\\nfi";
    let image = docker.build("recovery", &format!("FROM {nfs}\n{}", in_place_of("ganesha.nfsd", recovery)));
    Look::at("nfs", &image.name).keeps();
    // An older release does not know a parameter, says so, and goes on.
    let older =
        "echo \"config :CRIT :Config File (/etc/wplab/ganesha.conf:8): Unknown parameter (allow_set_io_flusher_fail)\"";
    let image = docker.build("older", &format!("FROM {nfs}\n{}", in_place_of("ganesha.nfsd", older)));
    Look::at("nfs", &image.name).keeps();
}

#[test]
#[ignore = "needs Docker"]
fn a_file_server_without_its_backend_breaks_the_contract() {
    let nfs = &ready::images(&["nfs"])[0];
    let docker = Docker::new();
    let image = docker.build("vfs", &format!("FROM {nfs}\nRUN rm $(find / -xdev -name 'libfsalvfs.so*')\n"));
    Look::at("nfs", &image.name).breaks("export", "");
    let strange = "echo \"config :CRIT :Config File (/etc/wplab/ganesha.conf:8): Unknown parameter (Graceless)\"";
    let image = docker.build("strange", &format!("FROM {nfs}\n{}", in_place_of("ganesha.nfsd", strange)));
    Look::at("nfs", &image.name).breaks("export", "Unknown parameter (Graceless)");
}

#[test]
#[ignore = "needs Docker"]
fn an_image_that_is_something_else_says_what_it_lacks() {
    let nfs = &ready::images(&["nfs"])[0];
    let look = Look::at("mysql", nfs);
    assert_eq!(look.code, Some(1), "{}", look.stderr);
    let broken = look.lines.as_array().expect("lines").iter().filter(|seen| seen["verdict"] == "breaks").count();
    assert_eq!(broken, 5, "{:#}", look.lines);
    let (code, _, stderr) = wplab(&["images", "check", "mysql", "nfs", "--image", nfs]);
    assert_eq!(code, Some(2), "{stderr}");
    let (code, _, stderr) = wplab(&["images", "check", "mysql", "--image", "no-such-image:1"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("Docker has no image no-such-image:1"), "{stderr}");
}

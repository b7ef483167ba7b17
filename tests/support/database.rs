//! Real MySQL and MariaDB servers for tests: those of the images that labs use, each in a container without a network, reached through
//! the socket in a folder of this machine.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use wplab::{
    run::wait::{self, Look},
    wire::sql::{Session, Way},
};

const LABEL: &str = "wplab.dev/test=dump";
const USER: &str = "tester";
const PASSWORD: &str = "not-very-secret";
const OPTIONS: &str = "--user=mysql --socket=/run/test/socket --skip-networking --skip-log-bin --init-file=/run/test/init.sql \
                       --max-allowed-packet=64M --innodb-flush-log-at-trx-commit=2";

/// A server; gone when dropped.
pub(crate) struct Server {
    name: String,
    #[allow(dead_code, reason = "for scripts")]
    client: &'static str,
    folder: TempDir,
}

impl Server {
    /// As whom a client of the image comes to the server, in a command of [`Server::shell`].
    #[allow(dead_code, reason = "for measurements")]
    pub(crate) const ACCOUNT: &str = "-S /run/test/socket -u tester --default-character-set=utf8mb4";
    /// The same for a client on this machine.
    #[allow(dead_code, reason = "for measurements")]
    pub(crate) const CREDENTIALS: [&str; 4] = ["-u", USER, "-p", PASSWORD];

    /// The folder that the container has as `/run/test`, with the server's socket.
    #[allow(dead_code, reason = "for measurements")]
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command in the container.
    #[allow(dead_code, reason = "for measurements")]
    pub(crate) fn shell(&self, command: &str) {
        docker(&["exec", "-e", &format!("MYSQL_PWD={PASSWORD}"), &self.name, "sh", "-c", command], b"");
    }

    /// Starts the server of this image, which is one of the role `mysql` or `mariadb`.
    pub(crate) async fn start(role: &'static str, image: &str) -> Server {
        Server::start_with(role, image, "").await
    }

    /// The same with more options.
    pub(crate) async fn start_with(role: &'static str, image: &str, more: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        // The server has a user of its own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("its mode");
        let account = format!(
            "CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n"
        );
        fs::write(folder.path().join("init.sql"), account).expect("written");
        let (begin, client) = match role {
            "mysql" => ("mysqld --initialize-insecure --user=mysql && exec mysqld --mysqlx=OFF", "mysql"),
            _ => ("mariadb-install-db --user=mysql --skip-test-db >/dev/null && exec mariadbd", "mariadb"),
        };
        let id = folder.path().file_name().expect("a name").to_string_lossy().replace('.', "");
        let server = Server { name: format!("wplab-test-dump-{role}-{id}"), client, folder };
        let mount = format!("{}:/run/test", server.folder.path().display());
        let command = format!("{begin} {OPTIONS} {more}");
        let args = ["run", "-d", "--name", &server.name, "--label", LABEL, "--network", "none", "-v", &mount];
        docker(&[&args[..], &["--entrypoint", "sh", image, "-c", &command]].concat(), b"");
        let way = server.way();
        wait::until(
            role,
            Duration::from_secs(120),
            Duration::from_millis(200),
            |_| {},
            || async {
                Ok(match Session::connect(&way, USER, PASSWORD, None, Duration::from_secs(5)).await {
                    Ok(_) => Look::Ready(()),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                })
            },
        )
        .await
        .expect("it starts");
        server
    }

    fn way(&self) -> Way {
        Way::Socket(self.folder.path().join("socket"))
    }

    pub(crate) async fn session(&self) -> Session {
        self.session_of(USER).await
    }

    /// A session of another account, which has the same password.
    pub(crate) async fn session_of(&self, user: &str) -> Session {
        let session = Session::connect(&self.way(), user, PASSWORD, None, Duration::from_secs(60)).await;
        session.expect("a session")
    }

    /// Runs a script by the client of the image, as a person would who has no wplab.
    #[allow(dead_code, reason = "for dumps of other tools")]
    pub(crate) fn script(&self, database: &str, script: &[u8]) {
        let password = format!("MYSQL_PWD={PASSWORD}");
        let args = ["exec", "-i", "-e", &password, &self.name, self.client, "-S", "/run/test/socket", "-u", USER];
        docker(&[&args[..], &["--default-character-set=utf8mb4", database]].concat(), script);
    }
}

/// Makes a database with posts and many small rows, as a site has them: at 15 doublings 300 MB of text.
#[allow(dead_code, reason = "for dumps")]
pub(crate) async fn fill(session: &mut Session, database: &str, doublings: u32) {
    let begin = [
        &format!("CREATE DATABASE {database}"),
        &format!("USE {database}"),
        "CREATE TABLE posts (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, author bigint unsigned, written datetime, content longtext, title text, name varchar(200), KEY (name), KEY (author))",
        "CREATE TABLE meta (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, post bigint unsigned, k varchar(255), v longtext, KEY (post))",
        "INSERT INTO posts (author, written, content, title, name) VALUES (1, '2026-01-01 10:20:30', REPEAT('<p>It\\'s a \"paragraph\" of some length, and that\\'s that.</p>\\n', 82), 'A title', 'a-title')",
        "INSERT INTO meta (post, k, v) VALUES (1, '_edit_last', 'a:1:{s:5:\"width\";i:100;}')",
    ];
    let posts = "INSERT INTO posts (author, written, content, title, name) SELECT author, written, content, title, CONCAT('a-title-', id) FROM posts";
    let rows = "INSERT INTO meta (post, k, v) SELECT id, k, v FROM meta";
    let more = std::iter::repeat_n(posts, doublings as usize).chain(std::iter::repeat_n(rows, doublings as usize + 6));
    for statement in begin.into_iter().chain(more) {
        session.run(statement).await.unwrap_or_else(|error| panic!("{error:#}: {statement}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let quietly = |args: &[&str]| drop(Command::new("docker").args(args).output());
        // What the server made in the folder belongs to its user.
        quietly(&["exec", &self.name, "sh", "-c", "rm -f /run/test/socket*"]);
        quietly(&["rm", "-f", "-v", &self.name]);
    }
}

fn docker(args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("docker");
    let mut process = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker starts");
    // Who ends early says why.
    let _ = process.stdin.take().expect("a pipe").write_all(input);
    let output = process.wait_with_output().expect("an end");
    assert!(output.status.success(), "docker {}: {}", args[0], String::from_utf8_lossy(&output.stderr));
    output
}

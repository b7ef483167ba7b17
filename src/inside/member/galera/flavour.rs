//! What differs between the servers that speak Galera, as data. Their option files are `manifests/database/FLAVOUR-*.cnf`.
//!
//! What is relied on, of the public images and of the package-built one alike, is in `lab/images/README.md`. Nothing of an
//! image's own entrypoint, configuration or shell is used.

use anyhow::Result;

use crate::{inside::member::files::fingerprint, wire::sql::literal};

/// One flavour.
#[derive(Debug)]
pub(super) struct Flavour {
    /// As in `WPLAB_FLAVOUR`, in the lab file, and in the names of the option files.
    pub(super) name: &'static str,
    /// The server's program.
    pub(super) server: &'static str,
    /// How a data directory is made.
    pub(super) install: Install,
    /// How a whole member is copied.
    pub(super) sst_method: &'static str,
    /// What the account for copying may do; `None` where the server makes itself one.
    pub(super) sst_privileges: Option<&'static str>,
    /// What the account may do that reads the log of the cluster's transactions; `None` where there is none.
    pub(super) log_privileges: Option<&'static str>,
    /// What the site's account may do more at a server beside the lab, so that it can repeat what was archived.
    pub(super) replay_privileges: Option<&'static str>,
    /// Whether `wsrep_on` is a start option, off by default.
    pub(super) wsrep_on: bool,
    /// Whether the provider must be told of the certificate; the other flavour passes on the server's own.
    pub(super) provider_tls: bool,
    /// More for reading the position, so that it is printed.
    pub(super) recover_args: &'static [&'static str],
    /// Whether members of a new cluster need no copy: each makes the data itself and counts it as the cluster's.
    pub(super) begins_alike: bool,
    /// Statements before all others in a new data directory.
    pub(super) preamble: &'static str,
    /// The collation of the site's database: the server's own default in its option file.
    pub(super) collation: &'static str,
}

/// How a data directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Install {
    /// By this program, which takes `--extra-file`.
    Script(&'static str),
    /// By the server itself, with `--initialize-insecure` and `--init-file`.
    Server,
}

/// MariaDB 11.8 with Galera 4.
pub(super) static MARIADB: Flavour = Flavour {
    name: "mariadb",
    server: "mariadbd",
    install: Install::Script("mariadb-install-db"),
    sst_method: "mariabackup",
    sst_privileges: Some("RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR"),
    log_privileges: Some("REPLICATION SLAVE, BINLOG MONITOR"),
    replay_privileges: Some("BINLOG REPLAY"),
    wsrep_on: true,
    provider_tls: true,
    recover_args: &[],
    begins_alike: true,
    // The installer leaves the tables of accounts closed, and an account for whoever ran it.
    preamble: "FLUSH PRIVILEGES;\nDROP USER IF EXISTS mysql@localhost;\n",
    collation: "utf8mb4_unicode_ci",
};

/// Percona XtraDB Cluster 8.4.
pub(super) static PERCONA: Flavour = Flavour {
    name: "percona",
    server: "mysqld",
    install: Install::Server,
    sst_method: "xtrabackup-v2",
    sst_privileges: None,
    log_privileges: None,
    replay_privileges: None,
    wsrep_on: false,
    provider_tls: false,
    // The position is a note, and notes are not logged by default.
    recover_args: &["--log-error-verbosity=3"],
    // Not tried with a real one.
    begins_alike: false,
    preamble: "",
    collation: "utf8mb4_0900_ai_ci",
};

impl Flavour {
    /// The flavour of this name.
    pub(super) fn named(name: &str) -> Option<&'static Flavour> {
        [&MARIADB, &PERCONA].into_iter().find(|flavour| flavour.name == name)
    }

    /// What every data directory that this program makes for this flavour has in common: the data of two members of the same
    /// recipe is the same. No password is part of it.
    ///
    /// # Errors
    /// None.
    pub(super) fn recipe(&self) -> Result<String> {
        let sql = self.init_sql(|_| Ok("the same everywhere".to_owned()))?;
        Ok(fingerprint(&format!("{}\n{sql}", self.name)))
    }

    /// The statements that give the accounts of data that is there the Secret's passwords, on this member alone.
    ///
    /// # Errors
    /// A password cannot be read.
    pub(super) fn accounts_sql(&self, password: impl Fn(&str) -> Result<String>) -> Result<String> {
        let mut accounts = vec![("root@localhost", "root"), ("wordpress@'%'", "wordpress")];
        accounts.extend(self.sst_privileges.map(|_| ("sst@localhost", "sst")));
        accounts.extend(self.log_privileges.map(|_| ("replication@'%'", "replication")));
        let mut sql = "SET SESSION wsrep_on = OFF;\nSET SESSION sql_log_bin = 0;\n".to_owned();
        for (account, of) in accounts {
            sql += &format!("ALTER USER {account} IDENTIFIED BY {};\n", literal(&password(of)?));
        }
        Ok(sql)
    }

    /// The statements of a new data directory, one per line: four accounts at most, and the site's database. Members that
    /// join make them too, or get them with the copy.
    ///
    /// # Errors
    /// A password cannot be read.
    pub(super) fn init_sql(&self, password: impl Fn(&str) -> Result<String>) -> Result<String> {
        let mut sql = self.preamble.to_owned();
        sql += &format!("ALTER USER root@localhost IDENTIFIED BY {};\n", literal(&password("root")?));
        if let Some(privileges) = self.sst_privileges {
            sql += &format!("CREATE USER sst@localhost IDENTIFIED BY {};\n", literal(&password("sst")?));
            sql += &format!("GRANT {privileges} ON *.* TO sst@localhost;\n");
        }
        if let Some(privileges) = self.log_privileges {
            sql += &format!("CREATE USER replication@'%' IDENTIFIED BY {};\n", literal(&password("replication")?));
            sql += &format!("GRANT {privileges} ON *.* TO replication@'%';\n");
        }
        sql += &format!("CREATE DATABASE wordpress CHARACTER SET utf8mb4 COLLATE {};\n", self.collation);
        sql += &format!("CREATE USER wordpress@'%' IDENTIFIED BY {};\n", literal(&password("wordpress")?));
        sql += "GRANT ALL ON wordpress.* TO wordpress@'%';\n";
        // What is restored is checked beside the site's tables before it takes their place.
        sql += "GRANT ALL ON `wordpress\\_%`.* TO wordpress@'%';\n";
        Ok(sql)
    }
}

//! Which `my.cnf` options a lab file may set. Those that hold the lab together are the lab's own: each comes with the
//! reason, so that nobody has to guess.

use super::Topology;

/// Options of the lab by name, and options by how they begin, each with why it is not free. Names are lower case with
/// underscores.
struct Ours {
    exact: &'static [(&'static [&'static str], &'static str)],
    beginning: &'static [(&'static str, &'static str)],
}

/// Those of every topology.
const ALWAYS: Ours = Ours {
    exact: &[
        (
            &["server_id", "server_uuid", "report_host", "report_port"],
            "each member gets its own identity from its pod's name",
        ),
        (
            &["datadir", "basedir", "tmpdir", "user", "pid_file", "init_file"],
            "files and user are fixed by the pod and its volume",
        ),
        (
            &["innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory", "innodb_directories"],
            "everything that has to survive lies in the member's own volume",
        ),
        (&["initialize", "initialize_insecure", "daemonize", "log_error"], "the member's supervisor starts the server"),
        (
            &[
                "socket",
                "port",
                "bind_address",
                "skip_networking",
                "admin_address",
                "admin_port",
                "skip_name_resolve",
                "mysqlx",
                "mysqlx_port",
            ],
            "Services, probes and replicas rely on where the server listens",
        ),
        (&["skip_grant_tables", "plugin_dir", "secure_file_priv"], "it would open the database to everybody"),
        (&["require_secure_transport", "auto_generate_certs"], "the lab has its own certificate authority"),
        (
            &["innodb_force_recovery", "innodb_read_only", "transaction_read_only", "tx_read_only", "autocommit"],
            "nothing could be written any more, not even by the lab itself",
        ),
        (&["innodb_doublewrite"], "a member that is killed, as the drills do, could not read its data any more"),
        (
            &["innodb_page_size", "innodb_data_file_path", "lower_case_table_names"],
            "it is chosen when the data is made, and a server that is given another one does not read it",
        ),
        (
            &["default_password_lifetime", "default_authentication_plugin", "authentication_policy"],
            "the lab's own accounts would be locked out",
        ),
    ],
    beginning: &[
        ("tls_", "the lab has its own certificate authority"),
        ("ssl", "the lab has its own certificate authority"),
        ("defaults_", "the lab writes the one file that the server reads"),
    ],
};

const REPLICATION: Ours = Ours {
    exact: &[
        (&["gtid_mode", "enforce_gtid_consistency"], "replicas find their position by GTID"),
        (
            &[
                "log_bin",
                "skip_log_bin",
                "disable_log_bin",
                "binlog_format",
                "log_replica_updates",
                "log_slave_updates",
            ],
            "every member must be able to become the source",
        ),
        (
            &["relay_log", "relay_log_recovery", "sync_relay_log", "skip_replica_start", "skip_slave_start"],
            "the member's supervisor decides what is replicated from where",
        ),
        (
            &[
                "binlog_do_db",
                "binlog_ignore_db",
                "replica_preserve_commit_order",
                "slave_preserve_commit_order",
                "replica_skip_errors",
                "slave_skip_errors",
                "replica_exec_mode",
                "slave_exec_mode",
            ],
            "a replica must hold everything that the source holds",
        ),
        (
            &["super_read_only", "read_only", "offline_mode"],
            "members start read-only, and only the writer is opened: two writers would lose data",
        ),
        (
            &["early_plugin_load", "clone"],
            "the lab loads the plugins that it needs (clone, semi-synchronous replication)",
        ),
    ],
    beginning: &[
        ("clone_ssl_", "the lab has its own certificate authority"),
        ("plugin", "the lab loads the plugins that it needs (clone, semi-synchronous replication)"),
        ("rpl_semi_sync_", "semi-synchronous replication is switched with a member's role"),
        ("replicate_", "a replica must hold everything that the source holds"),
        ("group_replication_", "this topology replicates from one source"),
    ],
};

/// Both flavours' names: an option that a server does not know would keep it from starting.
const GALERA: Ours = Ours {
    exact: &[
        (&["innodb_autoinc_lock_mode", "binlog_format", "binlog_row_image"], "Galera replicates rows, and only so"),
        (
            &[
                "default_storage_engine",
                "enforce_storage_engine",
                "disabled_storage_engines",
                "innodb_force_primary_key",
                "sql_require_primary_key",
                "sql_generate_invisible_primary_key",
                "sql_mode",
            ],
            "Galera replicates InnoDB tables that have a primary key, and the lab sees to both",
        ),
        (
            &[
                "gtid_mode",
                "gtid_domain_id",
                "gtid_strict_mode",
                "enforce_gtid_consistency",
                "log_bin",
                "log_bin_compress",
                "slave_connections_needed_for_purge",
                "skip_log_bin",
                "disable_log_bin",
                "log_replica_updates",
                "log_slave_updates",
                "binlog_do_db",
                "binlog_ignore_db",
                "relay_log",
                "relay_log_recovery",
                "skip_replica_start",
                "skip_slave_start",
            ],
            "what the members exchange, and how, is the cluster's own",
        ),
        (&["super_read_only", "read_only", "offline_mode"], "every member has to apply what the others write"),
        (&["early_plugin_load", "unix_socket"], "the lab loads the plugins that it needs, and logs in with them"),
        (&["aria_log_dir_path"], "everything that has to survive lies in the member's own volume"),
        (&["extra_port", "extra_max_connections"], "Services, probes and replicas rely on where the server listens"),
    ],
    beginning: &[
        ("wsrep_", "the member's supervisor decides which cluster it joins, and how"),
        ("pxc_", "the lab sets what Percona XtraDB Cluster checks and encrypts"),
        ("plugin", "the lab loads the plugins that it needs, and logs in with them"),
        ("percona_telemetry_", "nothing of a lab is told to anybody"),
        ("rpl_semi_sync_", "a Galera cluster has no source and no replicas"),
        ("replicate_", "every member must hold everything that the others hold"),
        ("group_replication_", "this topology replicates with Galera"),
    ],
};

/// An option's name as MySQL compares them: `-` and `_` are the same, and so is any case.
///
/// # Errors
/// It cannot be an option's name.
pub(super) fn name(given: &str) -> Result<String, &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if given.starts_with(|c: char| c.is_ascii_alphabetic()) && given.chars().all(good) && given.len() <= 80 {
        return Ok(given.to_ascii_lowercase().replace('-', "_"));
    }
    Err("an option's name is a letter followed by letters, digits, '-', '_' and '.'")
}

/// Why an option is not free, if it is not. `name` comes from [`name`].
pub(super) fn reserved(name: &str, topology: Topology) -> Option<&'static str> {
    let of_topology = match topology {
        Topology::Replication => &REPLICATION,
        Topology::Galera => &GALERA,
    };
    // The prefixes by which a server accepts the same option in another coat.
    let bare = ["loose_", "enable_", "disable_", "skip_", "maximum_"].iter().find_map(|coat| name.strip_prefix(coat));
    [Some(name), bare].into_iter().flatten().find_map(|name| {
        // MariaDB also accepts the beginning of a name: `sock` is `socket`.
        let means = |known: &str| known.starts_with(name);
        [&ALWAYS, of_topology].into_iter().find_map(|ours| {
            let exact = ours.exact.iter().find(|(names, _)| names.iter().any(|known| means(known)));
            let family = || ours.beginning.iter().find(|(begin, _)| name.starts_with(begin) || means(begin));
            exact.map(|(_, why)| *why).or_else(|| family().map(|(_, why)| *why))
        })
    })
}

/// Checks an option's value.
///
/// # Errors
/// What is allowed.
pub(super) fn value(given: &str) -> Result<(), &'static str> {
    if given.chars().any(char::is_control) {
        return Err("a value is one line without control characters");
    }
    if given.chars().count() > 500 {
        return Err("a value has at most 500 characters");
    }
    Ok(())
}

/// A size as `my.cnf` writes it (`64M`), in bytes.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_own_options_are_recognised_in_every_coat() {
        for given in [
            "server-id",
            "SSL_CA",
            "skip-log-bin",
            "loose-gtid-mode",
            "loose_rpl_semi_sync_source_enabled",
            "plugin-load-add",
            "skip-networking",
        ] {
            assert!(reserved(&name(given).expect("a name"), Topology::Replication).is_some(), "{given}");
        }
        for given in [
            "max_connections",
            "sync_binlog",
            "binlog_expire_logs_seconds",
            "validate_password.policy",
            "skip_show_database",
        ] {
            assert_eq!(reserved(&name(given).expect("a name"), Topology::Replication), None, "{given}");
        }
    }

    #[test]
    fn what_holds_a_galera_cluster_together_is_not_free_however_it_is_abbreviated() {
        for given in [
            "wsrep_on",
            "wsrep-provider-options",
            "loose_wsrep_cluster_address",
            "wsre",
            "pxc_strict_mode",
            "innodb-autoinc-lock-mode",
            "binlog_format",
            "default_storage_engine",
            "sql_require_primary_key",
            "innodb_force_primary_key",
            "ssl",
            "skip-ssl",
            "ssl_cert",
            "sock",
            "datadi",
            "tmpdir",
            "require_secure_transport",
            "read_only",
            "skip-unix-socket",
        ] {
            assert!(reserved(&name(given).expect("a name"), Topology::Galera).is_some(), "{given}");
        }
        for given in ["max_connections", "aria_pagecache_buffer_size", "innodb_flush_log_at_trx_commit", "log_warnings"]
        {
            assert_eq!(reserved(&name(given).expect("a name"), Topology::Galera), None, "{given}");
        }
        assert_eq!(reserved("wsrep_on", Topology::Replication), None, "MySQL itself refuses what it does not know");
    }

    #[test]
    fn what_the_lab_sets_after_the_lab_file_can_not_be_asked_for() {
        let files = [
            (Topology::Replication, include_str!("../../manifests/database/mysql-fixed.cnf")),
            (Topology::Galera, include_str!("../../manifests/database/mariadb-fixed.cnf")),
            (Topology::Galera, include_str!("../../manifests/database/percona-fixed.cnf")),
        ];
        for (topology, file) in files {
            let server = file.split("[sst]").next().unwrap_or_default();
            let names: Vec<&str> = server.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
            assert!(names.len() > 15, "{names:?}");
            for given in names.iter().filter(|name| !name.starts_with('#')) {
                assert!(reserved(&name(given).expect("a name"), topology).is_some(), "{given} would be passed over");
            }
        }
    }

    #[test]
    fn what_would_break_a_lab_is_refused_with_its_own_reason() {
        for (given, why) in [
            ("innodb_force_recovery", "nothing could be written"),
            ("skip-innodb-doublewrite", "killed"),
            ("lower_case_table_names", "when the data is made"),
            ("default_password_lifetime", "locked out"),
        ] {
            for topology in [Topology::Replication, Topology::Galera] {
                let told = reserved(&name(given).expect("a name"), topology).unwrap_or_default();
                assert!(told.contains(why), "{given}: {told}");
            }
        }
        let told = reserved("replica_skip_errors", Topology::Replication).unwrap_or_default();
        assert!(told.contains("everything that the source holds"), "{told}");
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_file() {
        assert!(name("a]\n[client").is_err() && name("!include").is_err() && name("").is_err());
        assert!(value("1\nskip-grant-tables").is_err() && value("1\rx").is_err());
        assert!(value("a b").is_ok());
    }

    #[test]
    fn sizes_are_read_as_mysql_reads_them() {
        assert_eq!((size("64M"), size("1g"), size("4096")), (Some(64 << 20), Some(1 << 30), Some(4096)));
        assert_eq!((size("M"), size("1.5G"), size("")), (None, None, None));
    }
}

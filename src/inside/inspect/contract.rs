//! The contracts, as data: what the lab relies on of each role's image, line by line. The text of `lab/images/README.md`
//! is made of this table, and so is what is looked at: one cannot say what the other does not do.

use std::fmt;

use crate::spec::VolumeClass;

/// What is relied on of the image of one role.
#[derive(Debug)]
pub struct Contract {
    /// The role's name, as in the catalogue.
    pub role: &'static str,
    /// Line by line; a later line may rely on an earlier one.
    pub lines: &'static [Line],
}

/// One thing that is relied on.
#[derive(Debug)]
pub struct Line {
    /// A short name that never changes; unique within the role.
    pub id: &'static str,
    /// What has to be so.
    pub need: Need,
}

/// What has to be so, and thereby how it is looked at.
#[derive(Debug)]
pub enum Need {
    /// Programs in `PATH`.
    Programs(&'static [&'static str]),
    /// One of these programs in `PATH`.
    OneOf(&'static [&'static str]),
    /// Files that can be read.
    Files(&'static [&'static str]),
    /// No such file.
    Absent(&'static str),
    /// A folder, with what is in it, that belongs to the pod's user.
    Owned(&'static str),
    /// The pod's user has this name.
    User(&'static str),
    /// A program's version, as the command prints it.
    Version {
        /// The command.
        command: &'static [&'static str],
        /// The series that the lab was seen running on, `MAJOR.MINOR`. Another one is told.
        proven: &'static str,
        /// An older one will not do.
        least: Option<&'static str>,
    },
    /// WordPress's own version, of which the series is told like that of [`Need::Version`].
    Release {
        /// As there.
        proven: &'static str,
    },
    /// Words, each on a line of its own, that the command prints.
    Words {
        /// The command.
        command: &'static [&'static str],
        /// The words; case does not matter.
        words: &'static [&'static str],
    },
    /// The program knows every flag that the lab's manifest passes to it.
    Flags {
        /// The program, which prints them all with `--help`.
        program: &'static str,
        /// The manifest's folder.
        part: &'static str,
    },
    /// The server takes every option that the lab gives it, in its files and on its command line.
    Options(Server),
    /// Plugins in the server's own plugin folder.
    Plugins(&'static [&'static str]),
    /// A default StorageClass of this name in the manifest that kind applies.
    StorageClass(&'static str),
    /// systemd, of a release that starts under this machine's cgroup version.
    Init,
    /// The lab's installer finds what it seeds `wp-content` with: the default theme, and nothing of others.
    Seeds,
    /// Apache starts with the lab's configuration, serves WordPress's files, runs PHP, keeps to itself what it must, and
    /// ends when told to.
    Serves,
    /// ganesha starts with the lab's command, exports the volume, leaves nothing of its own there, and ends when told to.
    Exports,
}

/// A database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// MySQL, for topology `replication`.
    Mysql,
    /// MariaDB with Galera.
    Mariadb,
    /// Percona XtraDB Cluster.
    Percona,
}

impl Server {
    /// The program.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Server::Mysql | Server::Percona => "mysqld",
            Server::Mariadb => "mariadbd",
        }
    }
}

const fn line(id: &'static str, need: Need) -> Line {
    Line { id, need }
}

/// Every contract.
pub const CONTRACTS: &[Contract] = &[
    Contract {
        role: "node",
        lines: &[
            line(
                "files",
                Need::Files(&[
                    "/usr/local/bin/entrypoint",
                    "/sbin/init",
                    "/sbin/mount.nfs",
                    "/kind/version",
                    "/kind/manifests/default-cni.yaml",
                ]),
            ),
            line("programs", Need::Programs(&["kubeadm", "kubelet", "kubectl", "containerd", "ctr"])),
            line(
                "version",
                Need::Version {
                    command: &["kubeadm", "version", "-o", "short"],
                    proven: "1.36",
                    least: Some("1.34.0"),
                },
            ),
            line("storage-class", Need::StorageClass(VolumeClass::OF_KIND)),
            line("init", Need::Init),
        ],
    },
    Contract {
        role: "mysql",
        lines: &[
            line("user", Need::User("mysql")),
            line("programs", Need::Programs(&["mysqld", "mysqldump"])),
            line("version", Need::Version { command: &["mysqld", "--version"], proven: "9.7", least: Some("8.4.0") }),
            line("options", Need::Options(Server::Mysql)),
            line("plugins", Need::Plugins(&["mysql_clone.so", "semisync_source.so", "semisync_replica.so"])),
        ],
    },
    Contract {
        role: "mariadb",
        lines: &[
            line("user", Need::User("mysql")),
            line(
                "programs",
                Need::Programs(&[
                    "mariadbd",
                    "mariadb-install-db",
                    "mariadb-backup",
                    "mbstream",
                    "my_print_defaults",
                    "wsrep_sst_mariabackup",
                    "socat",
                    "openssl",
                    "bash",
                ]),
            ),
            line("listeners", Need::OneOf(&["ss", "lsof"])),
            line(
                "version",
                Need::Version { command: &["mariadbd", "--version"], proven: "11.8", least: Some("11.4.0") },
            ),
            line("provider", Need::Files(&["/usr/lib/galera/libgalera_smm.so"])),
            line("options", Need::Options(Server::Mariadb)),
        ],
    },
    Contract {
        role: "percona",
        lines: &[
            line("user", Need::User("mysql")),
            line(
                "programs",
                Need::Programs(&[
                    "mysqld",
                    "xtrabackup",
                    "xbstream",
                    "my_print_defaults",
                    "wsrep_sst_xtrabackup-v2",
                    "socat",
                    "openssl",
                    "bash",
                ]),
            ),
            line("version", Need::Version { command: &["mysqld", "--version"], proven: "8.4", least: Some("8.0.0") }),
            line("provider", Need::Files(&["/usr/lib64/galera4/libgalera_smm.so"])),
            line("options", Need::Options(Server::Percona)),
        ],
    },
    Contract {
        role: "etcd",
        lines: &[
            line("files", Need::Files(&["/usr/local/bin/etcd"])),
            // 3.5.11 is the first with /livez, which the probe asks for.
            line(
                "version",
                Need::Version { command: &["/usr/local/bin/etcd", "--version"], proven: "3.6", least: Some("3.5.11") },
            ),
            line("flags", Need::Flags { program: "/usr/local/bin/etcd", part: "discovery" }),
        ],
    },
    Contract {
        role: "wordpress",
        lines: &[
            line(
                "files",
                Need::Files(&[
                    "/usr/src/wordpress/wp-settings.php",
                    "/usr/src/wordpress/wp-cron.php",
                    "/usr/src/wordpress/wp-includes/images/blank.gif",
                    "/etc/apache2/envvars",
                    "/etc/apache2/ports.conf",
                ]),
            ),
            line("unconfigured", Need::Absent("/usr/src/wordpress/wp-config.php")),
            line("owner", Need::Owned("/usr/src/wordpress")),
            line("programs", Need::Programs(&["apache2-foreground", "apache2", "php"])),
            line("version", Need::Release { proven: "6.8" }),
            line(
                "php",
                Need::Words {
                    command: &["php", "-m"],
                    words: &["mysqli", "gd", "curl", "mbstring", "xml", "zip", "intl", "openssl"],
                },
            ),
            line("theme", Need::Seeds),
            line("apache", Need::Serves),
        ],
    },
    Contract {
        role: "nfs",
        lines: &[line("programs", Need::Programs(&["ganesha.nfsd", "sh"])), line("export", Need::Exports)],
    },
    Contract {
        role: "metrics-server",
        lines: &[
            line("files", Need::Files(&["/metrics-server"])),
            line("flags", Need::Flags { program: "/metrics-server", part: "autoscale" }),
        ],
    },
    Contract {
        role: "prometheus",
        lines: &[
            line("programs", Need::Programs(&["prometheus", "promtool"])),
            line(
                "version",
                Need::Version { command: &["prometheus", "--version"], proven: "3.5", least: Some("3.4.0") },
            ),
            line("flags", Need::Flags { program: "prometheus", part: "monitoring/prometheus" }),
        ],
    },
    Contract {
        role: "mysqld-exporter",
        lines: &[
            line("programs", Need::Programs(&["mysqld_exporter"])),
            // 0.15 is the first that takes the account of a target from a file.
            line(
                "version",
                Need::Version { command: &["mysqld_exporter", "--version"], proven: "0.17", least: Some("0.15.1") },
            ),
            line("flags", Need::Flags { program: "mysqld_exporter", part: "monitoring/mysqld-exporter" }),
        ],
    },
    Contract {
        role: "versitygw",
        lines: &[
            line("files", Need::Files(&["/usr/local/bin/versitygw"])),
            line(
                "version",
                Need::Version {
                    command: &["/usr/local/bin/versitygw", "--version"],
                    proven: "1.8",
                    least: Some("1.8.0"),
                },
            ),
        ],
    },
];

/// The contract of a role; `None` for the tool's own image, which is made of its executable.
pub fn of(role: &str) -> Option<&'static Contract> {
    CONTRACTS.iter().find(|contract| contract.role == role)
}

/// As the line stands in the README.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Need::Programs(programs) => write!(f, "{} in `PATH`", code(programs)),
            Need::OneOf(programs) => write!(f, "one of {} in `PATH`", code(programs)),
            Need::Files(files) => f.write_str(&code(files)),
            Need::Absent(file) => write!(f, "no `{file}`"),
            Need::Owned(folder) => write!(f, "`{folder}` belongs to the pod's user"),
            Need::User(name) => write!(f, "the pod's user is called `{name}`"),
            Need::Version { command, proven, least } => {
                write!(f, "`{}`: {proven}", command.join(" "))?;
                least.map_or(Ok(()), |least| write!(f, "; older than {least} will not do, another series is told"))
            }
            Need::Release { proven } => write!(f, "WordPress {proven}; another series is told"),
            Need::Words { command, words } => write!(f, "`{}` lists {}", command.join(" "), code(words)),
            Need::Flags { program, part } => {
                write!(f, "`{program} --help` lists every flag that `manifests/{part}` passes")
            }
            Need::Options(Server::Mysql) => f.write_str("the server takes every option that the lab gives it (`--validate-config`)"),
            Need::Options(Server::Mariadb | Server::Percona) => {
                f.write_str("the server takes every option that the lab gives it (`--verbose --help`)")
            }
            Need::Plugins(files) => write!(f, "{} in the server's plugin folder", code(files)),
            Need::StorageClass(name) => {
                write!(f, "`/kind/manifests/default-storage.yaml` has a default StorageClass `{name}`")
            }
            Need::Init => f.write_str("`/sbin/init` is a systemd that starts under this machine's cgroup version (older than 256 for version 1)"),
            Need::Seeds => f.write_str("the installer seeds `wp-content` with the default theme, and with no other theme or plugin"),
            Need::Serves => f.write_str(
                "Apache starts with the lab's configuration on a read-only root, serves `blank.gif`, runs PHP, does not serve `wp-config-docker.php`, and ends on SIGWINCH",
            ),
            Need::Exports => f.write_str(
                "ganesha starts with the lab's command and configuration, knows its parameters, exports `/export` over NFSv4, leaves nothing of its own in it, and ends on SIGTERM",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_names_of_their_own() {
        for Contract { role, lines } in CONTRACTS {
            let mut ids: Vec<&str> = lines.iter().map(|line| line.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), lines.len(), "{role}");
        }
    }
}

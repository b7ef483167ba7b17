//! What every member's pod has, whatever its topology (`manifests/database`).

/// The member's volume. Beside the data directory it holds markers.
pub(crate) const VOLUME: &str = "/var/lib/mysql";
/// The server's socket, and the init file while there is one: a directory of the pod's own.
pub(crate) const RUN: &str = "/var/run/mysqld";
/// The supervisor's HTTP port.
pub const HTTP_PORT: u16 = 8081;

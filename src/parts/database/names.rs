//! What the database's objects are called.

/// The StatefulSet; its pods are `db-0`, `db-1`, ….
pub const MEMBERS: &str = "db";
/// A database has no more members than this.
pub const MOST: u8 = 9;
/// The Secret with `root-password`, `wordpress-password` and `replication-password`.
pub const CREDENTIALS: &str = "db-credentials";
/// The Secret with the members' certificate, its key and the authority's certificate (`tls.crt`, `tls.key`, `ca.crt`).
pub const TLS: &str = "db-tls";
/// The site's database, and the account that owns it.
pub const WORDPRESS: &str = "wordpress";

/// The names of a lab's members.
pub fn names(members: u8) -> Vec<String> {
    (0..members).map(|ordinal| format!("{MEMBERS}-{ordinal}")).collect()
}

/// So many members, in words.
pub fn in_words(members: u8) -> String {
    if members == 1 { "1 member".to_owned() } else { format!("{members} members") }
}

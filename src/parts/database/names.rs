//! What the database's objects are called.

use std::collections::BTreeMap;

/// The StatefulSet; its pods are `db-0`, `db-1`, ….
pub const MEMBERS: &str = "db";
/// A database has no more members than this.
pub const MOST: u8 = 9;
/// The Secret with `root-password`, `wordpress-password`, `replication-password` and, for Galera, `sst-password`.
pub const CREDENTIALS: &str = "db-credentials";
/// The Secret in which somebody may bring a password of root, and its one key.
pub(super) const ROOT: &str = "db-root";
/// The key of [`ROOT`].
pub(super) const ROOT_KEY: &str = "password";
/// Fewer characters are guessed, and more are no password.
const LENGTHS: std::ops::RangeInclusive<usize> = 12..=128;

/// The password of root in Secret [`ROOT`].
///
/// # Errors
/// What is wrong with it, which does not repeat it.
pub(super) fn password_of(values: &BTreeMap<String, String>) -> Result<&str, String> {
    let Some(password) = values.get(ROOT_KEY) else { return Err(format!("it has no key {ROOT_KEY}")) };
    if !LENGTHS.contains(&password.chars().count()) {
        return Err(format!("its {ROOT_KEY} does not have {} to {} characters", LENGTHS.start(), LENGTHS.end()));
    }
    if password.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("its {ROOT_KEY} has a space or a line's end in it"));
    }
    Ok(password)
}

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

//! Backups as they lie in object storage: an unfinished one is none, and nothing is believed that its manifest does not prove.
//!
//! Below a destination's folder each lab has one, and each backup of it one in that:
//!
//! ```text
//! LAB/20261130T113000Z-4f2a/begun.txt         comes first
//! LAB/20261130T113000Z-4f2a/database.00000    a stream is compressed, perhaps encrypted, and cut into parts
//! LAB/20261130T113000Z-4f2a/database.00001
//! LAB/20261130T113000Z-4f2a/files.00000
//! LAB/20261130T113000Z-4f2a/manifest.json     comes last: sizes and hashes of all parts, and what is in them
//! LAB/20261130T113000Z-4f2a/verified.json     is there when somebody has proven it, and says what came of that
//! ```
//!
//! `store` is a destination, `shelf` one lab's place in it, `manifest` what is said of a backup, `verified` what came of proving it, `parts` cuts streams and joins them, `seal` makes them small and
//! secret. Who reads and writes what is in them, in the cluster or on the machine, is the rooms' above.

pub mod archive;
pub mod credentials;
pub mod manifest;
mod parts;
pub mod seal;
pub mod shelf;
mod store;
mod unusable;
pub mod verified;

pub use unusable::Unusable;

//! What a lab can do, a file or folder each: whoever is one call of the library that a command of the tool makes.

pub mod asleep;
pub mod awake;
pub mod backup;
pub mod chaos;
pub mod credentials;
pub mod diagnose;
pub mod down;
pub mod failover;
pub mod images;
pub(crate) mod keep;
pub mod list;
pub mod load;
pub mod logs;
pub mod plan;
pub mod prepare;
pub mod prove;
pub mod recover;
pub mod render;
pub mod repair;
pub mod replace;
pub mod scale;
pub mod smoke;
pub mod snapshot;
pub mod standing;
pub mod status;
pub mod up;

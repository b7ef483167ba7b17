//! What the lab is made of. Each part has an `ensure` that looks before it acts and returns what the next part needs.

pub mod autoscale;
pub mod backup;
pub mod database;
pub mod discovery;
pub mod frontend;
pub mod images;
mod kinds;
pub mod monitoring;
pub mod storage;
pub mod store;
pub mod trial;
pub mod volumes;
pub mod workers;

#[cfg(test)]
mod testing;

//! The machine that a lab is to run on: whoever looks at it, says what is missing, or installs that.
//!
//! `observe` looks, `judge` says what it means, `action` what would help, [`fix`] does it, and [`doctor`] is the door.

mod action;
mod apt;
mod building;
pub mod doctor;
pub mod engine;
mod files;
mod finding;
pub mod fix;
mod judge;
pub(crate) mod needs;
mod observe;
pub mod outlook;
pub mod registry;
pub mod runc_shim;

pub use self::{
    action::{Action, KindSource},
    finding::{Cure, Diagnosis, Finding, Level, Missing},
};

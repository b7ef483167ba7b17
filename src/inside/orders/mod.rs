//! How the agent's orders reach a member: HTTPS on a port of the supervisor's own, each side known to the other by a
//! certificate that nobody but the two has (docs/decisions/0021-orders-and-papers.md).
//!
//! [`serve`] is the member's end, [`Courier`] the agent's, [`Papers`] what each shows and trusts. What an order says is its
//! sender's and its receiver's business; a connection carries one.

mod courier;
mod papers;
mod server;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt};

pub use courier::Courier;
pub use papers::Papers;
pub use server::serve;

/// Where the supervisor takes orders.
pub const PORT: u16 = 8083;
/// The folder with a pod's papers: the Secrets `orders-member` and `orders-agent`.
pub const FOLDER: &str = "/etc/wplab/orders";
/// The name in the agent's certificate. Whoever shows none with it gives no orders.
pub const AGENT: &str = "agent";

/// Where an order is sent to.
const PATH: &str = "/order";

/// The name that a member's certificate has to hold for.
pub fn host(member: &str) -> String {
    format!("{member}.db-members")
}

/// The member was reached, understood the order, and does not carry it out. Whoever was not reached has said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why, as the member says it.
    pub reason: String,
}

impl Refused {
    /// For this reason.
    pub fn because(reason: impl Into<String>) -> Refused {
        Refused { reason: reason.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Refused {}

//! Which port of 127.0.0.1 the frontend gets: the wanted one, or the next that is free.

use std::{
    collections::BTreeSet,
    fmt,
    net::{Ipv4Addr, TcpListener},
};

use crate::run::advice::{Advise, Blame, Hint, Trouble};

/// How many ports after the wanted one are tried.
const TRIES: u16 = 100;

/// A port is taken, and so are those after it.
#[derive(Clone, Debug)]
pub struct PortsTaken {
    /// The first of them.
    pub first: u16,
    /// The last of them.
    pub last: u16,
}

impl fmt::Display for PortsTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ports {} to {} of 127.0.0.1 are all taken", self.first, self.last)
    }
}

impl Advise for PortsTaken {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words("choose another cluster.port in the lab file")]
    }
}

/// The wanted port or the next free one. `published` are ports that containers publish: without Docker's userland
/// proxy nothing listens on them, so that they look free.
///
/// # Errors
/// [`PortsTaken`]: a hundred in a row.
pub fn next_free(wanted: u16, published: &[u16]) -> Result<u16, Trouble> {
    pick(wanted, &published.iter().copied().collect(), |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

fn pick(wanted: u16, published: &BTreeSet<u16>, free: impl Fn(u16) -> bool) -> Result<u16, Trouble> {
    let last = wanted.saturating_add(TRIES);
    match (wanted..=last).find(|port| !published.contains(port) && free(*port)) {
        Some(port) => Ok(port),
        None => Err(PortsTaken { first: wanted, last }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_port_if_it_is_free_else_the_next() {
        let published = BTreeSet::from([8080, 8082]);
        assert_eq!(pick(9000, &published, |_| true).expect("free"), 9000);
        assert_eq!(pick(8080, &published, |_| true).expect("free"), 8081);
        assert_eq!(pick(8080, &published, |port| port > 8082).expect("free"), 8083);
        let full = pick(65_500, &published, |_| false).expect_err("full");
        assert_eq!(full.to_string(), "the ports 65500 to 65535 of 127.0.0.1 are all taken");
    }

    #[test]
    fn a_listener_makes_its_port_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(next_free(port, &[]).is_ok_and(|free| free > port));
    }
}

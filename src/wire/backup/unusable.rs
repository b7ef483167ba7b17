//! Why a destination, or a backup in it, cannot be used.

use std::fmt;

use crate::{
    run::advice::{Advise, Blame, Hint},
    spec::destination::Destination,
};

/// Why a destination or a backup cannot be used. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Nothing says who is asking.
    NoCredentials {
        /// Where.
        destination: Destination,
        /// What has no value.
        missing: Vec<&'static str>,
    },
    /// The destination does not let in whoever asks.
    NotLetIn {
        /// Where.
        destination: Destination,
        /// What it said.
        why: String,
    },
    /// The destination has no such bucket or folder, or does not answer.
    NoDestination {
        /// Where.
        destination: Destination,
        /// What it said.
        why: String,
    },
    /// There is no such backup.
    Missing {
        /// Of which lab.
        lab: String,
        /// Its name.
        id: String,
        /// Those that there are.
        others: Vec<String>,
    },
    /// A backup is not what its manifest says.
    Damaged {
        /// Its name.
        id: String,
        /// What is wrong.
        how: String,
    },
    /// A backup was made by a later version of this tool.
    Newer {
        /// Its name.
        id: String,
        /// Its format.
        format: u32,
    },
    /// A backup is encrypted, and there is no key or another one.
    Locked {
        /// Its name.
        id: String,
        /// Whether there was a key.
        tried: bool,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::NoCredentials { destination, missing } => {
                write!(f, "{} has no value, without which nobody gets into {destination}", missing.join(" and "))
            }
            Unusable::NotLetIn { destination, why } => write!(f, "{destination} does not let us in: {why}"),
            Unusable::NoDestination { destination, why } => write!(f, "{destination} cannot be used: {why}"),
            Unusable::Missing { lab, id, others } if others.is_empty() => {
                write!(f, "there is no backup {id} of lab {lab}, and no other one")
            }
            Unusable::Missing { lab, id, others } => {
                write!(f, "there is no backup {id} of lab {lab}; there is: {}", others.join(", "))
            }
            Unusable::Damaged { id, how } => write!(f, "backup {id} is damaged: {how}"),
            Unusable::Newer { id, format } => {
                write!(f, "backup {id} has format {format}, which this version does not know")
            }
            Unusable::Locked { id, tried: true } => write!(f, "backup {id} is encrypted for another key"),
            Unusable::Locked { id, tried: false } => {
                write!(f, "backup {id} is encrypted, and there is no key to open it with")
            }
        }
    }
}

impl Advise for Unusable {
    fn blame(&self) -> Blame {
        match self {
            Unusable::Damaged { .. } => Blame::Step,
            _ => Blame::User,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let words = match self {
            Unusable::NoCredentials { missing, .. } => format!("set {} in the environment", missing.join(" and ")),
            Unusable::NotLetIn { .. } => "look at the credentials in the environment".to_owned(),
            Unusable::NoDestination { .. } => "make the bucket or folder, or name another one".to_owned(),
            Unusable::Missing { others, .. } if others.is_empty() => "look in another destination".to_owned(),
            Unusable::Missing { .. } => "name one of those that there are".to_owned(),
            Unusable::Damaged { .. } => "take another backup; an older one may be whole".to_owned(),
            Unusable::Newer { .. } => "use the version of wplab that made it".to_owned(),
            Unusable::Locked { .. } => "name the file with its key by --identity".to_owned(),
        };
        vec![Hint::words(words)]
    }
}

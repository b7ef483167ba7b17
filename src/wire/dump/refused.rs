//! Why a database cannot be dumped, or a dump not loaded.

use std::fmt;

use crate::run::advice::{Advise, Blame, Hint, Trouble};

/// Why a database cannot be dumped, or a dump not loaded. Nothing of a row is ever part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is something in the database that a dump cannot hold. Nothing was written.
    Undumpable {
        /// Which database.
        database: String,
        /// A sentence for each thing.
        why: Vec<String>,
    },
    /// A table was changed, made or dropped since the snapshot was taken: begin again.
    Changed {
        /// What was read when it was noticed.
        what: String,
    },
    /// What is to be loaded is no dump of this format, or not all of one.
    NoDump {
        /// What is wrong.
        how: String,
    },
    /// The server cannot have the tables as they are. None was made.
    Unfit {
        /// A sentence for each thing.
        why: Vec<String>,
    },
    /// The server refused a statement of a dump.
    Statement {
        /// Which one, counted from 1.
        number: u64,
        /// What it was about.
        about: String,
        /// The number of its error.
        code: u16,
        /// What it said, unless there might be something of a row in it.
        said: Option<String>,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Undumpable { database, why } => write!(f, "{database} cannot be dumped: {}", why.join("; ")),
            Refused::Changed { what } => write!(f, "{what} was changed while the database was dumped"),
            Refused::NoDump { how } => write!(f, "this is no whole dump: {how}"),
            Refused::Unfit { why } => write!(f, "this server cannot have what was dumped: {}", why.join("; ")),
            Refused::Statement { number, about, code, said } => {
                write!(f, "statement {number} ({about}) was refused with error {code}")?;
                said.as_ref().map_or(Ok(()), |said| write!(f, ": {said}"))
            }
        }
    }
}

impl Advise for Refused {
    fn blame(&self) -> Blame {
        match self {
            Refused::Undumpable { .. } | Refused::Unfit { .. } => Blame::User,
            Refused::Changed { .. } | Refused::NoDump { .. } | Refused::Statement { .. } => Blame::Step,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let words = match self {
            Refused::Undumpable { .. } => "change or drop what is named",
            Refused::Changed { .. } => "dump it again when no table is being altered",
            Refused::NoDump { .. } => "take another backup; an older one may be whole",
            Refused::Unfit { .. } => "load it into a server of the kind that it came from",
            Refused::Statement { .. } => {
                "load it into a server of the version that it came from, with the same settings"
            }
        };
        vec![Hint::words(words)]
    }
}

pub(super) fn refused(what: Refused) -> anyhow::Error {
    Trouble::from(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said() {
        let why = vec!["table a is kept by MyISAM".to_owned(), "b is a sequence".to_owned()];
        let told = Refused::Undumpable { database: "wordpress".to_owned(), why }.to_string();
        assert_eq!(told, "wordpress cannot be dumped: table a is kept by MyISAM; b is a sequence");
        let about = "rows of `wp_posts`".to_owned();
        let told = Refused::Statement { number: 7, about, code: 1062, said: None }.to_string();
        assert_eq!(told, "statement 7 (rows of `wp_posts`) was refused with error 1062");
    }
}

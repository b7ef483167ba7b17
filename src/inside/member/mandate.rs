//! What the agent may ask of a member of topology `replication`, and what a member remembers of it: its mandate, on its volume.
//! Whoever asks with a lower term is refused, so that of two agents who both believe they lead only one is obeyed.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

/// Which decision an order belongs to. A failover begins with a number that no member has heard of. Where two agents choose the
/// same number at the same moment, the one whose name comes later is newer, so that any two decisions have an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Term {
    /// Grows with every decision about who is the source.
    pub number: u64,
    /// The agent that made the decision, and which life of it.
    #[serde(default)]
    pub by: String,
}

impl Term {
    /// The one after this.
    pub fn next(&self, by: &str) -> Term {
        Term { number: self.number + 1, by: by.to_owned() }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// What a member is, by the last order that it accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It takes writes.
    Source,
    /// It follows this member, and acknowledges what it is sent.
    Follows(String),
    /// It follows this member and acknowledges nothing: it does not count yet, or not any more.
    Learns(String),
    /// It fetches nothing from anybody, so that it acknowledges nothing to a source that is to be given up.
    Revoked,
    /// It was the source, and takes no writes any more: what it has is all that it ever acknowledged.
    Closed,
}

impl Part {
    /// Whom it follows, if anybody.
    pub fn follows(&self) -> Option<&str> {
        match self {
            Part::Follows(source) | Part::Learns(source) => Some(source),
            Part::Source | Part::Revoked | Part::Closed => None,
        }
    }
}

/// Whose history the data of a member is: that of the source of this term, which it was itself or has been seen to have nothing
/// beyond before it began to follow it. What a member of an older line has and that source had not when it was promoted was
/// never acknowledged by anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its term.
    pub term: Term,
    /// What the source had when it was promoted, as a GTID set.
    pub base: String,
}

/// What a member remembers, whatever becomes of its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mandate {
    /// The decision that made it this.
    pub term: Term,
    /// What it is.
    pub part: Part,
    /// By which version of what counts ([`super::super::agent::count::Count`]) it was made this.
    #[serde(default)]
    pub version: u64,
    /// Whose history its data is.
    #[serde(default)]
    pub line: Line,
}

impl Mandate {
    /// Whether it is this part, by this decision.
    pub fn is(&self, part: &Part, term: &Term) -> bool {
        self.part == *part && self.term == *term
    }
}

/// What is asked of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Fetch nothing more; a source ends its server at once, whatever waits there, and starts it shut.
    Revoke,
    /// Take no more writes, if everything that waits is done within seconds; otherwise go on as before.
    Close,
    /// As the source, from now on wait until so many replicas have a write (none: nothing waits).
    Await {
        /// How many.
        acks: u32,
    },
    /// Take writes, each of which waits until so many replicas have it (none: nothing waits).
    Promote {
        /// How many.
        acks: u32,
        /// What must have been applied before, as a GTID set.
        holds: String,
    },
    /// Follow this member, once everything that was received is applied and nothing here is unknown there.
    Follow {
        /// Its name.
        source: String,
        /// Whether nothing is acknowledged to it.
        #[serde(default)]
        learns: bool,
    },
    /// Keep aside what this member alone has, then throw the data away and copy that member's.
    Copy {
        /// Its name.
        source: String,
        /// Whether nothing is acknowledged to it from then on.
        #[serde(default)]
        learns: bool,
    },
}

/// An order as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The decision that it belongs to.
    pub term: Term,
    /// The version of what counts that it was decided from.
    #[serde(default)]
    pub version: u64,
    /// Whom it is for, and which life of that member's supervisor.
    pub member: String,
    /// As [`super::status::MemberStatus::instance`].
    pub instance: String,
    /// By that supervisor's own clock ([`super::status::MemberStatus::clock_ms`]): too late after this. Whoever was frozen, or
    /// reached late, does nothing that nobody waits for any more; no two clocks are compared.
    pub until_ms: u64,
    /// What to do.
    pub what: What,
}

/// The mandate that a member has once it has done this.
///
/// # Errors
/// Why the order must not be obeyed.
pub fn accept(
    own: Option<&Mandate>,
    has_data: bool,
    term: &Term,
    version: u64,
    what: &What,
) -> Result<Mandate, String> {
    let was_source = own.is_some_and(|own| matches!(own.part, Part::Source | Part::Closed));
    let part = match what {
        Promote { .. } if !has_data => return Err("it has no data of the lab".to_owned()),
        Revoke if was_source => Part::Closed,
        Revoke => Part::Revoked,
        Close if own.is_some_and(|own| own.part == Part::Source) => Part::Closed,
        Close if own.is_some_and(|own| own.part == Part::Closed && own.term == *term) => Part::Closed,
        Close => return Err("it is not the source".to_owned()),
        Await { .. } if own.is_some_and(|own| own.is(&Part::Source, term)) => Part::Source,
        Await { .. } => return Err(format!("it is not the source of term {term}")),
        Promote { .. } => Part::Source,
        Follow { source, learns: true } | Copy { source, learns: true } => Part::Learns(source.clone()),
        Follow { source, .. } | Copy { source, .. } => Part::Follows(source.clone()),
    };
    let line = own.map(|own| own.line.clone()).unwrap_or_default();
    let mandate = Mandate { term: term.clone(), part, version, line };
    let Some(own) = own else { return Ok(mandate) };
    match term.cmp(&own.term) {
        Ordering::Less => return Err(format!("term {term} is over; this member has heard of term {}", own.term)),
        Ordering::Greater => {}
        Ordering::Equal if version < own.version => {
            return Err(format!("others count by now than in version {version}"));
        }
        // Within a term the order of things is fixed: first nobody fetches, then somebody is the source and others follow.
        Ordering::Equal => match ((&own.part, own.part.follows()), (&mandate.part, mandate.part.follows())) {
            ((Part::Source, _) | (_, Some(_)), (Part::Revoked | Part::Closed, _)) => {
                return Err(format!("in term {term} it is past that"));
            }
            ((Part::Source, _), (_, Some(_))) => return Err(format!("in term {term} it is the source itself")),
            ((_, Some(_)), (Part::Source, _)) => return Err(format!("in term {term} it follows another one")),
            ((_, Some(one)), (_, Some(other))) if one != other => {
                return Err(format!("in term {term} it follows {one}"));
            }
            _ => {}
        },
    }
    Ok(mandate)
}

use What::{Await, Close, Copy, Follow, Promote, Revoke};

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: u64, by: &str) -> Term {
        Term { number, by: by.into() }
    }

    fn has(number: u64, part: Part) -> Mandate {
        Mandate { term: term(number, "a"), part, version: 3, line: Line::default() }
    }

    fn promote() -> What {
        Promote { acks: 1, holds: String::new() }
    }

    fn follow(source: &str) -> What {
        Follow { source: source.into(), learns: false }
    }

    #[test]
    fn a_member_obeys_what_is_newer_and_in_its_turn() {
        let of_0 = || Part::Follows("db-0".into());
        type Row = (&'static str, Option<Mandate>, Term, What, Option<Part>);
        let in_b = |part| Mandate { term: term(2, "b"), part, version: 3, line: Line::default() };
        let table: [Row; 18] = [
            ("anything at first", None, term(1, "a"), follow("db-0"), Some(of_0())),
            ("a first revocation", None, term(1, "a"), Revoke, Some(Part::Revoked)),
            ("a newer one", Some(has(1, of_0())), term(2, "b"), Revoke, Some(Part::Revoked)),
            ("an older one", Some(has(2, Part::Revoked)), term(1, "a"), follow("db-0"), None),
            ("the same again", Some(has(2, Part::Revoked)), term(2, "a"), Revoke, Some(Part::Revoked)),
            ("another agent's of that number", Some(has(2, Part::Revoked)), term(2, "b"), Revoke, Some(Part::Revoked)),
            ("and what the first one sends then", Some(in_b(Part::Revoked)), term(2, "a"), promote(), None),
            ("what comes next", Some(has(2, Part::Revoked)), term(2, "a"), promote(), Some(Part::Source)),
            (
                "and what comes then",
                Some(has(2, Part::Revoked)),
                term(2, "a"),
                follow("db-1"),
                Some(Part::Follows("db-1".into())),
            ),
            ("late: it is the source already", Some(has(2, Part::Source)), term(2, "a"), Revoke, None),
            ("late: it follows already", Some(has(2, of_0())), term(2, "a"), Revoke, None),
            ("two sources in a term", Some(has(2, of_0())), term(2, "a"), promote(), None),
            ("two to follow in a term", Some(has(2, of_0())), term(2, "a"), follow("db-1"), None),
            ("the source follows nobody", Some(has(2, Part::Source)), term(2, "a"), follow("db-1"), None),
            ("a source is closed", Some(has(2, Part::Source)), term(3, "a"), Close, Some(Part::Closed)),
            ("only a source is closed", Some(has(2, of_0())), term(3, "a"), Close, None),
            ("a source remembers", Some(has(2, Part::Source)), term(3, "a"), Revoke, Some(Part::Closed)),
            ("opened again", Some(has(3, Part::Closed)), term(4, "a"), promote(), Some(Part::Source)),
        ];
        for (case, own, term, what, wanted) in table {
            let accepted = accept(own.as_ref(), true, &term, 3, &what);
            assert_eq!(accepted.as_ref().ok().map(|mandate| mandate.part.clone()), wanted, "{case}: {accepted:?}");
            assert!(accepted.is_err() || accepted.is_ok_and(|mandate| mandate.term == term), "{case}");
        }
    }

    #[test]
    fn who_acknowledges_may_change_within_a_term_and_never_back_by_an_older_order() {
        let learns = |learns| What::Follow { source: "db-0".into(), learns };
        let own = has(2, Part::Follows("db-0".into()));
        let part = |version, what: &What| {
            accept(Some(&own), true, &term(2, "a"), version, what).map(|mandate| (mandate.part, mandate.version))
        };
        assert_eq!(part(3, &learns(true)), Ok((Part::Learns("db-0".into()), 3)));
        assert_eq!(part(4, &learns(false)), Ok((Part::Follows("db-0".into()), 4)));
        part(2, &learns(true)).expect_err("it was decided from what does not count any more");
        part(4, &Await { acks: 0 }).expect_err("it is not the source");
        let source = has(2, Part::Source);
        let waits = |version| accept(Some(&source), true, &term(2, "a"), version, &Await { acks: 0 });
        assert_eq!(waits(4).map(|mandate| (mandate.part, mandate.version)), Ok((Part::Source, 4)));
        waits(2).expect_err("it was decided from what does not count any more");
        accept(Some(&source), true, &term(3, "a"), 9, &Await { acks: 0 })
            .expect_err("it is the source of another term");
    }

    #[test]
    fn nobody_without_data_takes_writes() {
        accept(None, false, &term(1, "a"), 0, &promote()).expect_err("refused");
        accept(None, false, &term(1, "a"), 0, &Revoke).expect("it acknowledges nothing from then on");
    }

    #[test]
    fn an_order_survives_its_journey() {
        let learn = Copy { source: "db-1".into(), learns: true };
        for what in [Revoke, Close, promote(), follow("db-1"), learn, Await { acks: 2 }] {
            let order = Order {
                term: term(7, "a"),
                version: 4,
                member: "db-2".into(),
                instance: "x".into(),
                until_ms: 9,
                what,
            };
            let json = serde_json::to_string(&order).expect("json");
            assert_eq!(serde_json::from_str::<Order>(&json).expect("parsed"), order, "{json}");
        }
    }
}

//! What is to be done to give a lab another number of workers, from what there is of each of them. Decided, not done.

use crate::host::docker::Container;

/// A worker, as far as there is anything of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its container.
    pub(super) name: String,
    /// Its Node.
    pub(super) inside: String,
    /// Whether its container runs; `None` where there is none.
    runs: Option<bool>,
    /// Kubernetes knows it.
    pub(super) joined: bool,
}

impl Seen {
    pub(super) fn of(there: &[Container], known: &[String], name: String, inside: &str) -> Seen {
        let runs = there.iter().find(|container| container.name == name).map(|container| container.running);
        Seen { runs, joined: known.iter().any(|node| node == inside), inside: inside.to_owned(), name }
    }

    /// It does what a worker does.
    fn works(&self) -> bool {
        self.runs == Some(true) && self.joined
    }

    fn is_there(&self) -> bool {
        self.runs.is_some() || self.joined
    }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Those that leave, and what is left of some that never joined.
    pub(super) part: Vec<Seen>,
    /// Those that join.
    pub(super) join: Vec<String>,
    /// All that there are then, as Kubernetes knows them.
    pub(super) stay: Vec<String>,
    /// Those of which nothing may be left, as Kubernetes knows them: whoever leaves, has left, or is made anew.
    pub(super) leave: Vec<String>,
}

/// A worker that the lab is to keep, and that does not work.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Which one, counted from 1.
    pub(super) nth: u8,
    /// How that shows.
    pub(super) why: String,
    /// Its container is there, and does not run.
    pub(super) stopped: bool,
}

/// What is to be done so that a lab that has written down `had` workers has `wanted`. What there is beyond those was begun or is
/// about to go, whoever was interrupted; what is lacking of them is nobody's to make anew here.
///
/// # Errors
/// One of those that stay does not work.
pub(super) fn decide(seen: &[Seen], had: u8, wanted: u8) -> Result<Work, Broken> {
    let mut work = Work::default();
    for (nth, worker) in (1..).zip(seen) {
        let Seen { name, .. } = worker;
        if nth <= had.min(wanted) && !worker.works() {
            let why = match worker.runs {
                Some(true) => format!("{name} runs, and Kubernetes does not know it"),
                _ => format!("{name} does not run"),
            };
            return Err(Broken { nth, why, stopped: worker.runs == Some(false) });
        }
        if nth > wanted || !worker.works() {
            work.part.extend(worker.is_there().then(|| worker.clone()));
            work.leave.push(worker.inside.clone());
        }
        if nth <= wanted {
            work.join.extend((!worker.works()).then(|| name.clone()));
            work.stay.push(worker.inside.clone());
        }
    }
    Ok(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::nodes, spec::LabName};

    fn lab() -> LabName {
        LabName::new("zoo").expect("a name")
    }

    /// Nine workers, of each whether its container runs and whether it has joined.
    fn seen(some: &[(Option<bool>, bool)]) -> Vec<Seen> {
        let nothing = std::iter::repeat(&(None, false));
        let names = nodes::worker_names(&lab(), 9).into_iter().zip(some.iter().chain(nothing));
        names.map(|(name, &(runs, joined))| Seen { inside: name.clone(), name, runs, joined }).collect()
    }

    #[test]
    fn what_a_worker_had_goes_also_where_it_is_made_anew_or_has_gone_already() {
        let leave = |some: &[(Option<bool>, bool)], had, wanted| {
            let work = decide(&seen(some), had, wanted).expect("possible");
            work.leave.into_iter().filter(|name| name.as_str() <= "zoo-worker5").collect::<Vec<_>>()
        };
        let four = [WORKS, WORKS, WORKS, WORKS];
        assert_eq!(leave(&four, 4, 3), ["zoo-worker4", "zoo-worker5"]);
        assert_eq!(leave(&four, 4, 4), ["zoo-worker5"]);
        // It was about to leave, the lab has written that down, and the old number is asked for again.
        for rest in [(None, false), (Some(true), false), (None, true)] {
            assert_eq!(leave(&[WORKS, WORKS, WORKS, rest], 3, 4), ["zoo-worker4", "zoo-worker5"], "{rest:?}");
        }
    }

    const WORKS: (Option<bool>, bool) = (Some(true), true);

    /// Who leaves, who joins.
    fn names(some: &[(Option<bool>, bool)], had: u8, wanted: u8) -> Result<(Vec<String>, Vec<String>), Broken> {
        let work = decide(&seen(some), had, wanted)?;
        assert_eq!(work.stay.len(), usize::from(wanted));
        Ok((work.part.into_iter().map(|worker| worker.name).collect(), work.join))
    }

    #[test]
    fn workers_come_and_go_at_the_end() {
        let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (none, three, four) = (strings(&[]), [WORKS; 3], [WORKS; 4]);
        assert_eq!(names(&three, 3, 3), Ok((none.clone(), none.clone())));
        assert_eq!(names(&three, 3, 5), Ok((none.clone(), strings(&["zoo-worker4", "zoo-worker5"]))));
        assert_eq!(names(&four, 4, 2), Ok((strings(&["zoo-worker3", "zoo-worker4"]), none)));
    }

    #[test]
    fn whoever_was_interrupted_the_next_one_finishes_or_removes_it() {
        let worker4 = vec!["zoo-worker4".to_owned()];
        let with = |fourth| [WORKS, WORKS, WORKS, fourth];
        // It never joined, or it was about to go: it is made anew, or removed.
        for half in [(Some(true), false), (Some(false), false), (Some(false), true), (None, true)] {
            assert_eq!(names(&with(half), 3, 4), Ok((worker4.clone(), worker4.clone())), "{half:?}");
            assert_eq!(names(&with(half), 3, 3), Ok((worker4.clone(), Vec::new())), "{half:?}");
        }
        // It joined, and was not written down.
        assert_eq!(names(&with(WORKS), 3, 4), Ok((Vec::new(), Vec::new())));
        assert_eq!(names(&with(WORKS), 3, 3), Ok((worker4, Vec::new())));
    }

    #[test]
    fn a_lab_that_lacks_what_it_has_written_down_is_not_scaled() {
        for half in [(Some(true), false), (Some(false), true), (None, true), (None, false)] {
            let broken = names(&[WORKS, half, WORKS], 3, 4).expect_err("damage");
            assert!(broken.nth == 2 && broken.why.starts_with("zoo-worker2 "), "{broken:?}");
            assert_eq!(broken.stopped, half.0 == Some(false));
        }
        // One that is to leave anyway may be broken.
        assert!(names(&[WORKS, WORKS, (Some(false), true)], 3, 2).is_ok());
    }
}

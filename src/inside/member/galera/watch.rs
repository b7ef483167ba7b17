//! The course of one running server, from its start to its end: where it stands in its cluster, for how long, and when it
//! must be helped. Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use super::footprint::Footprint;
use crate::inside::member::status::{GaleraFacts, State};

/// How long Galera may be closed before the server is restarted: it does not open it again by itself. A copy or its last
/// part that failed leaves it so, while the server lives on.
const CLOSED: Duration = Duration::from_secs(5);
/// How long a server may be without the majority before it stops for an election, when every other member has ended: then
/// there is no majority that it could come back to.
const LEFT_ALONE: Duration = Duration::from_secs(3);
/// The same when every other one says what it does and none is in a cluster: with the connections that there are, they would
/// have found each other in less.
const SCATTERED: Duration = Duration::from_secs(6);
/// The same when others may run of whom nothing is known: their connection may come back by itself.
const ALONE: Duration = Duration::from_secs(20);
/// How long a server may join without any sign of coming further.
const STALLED: Duration = Duration::from_secs(60);
/// How long a server that served may be silent before it counts as gone, whatever the others say.
const UNRESPONSIVE: Duration = Duration::from_secs(10);
/// How long it may be cut off beside others that have one.
const CUT_OFF: Duration = Duration::from_secs(60);

/// Where a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the cluster with everything; perhaps giving a copy.
    Serving,
    /// In the cluster, but not with everything yet.
    CatchingUp,
    /// Without the majority.
    CutOff,
    /// Galera does not run in it any more, or not yet.
    Closed,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    Stay,
    /// Restart it.
    Restart(&'static str),
    /// Restart it if no other member runs a server.
    StopIfOthersEnded(&'static str),
    /// Restart it if every other member says what it does, and none is in a cluster or begins one.
    StopIfScattered(&'static str),
    /// Restart it, unless others are in a cluster that it may find its way back to.
    StopUnlessOthers(&'static str),
}

/// The course of one server.
#[derive(Clone, Debug)]
pub(super) struct Course {
    bootstraps: bool,
    place: Option<(Place, Instant)>,
    answered: Option<Instant>,
    joined_at: Option<i64>,
    progress: Option<(Progress, Instant)>,
}

/// What shows how far a server that joins has come: what its data directory holds, and what the server says of its position.
pub(super) type Progress = (Footprint, Option<i64>);

impl Course {
    /// Of a server that is being started.
    pub(super) fn begin(bootstraps: bool) -> Course {
        Course { bootstraps, place: None, answered: None, joined_at: None, progress: None }
    }

    /// The state of a server that does not answer.
    pub(super) fn starting(&self, now: Instant) -> State {
        let lately = |at: Instant| now.saturating_duration_since(at) < UNRESPONSIVE;
        match (self.was_serving(), self.bootstraps) {
            (true, _) if self.answered.is_some_and(lately) => State::Unresponsive,
            (true, _) => State::Starting,
            (false, true) => State::Bootstrapping,
            (false, false) => State::Joining,
        }
    }

    /// Whether it is on its way into a cluster that others have begun.
    pub(super) fn joins(&self) -> bool {
        !self.bootstraps && !self.was_serving()
    }

    /// Takes note of how far a server that joins has come; whether it has come no further for long.
    pub(super) fn stalls(&mut self, progress: Progress, now: Instant) -> bool {
        match self.progress {
            Some((before, since)) if before == progress => now.saturating_duration_since(since) >= STALLED,
            _ => {
                self.progress = Some((progress, now));
                false
            }
        }
    }

    /// What is to be done about a server that joins a cluster in which nobody is, for so long.
    pub(super) fn remedy_of_join(&self, deserted: Duration) -> Remedy {
        const WHY: &str = "nobody is in the cluster that this member is joining";
        match deserted {
            lasted if lasted >= ALONE => Remedy::Restart(WHY),
            lasted if lasted >= SCATTERED => Remedy::StopIfScattered(WHY),
            _ => Remedy::Stay,
        }
    }

    /// Takes note of what the server says.
    pub(super) fn observe(&mut self, facts: &GaleraFacts, now: Instant) -> Place {
        let place = match facts.component.as_str() {
            "Primary" if facts.state == "Synced" || facts.state == "Donor/Desynced" => Place::Serving,
            "Primary" => Place::CatchingUp,
            "non-Primary" => Place::CutOff,
            _ => Place::Closed,
        };
        if self.place.is_none_or(|(before, _)| before != place) {
            self.place = Some((place, now));
        }
        self.answered = Some(now);
        place
    }

    /// What is to be done, now.
    pub(super) fn remedy(&self, now: Instant) -> Remedy {
        let Some((place, since)) = self.place else { return Remedy::Stay };
        let lasted = now.saturating_duration_since(since);
        match place {
            Place::Closed if lasted >= CLOSED => Remedy::Restart("Galera has closed, and does not open by itself"),
            Place::CutOff if lasted >= CUT_OFF => Remedy::Restart("cut off for too long beside a cluster"),
            Place::CutOff if lasted >= ALONE => {
                Remedy::StopUnlessOthers("nobody has the majority; taking part in the election")
            }
            Place::CutOff if lasted >= SCATTERED => {
                Remedy::StopIfScattered("no member has the majority; taking part in the election")
            }
            Place::CutOff if lasted >= LEFT_ALONE => {
                Remedy::StopIfOthersEnded("every other member has ended; taking part in the election")
            }
            _ => Remedy::Stay,
        }
    }

    /// Whether it has come into the cluster just now.
    pub(super) fn serves_first(&self) -> bool {
        self.joined_at.is_none()
    }

    /// It is in the cluster.
    pub(super) fn served(&mut self, facts: &GaleraFacts) {
        self.joined_at.get_or_insert(facts.seqno);
    }

    /// Whether it has ever been in the cluster.
    pub(super) fn was_serving(&self) -> bool {
        self.joined_at.is_some()
    }

    /// The last change it had when it came into the cluster; -1 before.
    pub(super) fn joined_at(&self) -> i64 {
        self.joined_at.unwrap_or(-1)
    }
}

impl Place {
    /// The member's state.
    pub(super) fn state(self, facts: &GaleraFacts) -> State {
        match self {
            Place::Serving if facts.state == "Synced" => State::Synced,
            Place::Serving => State::Donor,
            Place::CatchingUp => State::Joining,
            Place::CutOff | Place::Closed => State::NonPrimary,
        }
    }

    /// What there is to say about it.
    pub(super) fn note(self, facts: &GaleraFacts) -> String {
        match self {
            Place::Serving => String::new(),
            Place::CatchingUp => format!("the server is {:?}", facts.state),
            Place::CutOff => "cut off from the majority".to_owned(),
            Place::Closed => "Galera is closed in this server".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(component: &str, state: &str) -> GaleraFacts {
        GaleraFacts { component: component.into(), state: state.into(), ..GaleraFacts::default() }
    }

    #[test]
    fn a_closed_server_is_restarted_after_five_seconds_and_not_before() {
        let (mut course, start) = (Course::begin(false), Instant::now());
        assert_eq!(course.remedy(start), Remedy::Stay, "it has not said anything yet");
        assert_eq!(course.observe(&facts("Disconnected", "Closed"), start), Place::Closed);
        assert_eq!(course.remedy(start + Duration::from_secs(4)), Remedy::Stay);
        assert!(matches!(course.remedy(start + CLOSED), Remedy::Restart(_)));
        course.observe(&facts("Primary", "Synced"), start + CLOSED);
        assert_eq!(course.remedy(start + CUT_OFF * 2), Remedy::Stay);
    }

    #[test]
    fn a_server_without_majority_looks_for_an_election_and_at_last_just_tries_again() {
        let (mut course, start) = (Course::begin(false), Instant::now());
        course.observe(&facts("non-Primary", "Initialized"), start);
        course.observe(&facts("non-Primary", "Initialized"), start + Duration::from_secs(10));
        assert_eq!(course.remedy(start + Duration::from_secs(2)), Remedy::Stay);
        assert!(matches!(course.remedy(start + LEFT_ALONE), Remedy::StopIfOthersEnded(_)));
        assert!(matches!(course.remedy(start + Duration::from_secs(5)), Remedy::StopIfOthersEnded(_)));
        assert!(matches!(course.remedy(start + SCATTERED), Remedy::StopIfScattered(_)));
        assert!(matches!(course.remedy(start + Duration::from_secs(19)), Remedy::StopIfScattered(_)));
        assert!(matches!(course.remedy(start + ALONE), Remedy::StopUnlessOthers(_)));
        assert!(matches!(course.remedy(start + CUT_OFF), Remedy::Restart(_)));
    }

    #[test]
    fn a_donor_serves_and_a_joiner_does_not() {
        let (mut course, now) = (Course::begin(true), Instant::now());
        for (state, place, shown) in [
            ("Joiner", Place::CatchingUp, State::Joining),
            ("Joined", Place::CatchingUp, State::Joining),
            ("Synced", Place::Serving, State::Synced),
            ("Donor/Desynced", Place::Serving, State::Donor),
        ] {
            let facts = facts("Primary", state);
            assert_eq!(course.observe(&facts, now), place);
            assert_eq!(place.state(&facts), shown);
        }
        assert_eq!(course.starting(now), State::Bootstrapping);
        assert!(course.serves_first());
        course.served(&GaleraFacts { seqno: 9, ..facts("Primary", "Synced") });
        assert_eq!((course.joined_at(), course.was_serving()), (9, true));
    }

    #[test]
    fn a_server_that_served_is_unresponsive_for_a_while_and_then_gone() {
        let (mut course, now) = (Course::begin(false), Instant::now());
        assert_eq!(course.starting(now), State::Joining);
        course.observe(&facts("Primary", "Synced"), now);
        course.served(&facts("Primary", "Synced"));
        assert_eq!(course.starting(now + Duration::from_secs(9)), State::Unresponsive);
        assert_eq!(course.starting(now + UNRESPONSIVE), State::Starting);
    }

    #[test]
    fn a_joiner_stalls_when_nothing_has_changed_for_a_minute() {
        let (mut course, start) = (Course::begin(false), Instant::now());
        assert!(course.joins() && !Course::begin(true).joins());
        let grown = Footprint { bytes: 1, ..Footprint::default() };
        let steps = [
            (Footprint::default(), None, 0, false),
            (Footprint::default(), None, 59, false),
            (grown, None, 59, false),
            (grown, None, 118, false),
            (grown, Some(7), 118, false),
            (grown, Some(7), 177, false),
            (grown, Some(7), 178, true),
        ];
        for (footprint, seqno, at, stalls) in steps {
            assert_eq!(course.stalls((footprint, seqno), start + Duration::from_secs(at)), stalls, "{at}");
        }
    }

    #[test]
    fn a_join_that_nobody_is_there_for_is_left_sooner_when_everybody_says_so() {
        let course = Course::begin(false);
        assert_eq!(course.remedy_of_join(Duration::from_secs(5)), Remedy::Stay);
        assert!(matches!(course.remedy_of_join(SCATTERED), Remedy::StopIfScattered(_)));
        assert!(matches!(course.remedy_of_join(ALONE), Remedy::Restart(_)));
    }
}

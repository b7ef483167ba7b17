//! A new cluster without copies: every member makes the data that a new cluster begins with, while it waits anyway; whoever is
//! elected chooses the cluster's uuid before it starts, and the others count their own data as the beginning of that cluster.
//! Then they join as somebody who was away since the beginning, and get what has changed since as single changes.
//!
//! Whatever fails here, or does not fit, ends in what there is without it: a whole copy. What was made counts as this member's
//! data only once it is in the cluster with it, as a copy does; a member that has ever had data does nothing of this.

use anyhow::Result;

use super::Member;
use crate::inside::{
    log,
    member::{
        galera::{
            decide::{Beginning, Position, Snapshot},
            server,
            volume::Data,
        },
        status::State,
    },
};

/// How far this member has come with data of its own making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// It has made none.
    Nothing,
    /// The draft is what a new cluster begins with.
    Draft,
    /// The data directory is the beginning of this cluster, at this position.
    Begun(Position),
    /// It did not work, or was used up.
    Never,
}

impl Member {
    /// Makes what a new cluster begins with, where there may be a use for it.
    pub(super) async fn make_draft(&mut self, position: &Position) {
        let had_data = self.volume.known().contains(&self.config.name) || self.volume.data() != Data::Empty;
        let new = *position == Position::Empty && !had_data;
        if self.own != Own::Nothing || !self.config.alike || !new {
            return;
        }
        self.board.enter(State::Initialising, "what a new cluster begins with");
        self.own = match self.drafted().await {
            Ok(()) => Own::Draft,
            Err(error) => never(&error),
        };
    }

    pub(super) async fn drafted(&self) -> Result<()> {
        self.volume.clear(false)?;
        server::initialise(self.config.flavour, &self.config.paths, &self.volume.draft(), "").await
    }

    /// Counts the draft as the beginning of the cluster that begins, if it is that.
    pub(super) async fn begin_alike(&mut self, seen: &Snapshot) {
        let Some(beginning) = self.usable(seen) else { return };
        let outdated = matches!(&self.own, Own::Begun(Position::At { uuid, .. }) if *uuid != beginning.uuid);
        if outdated {
            // Whoever began has failed and begins again.
            self.own = Own::Nothing;
            self.make_draft(&Position::Empty).await;
        }
        if self.own != Own::Draft {
            return;
        }
        self.board.enter(State::Initialising, "as the new cluster begins");
        self.own = match self.begun(&beginning.uuid).await {
            Ok(position) => Own::Begun(position),
            Err(error) => never(&error),
        };
    }

    async fn begun(&self, uuid: &str) -> Result<Position> {
        self.volume.begin_history(uuid)?;
        server::begin_alone(&self.config, &self.volume.draft(), uuid).await?;
        let seqno = self.volume.end_of_beginning(uuid)?;
        self.volume.adopt_for_joining()?;
        Ok(Position::At { uuid: uuid.to_owned(), seqno })
    }

    /// The position from which this member can join without a copy, if it can; it is tried once.
    pub(super) fn begun_with(&mut self, seen: &Snapshot, peers: &[(String, String)]) -> Option<Position> {
        let own = std::mem::replace(&mut self.own, Own::Never);
        let Own::Begun(position @ Position::At { .. }) = own else { return None };
        let (uuid, _) = position.data()?;
        let theirs = |name: &String| Some(seen.members.get(name)?.record.position.data()?.0);
        let same = self.usable(seen).is_some_and(|beginning| beginning.uuid == uuid)
            && peers.iter().all(|(name, _)| theirs(name) == Some(uuid));
        same.then_some(position)
    }

    fn usable(&self, seen: &Snapshot) -> Option<Beginning> {
        let recipe = self.config.flavour.recipe().ok()?;
        let fits = self.config.alike && fits(&self.config.name, &recipe, seen) && self.volume.data() != Data::Present;
        seen.beginning.clone().filter(|_| fits)
    }
}

/// Whether `me` may count data of this recipe as the beginning of the cluster: it was the beginning, the cluster is still
/// that one, and `me` is nobody who has lost what it had.
fn fits(me: &str, recipe: &str, seen: &Snapshot) -> bool {
    let same = |uuid: &String| seen.initialised.as_ref().is_none_or(|initialised| initialised == uuid);
    let knows = seen.members.values().any(|found| found.record.known.contains(me));
    !seen.known.contains(me) && !knows && seen.beginning.as_ref().is_some_and(|b| b.recipe == recipe && same(&b.uuid))
}

fn never(error: &anyhow::Error) -> Own {
    log(&format!("{error:#}; this member copies instead"));
    Own::Never
}

/// A uuid that nobody has.
pub(super) fn new_uuid() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_member_of_the_very_cluster_that_began_so_needs_no_copy() {
        let beginning = |uuid: &str| Some(Beginning { uuid: uuid.into(), recipe: "r".into() });
        let new = Snapshot { beginning: beginning("u"), ..Snapshot::default() };
        let up = Snapshot { initialised: Some("u".into()), known: ["db-0".to_owned()].into(), ..new.clone() };
        assert!(fits("db-1", "r", &new) && fits("db-1", "r", &up));
        assert!(!fits("db-1", "s", &up), "another version of this program makes other data");
        assert!(!fits("db-0", "r", &up), "it had data, which may have been more");
        assert!(
            !fits("db-1", "r", &Snapshot { beginning: beginning("v"), ..up.clone() }),
            "another cluster came later"
        );
        assert!(!fits("db-1", "r", &Snapshot { beginning: None, ..up }), "it is not known how it began");
    }

    #[test]
    fn a_new_uuid_has_the_form_of_one_and_is_never_the_same() {
        let (one, two) = (new_uuid(), new_uuid());
        assert_ne!(one, two);
        let parts: Vec<&str> = one.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{one}");
    }
}

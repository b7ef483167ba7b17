//! The agent's orders, carried out between two turns of the supervisor: first it is checked whether this one may be obeyed,
//! then it is remembered, then done. Whoever ordered is answered with a status that was looked at after that.

use anyhow::{Context, Result, ensure};

use super::{
    aside,
    decide::Data,
    errand::{CLOSING, timely},
    local,
    supervise::Member,
};
use crate::{
    inside::{
        log,
        member::{
            mandate::{Line, Mandate, Order, Part, What, accept},
            status::{MemberStatus, State},
        },
    },
    wire::gtid::GtidSet,
};

impl Member {
    /// Does what was ordered; the status is what came of it.
    ///
    /// # Errors
    /// Why it was not done, for whoever ordered it.
    pub(super) async fn obey(&mut self, order: &Order) -> Result<MemberStatus, String> {
        // It may have waited for the loop.
        timely(order, &self.board)?;
        let carried_out = self.carry_out(order).await;
        if let Err(error) = &carried_out {
            log(&format!("{} (term {}): {error:#}", name(&order.what), order.term));
        }
        // What is there now is seen at once, not at the next turn.
        let looked = self.turn().await;
        carried_out.and(looked).map_err(|error| format!("{error:#}"))?;
        Ok(self.board.read())
    }

    async fn carry_out(&mut self, order: &Order) -> Result<()> {
        let own = self.volume.mandate()?;
        let mandate = accept(own.as_ref(), self.data == Data::Present, &order.term, order.version, &order.what);
        let mandate = mandate.map_err(anyhow::Error::msg)?;
        if own.as_ref() != Some(&mandate) {
            log(&format!("{} (term {}, by {})", name(&order.what), order.term, order.term.by));
        }
        match &order.what {
            What::Revoke => self.revoke(&mandate).await,
            What::Close => self.close(&mandate).await,
            What::Promote { acks, holds } => self.promote(&mandate, *acks, holds).await,
            What::Await { acks } => self.wait_for(&mandate, *acks).await,
            What::Follow { .. } => self.follow_on(&mandate).await,
            What::Copy { source, .. } => self.copy_again(&mandate, source).await,
        }
    }

    async fn revoke(&mut self, mandate: &Mandate) -> Result<()> {
        self.volume.set_mandate(mandate)?;
        if self.is_open() {
            return self.fence("it is the source no more").await;
        }
        match &mut self.session {
            Some(session) if self.data == Data::Present => local::stop_fetching(session).await,
            _ => Ok(()),
        }
    }

    async fn close(&mut self, mandate: &Mandate) -> Result<()> {
        if let (true, Some(session)) = (self.is_open(), &mut self.session) {
            local::close(session, CLOSING).await?;
        }
        // Remembered only now: whoever could not be closed is the source still.
        self.volume.set_mandate(mandate)?;
        if let Some(session) = &mut self.session {
            local::end_clients(session).await?;
        }
        Ok(())
    }

    async fn promote(&mut self, mandate: &Mandate, acks: u32, holds: &str) -> Result<()> {
        let session = self.session.as_mut().context("its server does not answer")?;
        let facts = local::look(session).await?;
        ensure!(facts.sql_errno == 0, "it could not apply what its source sent");
        let has = facts.executed()?;
        let lacks = facts.everything()?.with(&GtidSet::parse(holds)?).without(&has);
        ensure!(lacks.is_empty(), "it has not applied {lacks} yet");
        // First it is remembered, then it is open: a member that is open unremembered would be fenced by nobody.
        // Opened again in the same term it goes on with the line that it began then.
        let line = match mandate.line.term == mandate.term {
            true => mandate.line.clone(),
            false => Line { term: mandate.term.clone(), base: has.to_string() },
        };
        self.volume.set_mandate(&Mandate { line, ..mandate.clone() })?;
        local::open(session, acks).await?;
        self.acks = Some(acks);
        self.board.change(|status| status.isolated = false);
        Ok(())
    }

    async fn wait_for(&mut self, mandate: &Mandate, acks: u32) -> Result<()> {
        ensure!(self.is_open(), "it is not open");
        // First it is remembered: an older order that comes late must not be obeyed any more.
        self.volume.set_mandate(mandate)?;
        let session = self.session.as_mut().context("its server does not answer")?;
        local::wait_for(session, acks).await?;
        self.acks = Some(acks);
        Ok(())
    }

    /// The loop follows; but whether it acknowledges what it is sent is changed at once, because others count on that.
    async fn follow_on(&mut self, mandate: &Mandate) -> Result<()> {
        self.volume.set_mandate(mandate)?;
        self.acknowledges = matches!(mandate.part, Part::Follows(_));
        match (&mut self.session, self.board.read().server) {
            (Some(session), Some(facts)) if facts.fetches() && facts.semi_sync != self.acknowledges => {
                local::stop_fetching(session).await?;
                local::resume(session, self.acknowledges).await
            }
            _ => Ok(()),
        }
    }

    /// The end of this member's data; the loop copies that of the source, whatever becomes of this process meanwhile.
    async fn copy_again(&mut self, mandate: &Mandate, source: &str) -> Result<()> {
        self.acknowledges = matches!(mandate.part, Part::Follows(_));
        if self.data != Data::Present {
            return self.volume.set_mandate(mandate);
        }
        let peers = self.peers.known();
        let theirs = peers.iter().filter(|peer| peer.name == source).find_map(|peer| peer.status.as_ref());
        let theirs = theirs.with_context(|| format!("{source} does not answer"))?;
        ensure!(theirs.state == State::Source, "{source} is not open for writes");
        ensure!(theirs.term() >= Some(&mandate.term), "{source} has not heard of term {}", mandate.term);
        let facts = theirs.server.as_ref().with_context(|| format!("{source} does not say what it has"))?;
        let session = self.session.as_mut().context("its server does not answer")?;
        let own = local::look(session).await?;
        ensure!(!own.is_open(), "it is open for writes");
        let diverged = own.executed()?.without(&facts.executed()?);
        if !diverged.is_empty() {
            let folder = aside::keep(session, &self.volume, &mandate.term, &diverged).await?;
            log(&format!("{diverged}, which only this member has, is kept in {}", folder.display()));
            self.board.change(|status| status.aside = self.volume.kept_aside());
        }
        self.volume.set_mandate(mandate)?;
        self.volume.expect_copy()?;
        self.data = Data::Fresh;
        Ok(())
    }

    /// Whether the server takes writes, as far as was seen last.
    fn is_open(&self) -> bool {
        self.board.read().server.is_some_and(|facts| facts.is_open())
    }
}

fn name(what: &What) -> &'static str {
    match what {
        What::Revoke => "is to fetch nothing more",
        What::Close => "is to be closed",
        What::Promote { .. } => "is to be the source",
        What::Await { .. } => "is to wait for another number of replicas",
        What::Follow { learns: true, .. } | What::Copy { learns: true, .. } => "is to follow without being counted",
        What::Follow { .. } => "is to follow",
        What::Copy { .. } => "is to be copied anew",
    }
}

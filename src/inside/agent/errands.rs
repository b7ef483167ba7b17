//! Orders on their way to members: at most one to each at a time, beside the loop, because a member may take long to answer.
//! What a member answers is news like what it says by itself. Who leads no more sends nothing; what is under way then is refused by
//! members that have heard of a newer term.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    decide::{Answer, Wanted},
    known::{Observations, PodView},
    lease::Leadership,
    log,
};
use crate::inside::{
    member::{
        mandate::{Order, Term, What},
        status::MemberStatus,
    },
    orders::Courier,
};

/// How long a member may take to carry an order out, and for how long an order may be begun.
const PATIENCE: Duration = Duration::from_secs(8);
const BEGUN_WITHIN_MS: u64 = 4_000;
/// How long after a failed order the same member is given another one.
const AGAIN: Duration = Duration::from_millis(500);

/// The orders of one life of an agent.
pub(super) struct Errands {
    courier: Courier,
    under_way: BTreeMap<String, (Wanted, JoinHandle<Result<()>>)>,
    /// Why the last order to a member failed, and when.
    failed: BTreeMap<String, (String, Instant)>,
    /// The newest term in which we have ordered anything of our own.
    used: Option<Term>,
    /// Whom we have ordered to be the source, and in which term.
    chosen: Option<(Term, String)>,
}

impl Errands {
    pub(super) fn new(courier: Courier) -> Errands {
        Errands { courier, under_way: BTreeMap::new(), failed: BTreeMap::new(), used: None, chosen: None }
    }

    /// The newest term in which this agent has ordered anything but to follow and to wait.
    pub(super) fn used(&self) -> Option<&Term> {
        self.used.as_ref()
    }

    /// Whom this agent has ordered to be the source last.
    pub(super) fn chosen(&self) -> Option<&(Term, String)> {
        self.chosen.as_ref()
    }

    /// Why something of this is not done yet: the last failure among those who are wanted to do something.
    pub(super) fn trouble(&self, wanted: &[Wanted]) -> Option<String> {
        let failed = wanted.iter().filter_map(|order| Some((&order.member, self.failed.get(&order.member)?)));
        failed.max_by_key(|(_, (_, at))| *at).map(|(member, (why, _))| format!("{member}: {why}"))
    }

    /// Sends what is wanted to whoever has nothing to do yet.
    pub(super) fn send(
        &mut self,
        leadership: &Leadership,
        observed: &Observations,
        pods: &[PodView],
        wanted: &[Wanted],
    ) {
        for order in wanted {
            let pause = self.failed.get(&order.member).is_some_and(|(_, at)| at.elapsed() < AGAIN);
            if pause || self.under_way.contains_key(&order.member) || !leadership.surely_valid() {
                continue;
            }
            let Some(pod) = pods.iter().find(|pod| pod.name == order.member) else { continue };
            let Some((address, envelope)) = envelope(observed, pod, order) else { continue };
            log::info(
                "orders",
                &[
                    ("member", order.member.clone().into()),
                    ("what", serde_json::to_value(&order.what).unwrap_or_default()),
                    ("term", order.term.number.into()),
                ],
            );
            if !matches!(order.what, What::Follow { .. } | What::Copy { .. } | What::Await { .. })
                && self.used.as_ref() < Some(&order.term)
            {
                self.used = Some(order.term.clone());
            }
            if matches!(order.what, What::Promote { .. }) {
                self.chosen = Some((order.term.clone(), order.member.clone()));
            }
            let (courier, observed, uid) = (self.courier.clone(), observed.clone(), pod.uid.clone());
            let task = tokio::spawn(async move {
                let answered = courier.send(&address, &envelope.member, &envelope, PATIENCE).await;
                let status: MemberStatus = answered.inspect_err(|_| observed.wake())?;
                observed.answer(&envelope.member, &uid, Answer::Says(Box::new(status)));
                observed.wake();
                anyhow::Ok(())
            });
            self.under_way.insert(order.member.clone(), (order.clone(), task));
        }
    }

    /// Takes note of orders that have been answered, or were not.
    pub(super) async fn hear(&mut self) {
        let done: Vec<String> =
            self.under_way.iter().filter(|(_, (_, task))| task.is_finished()).map(|(name, _)| name.clone()).collect();
        for member in done {
            let Some((order, task)) = self.under_way.remove(&member) else { continue };
            match task.await.context("the task broke").flatten() {
                Ok(()) => drop(self.failed.remove(&member)),
                Err(error) => {
                    let why = format!("{error:#}");
                    log::warn(
                        "an order was not carried out",
                        &[
                            ("member", member.clone().into()),
                            ("term", order.term.number.into()),
                            ("why", why.clone().into()),
                        ],
                    );
                    self.failed.insert(member, (why, Instant::now()));
                }
            }
        }
    }
}

/// The order as it travels, and where to; `None` while it is not known which life of the member it would reach.
fn envelope(observed: &Observations, pod: &PodView, order: &Wanted) -> Option<(String, Order)> {
    let (clock, instance) = observed.life_of(&pod.name, &pod.uid)?;
    let envelope = Order {
        term: order.term.clone(),
        version: order.version,
        member: order.member.clone(),
        instance,
        until_ms: clock + BEGUN_WITHIN_MS,
        what: order.what.clone(),
    };
    Some((pod.address.clone()?, envelope))
}

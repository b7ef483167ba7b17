//! Orders on their way to the supervisor's loop: whether one is meant for this life of this member and comes in time, and what of
//! time the loop itself has to watch.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::{mpsc, oneshot};

use crate::inside::{
    member::{
        mandate::{Order, Part},
        status::{Board, MemberStatus},
    },
    orders::{self, Papers, Refused},
};

/// How long commits may take that were begun before the source was to be closed.
pub(super) const CLOSING: Duration = Duration::from_secs(3);

/// An order on its way to the supervisor's loop, and where its answer goes.
pub(super) type Errand = (Order, oneshot::Sender<Result<MemberStatus, String>>);

/// Takes orders from now on; they come out of the returned end in their turn.
///
/// # Errors
/// The port is taken, or the papers are not there.
pub(super) async fn listen(board: &Board) -> Result<mpsc::Receiver<Errand>> {
    let (sender, receiver) = mpsc::channel(4);
    let papers = Papers::read(orders::FOLDER.as_ref())?;
    let board = board.clone();
    orders::serve(orders::PORT, &papers, move |order: Order| {
        let (sender, board) = (sender.clone(), board.clone());
        async move {
            timely(&order, &board).map_err(Refused::because)?;
            let (answer, answered) = oneshot::channel::<Result<MemberStatus, String>>();
            let ending = || Refused::because("this member is ending");
            sender.send((order, answer)).await.map_err(|_| ending())?;
            answered.await.map_err(|_| ending())?.map_err(Refused::because)
        }
    })
    .await?;
    Ok(receiver)
}

/// Whether an order is meant for this life of this member, and not too late.
pub(super) fn timely(order: &Order, board: &Board) -> Result<(), String> {
    let status = board.read();
    if order.member != status.name {
        return Err(format!("this is {}, not {}", status.name, order.member));
    }
    if order.instance != status.instance {
        return Err(format!("{} was started again since that was ordered", order.member));
    }
    if status.clock_ms > order.until_ms {
        return Err("it came too late".to_owned());
    }
    Ok(())
}

/// Whether a source that hears from nobody may have been given up: no replica acknowledges, and no member answers.
pub(super) fn hears_nobody(part: Option<&Part>, status: &MemberStatus, answering: usize, others: usize) -> bool {
    let open = status.server.as_ref().is_some_and(|facts| facts.is_open() && facts.clients == 0);
    part == Some(&Part::Source) && open && others > 0 && answering == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::{
        mandate::{Term, What},
        status::ServerFacts,
    };

    #[test]
    fn an_order_for_somebody_else_or_another_life_or_another_time_is_refused() {
        let board = Board::new("db-1");
        let status = board.read();
        let order = Order {
            term: Term::default(),
            version: 0,
            member: "db-1".into(),
            instance: status.instance.clone(),
            until_ms: status.clock_ms + 60_000,
            what: What::Revoke,
        };
        timely(&order, &board).expect("in time");
        for (wrong, why) in [
            (Order { member: "db-2".into(), ..order.clone() }, "this is db-1, not db-2"),
            (Order { instance: "before".into(), ..order.clone() }, "started again"),
        ] {
            assert!(timely(&wrong, &board).expect_err("refused").contains(why));
        }
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(timely(&Order { until_ms: 1, ..order }, &board).expect_err("refused"), "it came too late");
    }

    #[test]
    fn only_an_open_source_without_answers_hears_nobody() {
        let status = |clients, shut| MemberStatus {
            server: Some(ServerFacts { clients, super_read_only: shut, ..ServerFacts::default() }),
            ..MemberStatus::default()
        };
        assert!(hears_nobody(Some(&Part::Source), &status(0, false), 0, 2));
        assert!(!hears_nobody(Some(&Part::Source), &status(1, false), 0, 2), "a replica acknowledges");
        assert!(!hears_nobody(Some(&Part::Source), &status(0, false), 1, 2), "a member answers");
        assert!(!hears_nobody(Some(&Part::Source), &status(0, true), 0, 2), "it is shut anyway");
        assert!(!hears_nobody(Some(&Part::Source), &status(0, false), 0, 0), "there are no others");
        assert!(!hears_nobody(None, &status(0, false), 0, 2));
    }
}

//! Something that is there before the step that makes it has ended: who needs no more than that waits at its gate.

use tokio::sync::SetOnce;

/// A value to come, handed on once.
#[derive(Debug)]
pub struct Gate<T>(SetOnce<T>);

impl<T> Gate<T> {
    /// One that is closed.
    pub fn closed() -> Gate<T> {
        Gate(SetOnce::new())
    }

    /// Lets everybody through, now and later; what is handed on first stays.
    pub fn open(&self, value: T) {
        let _ = self.0.set(value);
    }

    /// Waits until it is open. A step that fails never opens its gate: who waits is dropped with the step's partner.
    pub async fn wait(&self) -> &T {
        self.0.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_lets_those_through_who_came_before_and_after_it_was_opened() {
        let gate = Gate::closed();
        let waiter = async { *gate.wait().await };
        let opener = async {
            tokio::task::yield_now().await;
            gate.open(1);
            gate.open(2);
        };
        assert_eq!(tokio::join!(waiter, opener).0, 1);
        assert_eq!(*gate.wait().await, 1);
    }
}

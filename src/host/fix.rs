//! Stub of the host owner's room, with its signatures.

use futures_util::future::BoxFuture;

/// One thing that `--fix` would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action(pub String);

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is asked before anything is changed.
pub trait Consent: Send + Sync {
    /// Shows what would be done and says whether to go ahead. Without a terminal or with `--yes` that is always so.
    fn agree<'a>(&'a self, actions: &'a [Action]) -> BoxFuture<'a, bool>;
}

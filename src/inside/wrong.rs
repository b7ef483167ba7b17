//! What the machinery of kube's controllers wants of an error: a type that is one. It is logged, and what was begun is tried again.

use std::{error::Error, fmt};

/// Any error, as one line.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) anyhow::Error);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Error for Wrong {}

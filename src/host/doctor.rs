//! Stub: see the owner's brief.

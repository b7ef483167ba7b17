//! Reads a lab file and reports every problem at once. (Stub: the spec owner writes this room.)

//! Calls [`cli::main`] and returns its exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one TLS provider of everything that speaks TLS here; installed before anything can ask for it, and an `Err`
    // only says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::main()
}

//! The command `token-registry`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    token_registry::cli::run(std::env::args_os())
}

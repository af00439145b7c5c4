//! The `rotord` program: hands its arguments to the command line and its verdict to the system.

use std::process::ExitCode;

fn main() -> ExitCode {
    rotord::cli::main(std::env::args_os())
}

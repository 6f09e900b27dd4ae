//! The `segue` binary: hands over to the command line of the shell.

use std::process::ExitCode;

use segue::shell::cli::{self, Programs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // There is no node to run until the engine that joins the parts is finished; the command line says so.
    cli::run(&Programs { serve: None, demo: None })
}

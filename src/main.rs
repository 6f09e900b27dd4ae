//! The `segue` binary. It says what is missing until there is a node to run.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "segue: this tree has no node to run yet: the engine that joins its parts is not finished (see README.md)"
    );
    ExitCode::from(2)
}

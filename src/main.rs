//! The `segue` binary: hands over to the command line of the shell.

use std::process::ExitCode;

use segue::shell::cli::DemoOutput;
use segue::shell::cli::{self, Programs};
use segue::shell::{demo, node};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(&Programs { serve: node::serve, demo: show })
}

fn show(output: DemoOutput) -> anyhow::Result<ExitCode> {
    let format = match output {
        DemoOutput::Text => demo::Format::Text,
        DemoOutput::Json => demo::Format::Json,
    };
    node::demonstrate(demo::Options { format })
}

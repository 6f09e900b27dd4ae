//! The `segue` binary: hands over to the command line of the shell.

fn main() {}

//! The program: see `exhaustd --help`, and the library for everything it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    exhaust::allocator::keep_memory();
    exhaust::cli::main()
}

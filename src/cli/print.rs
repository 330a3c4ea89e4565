//! The only writer of standard output and standard error. The macros of the standard library panic where a pipe is closed or
//! a disk is full; a lint refuses them.
//!
//! A closed pipe is no failure: the command does its work, prints no more, and ends with the exit code of its work. Any other
//! failure to write is reported once, by [`finish`].

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

/// Writes a line to standard output.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::print::line(format_args!($($text)*)) };
}

/// Writes text to standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print::text(format_args!($($text)*)) };
}

pub(super) use {out, outln};

/// Whether standard output can be written.
#[derive(Debug)]
enum State {
    Open,
    Closed,
    Failed(String),
}

static STATE: Mutex<State> = Mutex::new(State::Open);

/// Writes a line to standard output.
pub(super) fn line(text: Arguments<'_>) {
    self::text(format_args!("{text}\n"));
}

/// Writes text to standard output.
pub(super) fn text(text: Arguments<'_>) {
    write(|| io::stdout().lock().write_fmt(text));
}

/// Writes what is buffered.
///
/// # Errors
/// Why the output was not written; a closed pipe is no error.
pub(super) fn finish() -> Result<(), String> {
    write(|| io::stdout().lock().flush());
    match &*STATE.lock().unwrap_or_else(PoisonError::into_inner) {
        State::Failed(why) => Err(format!("cannot write to standard output: {why}")),
        State::Open | State::Closed => Ok(()),
    }
}

/// Runs a write to standard output, unless an earlier one failed.
pub(super) fn write(write: impl FnOnce() -> io::Result<()>) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*state, State::Open)
        && let Err(error) = write()
    {
        *state = if error.kind() == ErrorKind::BrokenPipe { State::Closed } else { State::Failed(error.to_string()) };
    }
}

/// Writes a line to standard error. A failure to do so cannot be reported anywhere.
pub(super) fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

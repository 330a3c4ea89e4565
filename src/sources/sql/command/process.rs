//! A child process in a process group of its own, which ends with all that it has started.

use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::sources::GivenUp;
use crate::sources::sql::transport::LONGEST;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long it has to end by itself once it is told to.
const GRACE: Duration = Duration::from_secs(5);
/// How much is kept of what it writes to standard error: the end of it.
const TOLD: usize = 2048;

/// How a program ended.
pub(super) enum Ended {
    /// With this status, and this end of its standard error.
    ByItself(ExitStatus, String),
    /// Nobody waits for it any more.
    GivenUp,
    /// It took longer than it may.
    TooLate,
}

/// Runs a program with `input` on standard input and the place of the stage in `EXHAUST_STAGE`. When this comes back, no process
/// of its group is left.
///
/// # Errors
/// It cannot be started or waited for.
pub(super) fn run(command: &[String], stage: &str, input: &[u8], given_up: &GivenUp) -> io::Result<Ended> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(input)?;
    stdin.rewind()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    // Our own settings, which have passwords, are none of its business.
    for (name, _) in std::env::vars_os() {
        if name == "DATABASE_URL" || name.as_encoded_bytes().starts_with(b"EXHAUST__") {
            command.env_remove(name);
        }
    }
    let mut group = Group(command.env("EXHAUST_STAGE", stage).spawn()?);
    let told = group.0.stderr.take().map(end_of);
    let started = Instant::now();
    while !group.has_ended()? {
        let late = started.elapsed() > LONGEST;
        if late || given_up() {
            group.end()?;
            return Ok(if late { Ended::TooLate } else { Ended::GivenUp });
        }
        thread::sleep(LOOK);
    }
    // What it has started and not waited for would go on writing.
    group.signal(Signal::KILL);
    let status = group.0.wait()?;
    // A process that has left the group may hold the pipe open.
    let told = told.and_then(|told| told.recv_timeout(GRACE).ok()).unwrap_or_default();
    Ok(Ended::ByItself(status, told))
}

/// A process and those that it has started. Dropped, they are killed.
struct Group(Child);

impl Group {
    /// Whether the process itself has ended. Its id is not given to another one before it is waited for.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.0)), options)?.is_some())
    }

    fn signal(&self, signal: Signal) {
        // That none is left is no error.
        let _ = kill_process_group(Pid::from_child(&self.0), signal);
    }

    /// Asks the processes to end, and kills those that do not.
    fn end(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE && !self.has_ended()? {
            thread::sleep(LOOK);
        }
        self.signal(Signal::KILL);
        self.0.wait().map(drop)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once it was waited for, its id may be another's.
        if matches!(self.has_ended(), Ok(false)) {
            self.signal(Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// Reads all of a program's standard error, so that it never waits, and keeps the end.
fn end_of(mut errors: impl Read + Send + 'static) -> Receiver<String> {
    let (send, told) = mpsc::channel();
    thread::spawn(move || {
        let (mut kept, mut block) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = errors.read(&mut block) {
            kept.extend_from_slice(&block[..read]);
            kept.drain(..kept.len().saturating_sub(TOLD));
        }
        // Nobody listens any more where the program was given up.
        let _ = send.send(String::from_utf8_lossy(&kept).trim().to_owned());
    });
    told
}

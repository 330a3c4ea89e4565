//! The built daemon as a process of its own: its log is read line by line, signals are sent to it, it is killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::site::Site;

/// How long anything in these tests may take before it counts as hanging: more than a machine with other work needs, and
/// nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// `exhaustd run`, killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    /// There will be no more: the process has ended.
    is_whole: bool,
}

impl Daemon {
    /// Starts it; `points` is `EXHAUST_TEST_POINT` (see `src/failpoints.rs`).
    pub(crate) fn start(site: &Site<'_>, points: &str) -> Self {
        Self::spawn(site.command(&["run"]).env("EXHAUST_TEST_POINT", points))
    }

    /// Starts this command and reads what it logs.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, written) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                written.seen.lock().unwrap().lines.push(line);
                written.more.notify_all();
            }
            written.seen.lock().unwrap().is_whole = true;
            written.more.notify_all();
        });
        Self { child, log }
    }

    /// Waits until a line with this text is logged; `false` if that takes longer than `patience`.
    pub(crate) fn logs_within(&self, text: &str, patience: Duration) -> bool {
        self.sees_within(patience, |seen| seen.lines.iter().any(|line| line.contains(text)))
    }

    fn sees_within(&self, patience: Duration, is_there: impl Fn(&Seen) -> bool) -> bool {
        let seen = self.log.seen.lock().unwrap();
        !self.log.more.wait_timeout_while(seen, patience, |seen| !is_there(seen)).unwrap().1.timed_out()
    }

    /// Waits until a line with this text is logged.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) {
        assert!(self.logs_within(text, PATIENCE), "never logged: {text}\n{}", self.log());
    }

    /// Everything that was logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.seen.lock().unwrap().lines.join("\n")
    }

    /// How many lines so far hold this text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log.seen.lock().unwrap().lines.iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, `STOP`, …
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended, and its log has been read to the end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the daemon to end", || self.ended());
        assert!(self.sees_within(PATIENCE, |seen| seen.is_whole), "its log has no end:\n{}", self.log());
        status
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something; a test that waits in vain fails.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Progress bars: only on a terminal, and only after a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const DELAY: Duration = Duration::from_secs(1);

/// A bar or spinner on stderr that appears after a second, and is removed when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    since: Instant,
    style: &'static str,
}

impl Progress {
    /// A bar, for work of known length.
    pub(super) fn bar() -> Self {
        Self::with_style("{msg} [{bar:40}] {human_pos}/{human_len} {eta}")
    }

    /// A spinner, for work of unknown length.
    pub(super) fn spinner() -> Self {
        Self::with_style("{spinner} {msg} {elapsed}")
    }

    fn with_style(style: &'static str) -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()), since: Instant::now(), style }
    }

    /// Sets what is done of how much.
    pub(super) fn show(&self, message: &str, done: u64, all: u64) {
        self.appear();
        self.bar.set_length(all);
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
    }

    /// Sets what is being done.
    pub(super) fn say(&self, message: &str) {
        self.appear();
        self.bar.set_message(message.to_owned());
        self.bar.tick();
    }

    fn appear(&self) {
        if self.bar.is_hidden() && self.since.elapsed() >= DELAY {
            if let Ok(style) = ProgressStyle::with_template(self.style) {
                self.bar.set_style(style);
            }
            // Where stderr is no terminal this target draws nothing.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

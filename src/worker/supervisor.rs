//! What the process tells its supervisor (systemd's protocol, `sd_notify`). Without one every call does nothing.

use sd_notify::NotifyState;

/// The daemon runs; `what` says what it waits for or works on.
pub(super) fn ready(what: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// What it does now.
pub(super) fn status(what: &str) {
    notify(&[NotifyState::Status(what)]);
}

/// It still runs.
pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// It takes no new work.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping: finishing or handing back")]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("the supervisor was not told error={error}");
    }
}

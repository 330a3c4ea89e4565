//! What the process tells its supervisor (systemd's protocol, `sd_notify`). Without one every call does nothing.

use sd_notify::NotifyState;

/// The daemon does its rounds; `what` says what it waits for or works on.
pub(super) fn ready(what: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// What it does now.
pub(super) fn status(what: &str) {
    tell(&[NotifyState::Status(what)]);
}

/// It still does its rounds.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// It takes no new work.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: finishing or handing back")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("the supervisor was not told error={error}");
    }
}

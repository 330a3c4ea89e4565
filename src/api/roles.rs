//! What the role of a key allows: one question for each permission. Tags and channels limit every role but the admin, which has
//! none of them.

use super::envelope::{ApiError, ErrorKind};
use super::keys::Caller;
use crate::config::checked::Role;

impl Caller {
    /// Submit, cancel and retry single requests.
    pub(super) fn may_act(&self) -> Result<(), ApiError> {
        self.allowed(self.role() != Role::Viewer, "only read")
    }

    /// Cancel, retry and verify requests by a filter, and set their priority, within the key's tags and channels.
    pub(super) fn may_act_on_many(&self) -> Result<(), ApiError> {
        self.allowed(matches!(self.role(), Role::Operator | Role::Admin), "not act on many requests")
    }

    /// Pause and resume a tenant: an operator those that its key covers.
    pub(super) fn may_pause_tenant(&self, tag: &str) -> Result<(), ApiError> {
        self.may_act_on_many()?;
        self.covers_tag(tag)
    }

    /// What concerns all tenants: pause, resume and run a job.
    pub(super) fn may_administer(&self) -> Result<(), ApiError> {
        self.allowed(self.role() == Role::Admin, "not do what concerns all tenants")
    }

    /// See links to files, and who asked for them.
    pub(super) fn sees_files(&self) -> bool {
        self.role() != Role::Viewer
    }

    fn allowed(&self, allowed: bool, may: &str) -> Result<(), ApiError> {
        if allowed {
            return Ok(());
        }
        let why = format!("the key's role, {}, may {may}", self.role().as_str());
        Err(ApiError::new(ErrorKind::Forbidden, why))
    }
}

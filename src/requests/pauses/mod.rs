//! Jobs and tenants that are paused: no request of theirs is claimed until they are resumed. Requests in work go on, and
//! submissions are taken.

mod verbs;

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::types::QueueError;

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// A job, by its id.
    Job,
    /// All requests of a tag.
    Tenant,
}

impl PauseKind {
    /// As the table and messages have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Tenant => "tenant",
        }
    }
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Of what.
    pub kind: PauseKind,
    /// Which job or tag.
    pub name: String,
    /// Who paused it.
    pub by: String,
    /// Why, where that was said.
    pub why: Option<String>,
    /// Since when, by the clock that decides about leases.
    pub since: DateTime<Utc>,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "{} {} is paused by {} since {since}", self.kind.as_str(), self.name, self.by)?;
        self.why.iter().try_for_each(|why| write!(f, ": {why}"))
    }
}

/// All pauses in force, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(Vec<Pause>);

impl Pauses {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Pause] {
        &self.0
    }

    /// The pause of the job that has one of these names.
    #[must_use]
    pub fn of_job<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Option<&Pause> {
        names.find_map(|name| self.find(PauseKind::Job, name))
    }

    /// The pause of a tag.
    #[must_use]
    pub fn of_tenant(&self, tag: &str) -> Option<&Pause> {
        self.find(PauseKind::Tenant, tag)
    }

    /// The tags that are paused.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|pause| pause.kind == PauseKind::Tenant).map(|pause| pause.name.as_str())
    }

    fn find(&self, kind: PauseKind, name: &str) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.kind == kind && pause.name == name)
    }
}

/// What came of a wish to pause something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paused {
    /// It is paused now.
    Done(Pause),
    /// It was already, and stays so.
    Before(Pause),
    /// These daemons live and know of no pauses, since they are of an older version: they would go on. Nothing changed.
    Refused(Vec<String>),
}

/// What operators do with pauses, and who waits for them.
pub trait PauseQueue: Send + Sync {
    /// The pauses in force.
    fn pauses(&self) -> Result<Pauses, QueueError>;

    /// Pauses a job, by its id, or a tag: claims that begin afterwards take none of its requests.
    fn pause(&self, kind: PauseKind, name: &str, by: &str, why: Option<&str>) -> Result<Paused, QueueError>;

    /// Ends a pause, and wakes the daemons. `false`: there is none.
    fn resume(&self, kind: PauseKind, name: &str) -> Result<bool, QueueError>;
}

/// The answer of a backend's statement.
#[derive(Debug, QueryableByName)]
pub(super) struct StoredPause {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    paused_by: String,
    #[diesel(sql_type = Nullable<Text>)]
    why: Option<String>,
    #[diesel(sql_type = BigInt)]
    since: i64,
}

impl StoredPause {
    /// `None`: a kind of a later version.
    fn pause(self) -> Option<Pause> {
        let kind = [PauseKind::Job, PauseKind::Tenant].into_iter().find(|kind| kind.as_str() == self.kind)?;
        let since = DateTime::from_timestamp_millis(self.since).unwrap_or_default();
        Some(Pause { kind, name: self.name, by: self.paused_by, why: self.why, since })
    }
}

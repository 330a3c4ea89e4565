//! The platform's tables and the columns that reports are made of, as `data.md` of the specification names them.
//!
//! A report says which [`Column`]s it needs; a source delivers them in canonical types, however its files or
//! databases hold them. Not here: how a value is read (that is `sources`).

mod columns;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use columns::{
    Bool, ColumnType, CompletedCount, Count, Decimal, Entries, Instant, Json, LastUpdated, Text, TypedColumn,
    assessment_aggregator, content, content_hierarchy, course_batch, user, user_activity_agg, user_enrolments,
};

/// A table of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row a batch; key `batchid`.
    CourseBatch,
    /// Courses, assessments and everything else that has metadata; key `identifier`.
    Content,
    /// The tree of a course as JSON text; key `identifier`.
    ContentHierarchy,
    /// Learners; key `userid`.
    User,
    /// Who takes part in which batch; key `batchid, courseid, userid`.
    UserEnrolments,
    /// Progress counters; key `context_id, user_id, activity_id`.
    UserActivityAgg,
    /// Attempts at assessments; key `batch_id, user_id, content_id, attempt_id`.
    AssessmentAggregator,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 7] = [
        Self::CourseBatch,
        Self::Content,
        Self::ContentHierarchy,
        Self::User,
        Self::UserEnrolments,
        Self::UserActivityAgg,
        Self::AssessmentAggregator,
    ];

    /// The table's name in files and databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CourseBatch => "course_batch",
            Self::Content => "content",
            Self::ContentHierarchy => "content_hierarchy",
            Self::User => "user",
            Self::UserEnrolments => "user_enrolments",
            Self::UserActivityAgg => "user_activity_agg",
            Self::AssessmentAggregator => "assessment_aggregator",
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a column holds, and with it the arrow type in which a source delivers it ([`Chunk`](crate::tables::chunk::Chunk) says
/// which types are text). Null always means "nothing there";
/// empty text is delivered as null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text. Numbers and booleans of a typed source come as their plain text.
    Text,
    /// `Boolean`. A value that does not read makes the row unusable.
    Bool,
    /// `Int64`, whole. A value that does not read makes the row unusable.
    Count,
    /// `Int64`: a decimal in millionths. A value that does not read makes the row unusable.
    Decimal,
    /// `Timestamp(Microsecond, None)`: an instant, microseconds since 1970 in UTC. Unreadable: null, and counted.
    Instant,
    /// `Int64`: the number of entries of a list or map (or that number itself).
    Entries,
    /// `Int64`: the entry `completedCount` of the map in this column, or the flat column `completedCount` in its
    /// place. A value that does not read makes the row unusable.
    CompletedCount,
    /// `Timestamp(Microsecond, None)`: an instant, or a map of which the entry `completedCount` is one.
    LastUpdated,
    /// Text holding one JSON value: metadata of any shape. Text comes as a JSON string, a list (native, JSON or in
    /// Python's spelling) as an array, a number as a number.
    Json,
}

/// What is done where the column is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Part of the key: a table without the column stops the load, a row with nothing there is unusable.
    Key,
    /// A table without the column stops the load; a row may have nothing there.
    Required,
    /// A missing column reads as empty.
    Optional,
}

/// One column that is needed of a table. Names match case-insensitively; a table may have the column under another name
/// that platforms have for it (`sources::spellings`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Kind,
    /// What is done where it is missing.
    pub presence: Presence,
}

impl Column {
    /// A column of the key.
    #[must_use]
    pub const fn key(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind: Kind::Text, presence: Presence::Key }
    }

    /// A column that must be there.
    #[must_use]
    pub const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name: Cow::Borrowed(name), kind, presence: Presence::Required }
    }

    /// A column that may be missing.
    #[must_use]
    pub const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name: Cow::Borrowed(name), kind, presence: Presence::Optional }
    }
}

//! From filters to batches, and from (batch, shared data) to one table. Pure: no I/O, no clock, no async.

pub mod dates;
pub mod schema;
pub mod table;

/// What changes a report's bytes, from `[[job]] options`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Empty some columns for learners of other channels.
    pub apply_privacy_policy: bool,
    /// Which attempt at an assessment counts.
    pub attempt: Attempt,
    /// `contentType`s whose attempts count.
    pub assessment_content_types: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            apply_privacy_policy: true,
            attempt: Attempt::Best,
            assessment_content_types: vec!["SelfAssess".to_owned()],
        }
    }
}

/// Which attempt at an assessment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// The one with the best score.
    Best,
    /// The latest one.
    Latest,
}

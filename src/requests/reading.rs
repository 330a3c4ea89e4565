//! What callers of the API may see, look for and are told: types without SQL, and globs in each backend's own language.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use wildmatch::WildMatch;

use super::paging::PageEntry;
use super::types::{RequestKey, RequestRow};

/// Which rows somebody may see. In globs `*` is any run of characters and `?` one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// Globs of tags; none: every tag.
    pub tags: Vec<String>,
    /// Globs of channels; `None`: every channel. Otherwise only rows made for one of these are seen, and of those that
    /// a key with channels made only what a key with these very channels made: another one's may hold more.
    pub channels: Option<Vec<String>>,
}

impl Reader {
    /// Sees every row.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether rows of this tag are seen at all.
    #[must_use]
    pub fn covers_tag(&self, tag: &str) -> bool {
        self.tags.is_empty() || matches(&self.tags, tag)
    }

    /// Whether rows made for this channel are seen at all.
    #[must_use]
    pub fn covers_channel(&self, channel: &str) -> bool {
        self.channels.as_ref().is_none_or(|channels| matches(channels, channel))
    }

    /// Whether this row is seen.
    #[must_use]
    pub fn sees(&self, row: &RequestRow) -> bool {
        self.covers_tag(&row.tag)
            && (self.channels.is_none()
                || row.requested_channel.as_deref().is_some_and(|channel| self.covers_channel(channel))
                    && row
                        .allowed_channels
                        .as_ref()
                        .is_none_or(|allowed| Some(allowed) == self.allowed_channels().as_ref()))
    }

    /// What the rows of this reader have in `allowed_channels`.
    #[must_use]
    pub fn allowed_channels(&self) -> Option<String> {
        self.channels.as_ref().map(|channels| json!(channels).to_string())
    }
}

fn matches(globs: &[String], text: &str) -> bool {
    globs.iter().any(|glob| WildMatch::new(glob).matches(text))
}

/// A glob as SQLite's GLOB takes it: there a bracket begins a set of characters.
pub(super) fn sqlite_glob(glob: &str) -> String {
    glob.replace('[', "[[]")
}

/// A glob as LIKE takes it.
pub(super) fn like_pattern(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for c in glob.chars() {
        match c {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    pattern
}

/// Who submits or tries again, and what they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Which rows they see: of others they change nothing.
    pub reader: Reader,
    /// Most requests under the reader's tags that are SUBMITTED or PROCESSING at a time, over all processes on one
    /// database; `None`: any number.
    pub open_requests: Option<u32>,
}

/// What is looked for; everything given holds, and of a list one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Job ids as written in rows.
    pub job_ids: Option<Vec<String>>,
    /// Statuses as written in rows.
    pub statuses: Option<Vec<String>>,
    /// The channels that requests were made for.
    pub channels: Option<Vec<String>>,
    /// The day (UTC) of the submission.
    pub submitted_on: Option<NaiveDate>,
}

/// So many rows of a search are counted, and not one more than one beyond them.
pub const COUNT_LIMIT: u64 = 10_000;

/// Up to so many rows that match are read all and sorted; of more the newest are soon found.
pub(super) const SORT_LIMIT: u64 = 1000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct SearchResult {
    /// How many rows match, on all pages; more than [`COUNT_LIMIT`] means that there may be any number more.
    pub total: u64,
    /// The rows of this page, the newest first.
    pub entries: Vec<PageEntry>,
}

/// A row that waits for its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRequest {
    /// Its key.
    pub key: RequestKey,
    /// When it was submitted, where that reads.
    pub submitted: Option<DateTime<Utc>>,
    /// Whether it is not to be claimed yet.
    pub backing_off: bool,
}

/// How far a request in work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestProgress {
    /// Files that are stored.
    pub batches_done: u64,
    /// Files that there will be.
    pub batches_total: u64,
}

impl RequestProgress {
    /// As `job_stats` holds it while the row is PROCESSING.
    pub(super) fn job_stats(self) -> String {
        json!({ "batches_done": self.batches_done, "batches_total": self.batches_total }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_spelled_in_each_language() {
        assert_eq!(sqlite_glob("a[b]*?"), "a[[]b]*?");
        assert_eq!(like_pattern(r"100%_\*?"), r"100\%\_\\%_");
    }

    #[test]
    fn a_reader_with_channels_sees_what_was_made_for_them() {
        let reader = Reader { tags: vec!["a-*".to_owned()], channels: Some(vec!["c?".to_owned()]) };
        let row = |tag: &str, channel: Option<&str>, allowed: Option<&str>| RequestRow {
            tag: tag.to_owned(),
            requested_channel: channel.map(str::to_owned),
            allowed_channels: allowed.map(str::to_owned),
            ..RequestRow::default()
        };
        assert!(reader.sees(&row("a-1", Some("c1"), None)));
        assert!(reader.sees(&row("a-1", Some("c1"), Some(r#"["c?"]"#))));
        for unseen in [
            row("b-1", Some("c1"), None),
            row("a-1", Some("d1"), None),
            row("a-1", None, None),
            row("a-1", Some("c1"), Some(r#"["c?","d"]"#)),
        ] {
            assert!(!reader.sees(&unseen), "{unseen:?}");
            assert!(Reader::everything().sees(&unseen));
        }
    }
}

//! The filter: which rows are looked for, by command line and API alike; and what a page of them is.
//!
//! The conditions are put together here, for both backends; how each is written in SQL is theirs ([`FilterSql`]).

use chrono::{DateTime, Utc};

use super::encryption::has_its_password;
use super::paging::PageEntry;
use super::status::Status;

/// Conditions on rows. All that are given hold; of a list, one value holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The client's key.
    pub tag: Option<String>,
    /// What the request id begins with.
    pub id_prefix: Option<String>,
    /// Job ids as written in rows.
    pub job_ids: Option<Vec<String>>,
    /// Statuses as written in rows.
    pub statuses: Option<Vec<String>>,
    /// The channels that requests were made for.
    pub channels: Option<Vec<String>>,
    /// Who asked.
    pub requested_by: Option<String>,
    /// The kind of failure.
    pub err_code: Option<String>,
    /// The file format, by its names in small letters; `csv` is the one of requests that name none.
    pub formats: Option<Vec<String>>,
    /// When it was submitted.
    pub submitted: TimeRange,
    /// When it ended.
    pub completed: TimeRange,
    /// Only requests whose password for their files is wiped.
    pub is_wiped: bool,
}

/// A range of time. Either end may be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before, and not at.
    pub until: Option<DateTime<Utc>>,
}

impl TimeRange {
    /// Whether it is open at both ends.
    #[must_use]
    pub(super) const fn is_open(&self) -> bool {
        self.from.is_none() && self.until.is_none()
    }
}

impl Filter {
    /// Whether it has no condition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The statuses in which rows are looked for that have this one: COMPLETED and SUCCESS, which other systems write, are the
    /// same.
    #[must_use]
    pub fn statuses_of(names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut names: Vec<String> = names.into_iter().collect();
        if names.iter().any(|name| Status::parse(name) == Some(Status::Completed)) {
            names.extend([Status::Completed.as_str(), Status::SUCCESS].map(str::to_owned));
            names.sort_unstable();
            names.dedup();
        }
        names
    }

    /// Whether rows with this status may match.
    pub(super) fn wants(&self, status: &str) -> bool {
        self.statuses.as_ref().is_none_or(|statuses| statuses.iter().any(|wanted| wanted == status))
    }

    /// The conditions in SQL, each with what it is about: those that usually leave the fewest rows come first.
    pub(super) fn conditions(&self, sql: &mut impl FilterSql) -> Vec<(About, String)> {
        let mut all = Vec::new();
        if let Some(prefix) = &self.id_prefix {
            all.push((About::Id, sql.begins("request_id", prefix)));
        }
        if let Some(code) = &self.err_code {
            // Earlier versions clear the message alone.
            let is = sql.is("err_code", std::slice::from_ref(code));
            all.push((About::ErrCode, is));
            all.push((About::Other, sql.is_there("err_message")));
        }
        for (about, column, value) in
            [(About::Requester, "requested_by", &self.requested_by), (About::Tag, "tag", &self.tag)]
        {
            if let Some(value) = value {
                all.push((about, sql.is(column, std::slice::from_ref(value))));
            }
        }
        if let Some(channels) = &self.channels {
            all.push((About::Channel, sql.is("requested_channel", channels)));
        }
        if !self.completed.is_open() {
            all.push((About::Completed, sql.within("dt_job_completed", self.completed)));
        }
        if let Some(formats) = &self.formats {
            all.push((About::Format, sql.format(formats)));
        }
        if let Some(statuses) = &self.statuses {
            all.push((About::Status, sql.is("status", statuses)));
        }
        if let Some(jobs) = &self.job_ids {
            all.push((About::Job, sql.is("job_id", jobs)));
        }
        if self.is_wiped {
            all.push((About::Other, concat!(has_its_password!(), " IS NOT TRUE").to_owned()));
        }
        if !self.submitted.is_open() {
            all.push((About::Submitted, sql.within("dt_job_submitted", self.submitted)));
        }
        all
    }
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Id,
    ErrCode,
    Requester,
    Tag,
    Channel,
    Completed,
    Format,
    Job,
    Status,
    Submitted,
    Other,
}

/// Conditions as a backend writes them. Each binds its values.
pub(super) trait FilterSql {
    /// A column is one of these texts.
    fn is(&mut self, column: &str, values: &[String]) -> String;

    /// A column is not NULL.
    fn is_there(&mut self, column: &str) -> String;

    /// A column begins with this text.
    fn begins(&mut self, column: &str, prefix: &str) -> String;

    /// A column is a time in this range.
    fn within(&mut self, column: &str, range: TimeRange) -> String;

    /// The request is for files of a format of these names.
    fn format(&mut self, names: &[String]) -> String;
}

/// The first text, in the order of bytes, that is behind all texts that begin with `prefix`. `None`: there is none.
pub(super) fn behind(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The numbers between are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// Matching rows are counted up to one more than this number. Up to this number they are read and sorted; of more, the newest are
/// found fast in the order of an index.
pub const COUNT_LIMIT: u64 = 10_000;

/// The result of a search.
#[derive(Clone, Debug, Default)]
pub struct SearchResult {
    /// How many rows match, on all pages. A number above [`COUNT_LIMIT`] is a lower bound.
    pub total: u64,
    /// The rows of this page, the newest first.
    pub entries: Vec<PageEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_and_success_are_one_status() {
        let searched = |names: &[&str]| Filter::statuses_of(names.iter().map(|name| (*name).to_owned()));
        for name in ["COMPLETED", "SUCCESS"] {
            assert_eq!(searched(&["FAILED", name]), ["COMPLETED", "FAILED", "SUCCESS"]);
        }
        assert_eq!(searched(&["FAILED", "success"]), ["FAILED", "success"]);
    }

    #[test]
    fn what_is_behind_a_prefix_is_behind_all_that_begin_with_it() {
        for (prefix, next) in [("a", "b"), ("a9", "a:"), ("\u{d7ff}", "\u{e000}"), ("a\u{10ffff}", "b")] {
            assert_eq!(behind(prefix).as_deref(), Some(next));
            assert!(format!("{prefix}\u{10ffff}").as_str() < next && prefix < next);
        }
        assert_eq!((behind(""), behind("\u{10ffff}")), (None, None));
    }
}

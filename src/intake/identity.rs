//! Request ids: equal submissions of one day have one id, and no other submission has it.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::canonical::{self, meaning};
use super::former;

/// Two submissions are the same one if all of this is equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    /// The client's key.
    pub(super) tag: &'a str,
    /// The job's id, aliases resolved.
    pub(super) job_id: &'a str,
    /// Where the job's files go unless jobConfig says so.
    pub(super) report_path: &'a str,
    /// The filters.
    pub(super) job_config: &'a Value,
    /// The file format.
    pub(super) output_format: &'a str,
    /// Who asks.
    pub(super) requested_by: Option<&'a str>,
    /// For which channel.
    pub(super) requested_channel: Option<&'a str>,
    /// The channels whose data may be in the files, as the row has them.
    pub(super) allowed_channels: Option<&'a str>,
    /// The day of the submission, UTC.
    pub(super) day: NaiveDate,
}

impl Identity<'_> {
    /// Lower-case hex SHA-1 over the canonical form of all of it.
    pub(super) fn request_id(&self) -> String {
        sha1_hex(&format!("[{}]", self.parts().join(",")))
    }

    /// The id where a row of another meaning has the usual one: an earlier version rounded numbers, and other programs may
    /// insert rows under any id.
    pub(super) fn other_request_id(&self) -> String {
        sha1_hex(&format!("[\"another\",{}]", self.parts().join(",")))
    }

    fn parts(&self) -> Vec<String> {
        let optional = |value: Option<&str>| value.map_or_else(|| "null".to_owned(), canonical::text);
        let mut parts = vec![
            canonical::text(self.tag),
            canonical::text(self.job_id),
            meaning(self.job_config, self.report_path),
            canonical::text(self.output_format),
            optional(self.requested_by),
            optional(self.requested_channel),
            canonical::text(&self.day.to_string()),
        ];
        parts.extend(self.allowed_channels.map(canonical::text));
        parts
    }

    /// The id that earlier versions gave. They rounded numbers, so a row of another meaning may have it.
    pub(super) fn former_request_id(&self) -> String {
        let parts = json!([
            self.tag,
            self.job_id,
            with_our_names(self.job_config),
            self.output_format,
            self.requested_by,
            self.requested_channel,
            self.day.to_string()
        ]);
        sha1_hex(&former::to_string(&parts))
    }
}

/// The same jobConfig with `contentFilters` under this name.
fn with_our_names(job_config: &Value) -> Cow<'_, Value> {
    let Some(search) = job_config.get("searchFilter") else { return Cow::Borrowed(job_config) };
    let mut renamed = job_config.clone();
    if let Some(fields) = renamed.as_object_mut() {
        fields.remove("searchFilter");
        fields.insert("contentFilters".to_owned(), search.clone());
    }
    Cow::Owned(renamed)
}

/// The request id of a standalone job's slot. The primary key ensures that the slot is made exactly once.
#[must_use]
pub(super) fn slot_request_id(job_id: &str, slot: DateTime<Utc>) -> String {
    sha1_hex(&format!("{job_id} {}", slot.format("%Y-%m-%dT%H:%M:%SZ")))
}

fn sha1_hex(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().fold(String::with_capacity(40), |mut hex, byte| {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        hex
    })
}

//! Where a page of a list or a search begins, in each form of time that rows have.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::paging::PageCursor;
use super::super::times::read_time;
use super::super::types::QueueError;
use super::statement::Value;

/// The forms of time, `@` being the column. Others write times in several forms, and values sort only within one form: numbers
/// come before text, and seconds before milliseconds. So the rows of each form are read separately, from the index
/// `job_request_newest` (of one tag) or `job_request_newest_of_all`, and merged. Text below '19-' is epoch numbers in a text
/// column (seconds and milliseconds sort together as text, until 2030); the dash keeps a numeric column from reading it as a
/// number. Text from ':' on, after the digits, is not a time. Within a day, `T` sorts after a space: where a tag mixes these two
/// forms, the edge of a page may be off by hours.
pub(super) const FORMS: [&str; 6] = [
    "@ >= '19-' AND @ < ':'",
    "@ >= ':'",
    "@ >= '' AND @ < '19-'",
    "@ >= 100000000000 AND @ < ''",
    "@ < 100000000000 AND typeof(@) <> 'text'",
    "@ IS NULL",
];

/// Bytes of a time that a cursor holds: no time is as long.
pub(super) const LONGEST_TIME: usize = 200;

/// The last row of one form on a page, by its time as stored and its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Last {
    /// `None`: NULL.
    pub(super) submitted: Option<Value>,
    /// Bytes, because the key of another system may not be UTF-8.
    pub(super) tag: Vec<u8>,
    pub(super) request_id: Vec<u8>,
}

/// Where a page begins: after the last row of each form of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Begin(pub(super) [Option<Last>; FORMS.len()]);

impl Begin {
    pub(super) fn cursor(&self) -> PageCursor {
        let time = |time: &Option<Value>| match time {
            None => json!(null),
            Some(Value::Text(text)) => json!(["t", text]),
            Some(Value::Blob(bytes)) => json!(["b", bytes]),
            Some(Value::Integer(number)) => json!(["i", number.to_string()]),
            Some(Value::Real(number)) => json!(["r", number.to_string()]),
        };
        let text = |bytes: &Vec<u8>| std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
        let last = |last: &Option<Last>| {
            let last =
                last.as_ref().map(|last| json!([time(&last.submitted), text(&last.tag), text(&last.request_id)]));
            last.unwrap_or_default()
        };
        PageCursor(serde_json::Value::from(self.0.iter().map(last).collect::<Vec<_>>()).to_string())
    }

    /// Clients may send anything.
    fn read(cursor: &PageCursor) -> Option<Self> {
        type Json = serde_json::Value;
        let read: Vec<Option<(Json, Json, Json)>> = serde_json::from_str(&cursor.0).ok()?;
        let bytes = |text: Json| match text {
            Json::String(text) => Some(text.into_bytes()),
            bytes => serde_json::from_value(bytes).ok(),
        };
        let time = |time: &serde_json::Value| -> Option<Option<Value>> {
            if time.is_null() {
                return Some(None);
            }
            let (kind, value) = (time.get(0)?.as_str()?, time.get(1)?);
            Some(Some(match kind {
                "t" => Value::Text(value.as_str()?.to_owned()),
                "b" => Value::Blob(serde_json::from_value(value.clone()).ok()?),
                "i" => Value::Integer(value.as_str()?.parse().ok()?),
                "r" => Value::Real(value.as_str()?.parse().ok()?),
                _ => return None,
            }))
        };
        let mut begin = Self::default();
        if read.len() != begin.0.len() {
            return None;
        }
        for (last, read) in begin.0.iter_mut().zip(read) {
            if let Some((submitted, tag, request_id)) = read {
                let submitted = time(&submitted)?;
                *last = Some(Last { submitted, tag: bytes(tag)?, request_id: bytes(request_id)? });
            }
        }
        // Rows of the last form have no time, all others have one.
        let fits = |(form, last): (usize, &Option<Last>)| {
            last.as_ref().is_none_or(|last| last.submitted.is_none() == (form == FORMS.len() - 1))
        };
        begin.0.iter().enumerate().all(fits).then_some(begin)
    }
}

pub(super) fn begin(after: Option<&PageCursor>) -> Result<Begin, QueueError> {
    after.map_or_else(|| Ok(Begin::default()), |cursor| Begin::read(cursor).ok_or(QueueError::InvalidCursor))
}

impl Last {
    pub(super) fn time(&self) -> Option<DateTime<Utc>> {
        match self.submitted.as_ref()? {
            Value::Text(text) => read_time(text),
            Value::Blob(bytes) => read_time(&String::from_utf8_lossy(bytes)),
            Value::Integer(number) => read_time(&number.to_string()),
            Value::Real(number) => read_time(&number.to_string()),
        }
    }
}

//! Rows as they come out of either backend, not checked yet: every column is text or NULL.

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::sql_types::{BigInt, Binary, Nullable};

use super::encryption::{EncryptionKey, Protected, scheme};
use super::status::Status;
use super::times::read_time;
use super::types::{Claim, ClaimedRequest, Completion, Overview, RequestKey, RequestRow, WaitingRequest};

/// Text of any content. It is read as bytes: SQLite columns also hold numbers and blobs, and a PostgreSQL database without an
/// encoding holds any bytes. What is not UTF-8 is replaced, so that no row makes a whole claim fail.
#[derive(Debug, diesel::deserialize::FromSqlRow)]
pub(super) struct LenientText(String);

impl LenientText {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<DB> FromSql<Binary, DB> for LenientText
where
    DB: Backend,
    Vec<u8>: FromSql<Binary, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<Binary, DB>>::from_sql(bytes)?;
        Ok(Self(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())))
    }
}

/// A row of which each column is text or NULL. No `Debug`, because there may be a password.
macro_rules! stored_row {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $column:ident,)* }) => {
        $(#[$doc])*
        #[derive(diesel::QueryableByName)]
        pub(super) struct $name {
            $(
                $(#[$about])*
                #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Binary>)]
                $column: Option<LenientText>,
            )*
        }
    };
}
pub(super) use stored_row;

stored_row! {
    /// The columns that both backends select under these names.
    StoredRow {
        tag, request_id, job_id, status, request_data,
        /// Bytes of a `request_data` that is too long to be read.
        unread_data,
        /// Not NULL where another column is too long to be read.
        truncated,
        requested_by, requested_channel,
        /// A JSON array.
        download_urls,
        dt_file_created, dt_job_submitted, dt_job_processing, dt_job_completed, execution_time, err_message,
        err_code, err_detail, iteration, crashes, lease_owner, lease_expires_at, next_attempt_at, processed_batches, job_stats,
        allowed_channels,
        /// Whether a password is set, or was; never the password.
        protected,
    }
}

stored_row! {
    /// A row that a claim took: the columns that a worker needs.
    StoredClaimed {
        tag, request_id, job_id, request_data, unread_data, unread_batches, requested_by, requested_channel,
        dt_job_submitted, dt_job_processing, iteration, crashes, processed_batches, allowed_channels, encryption_key,
        encryption_key_sealed, encryption_mark,
    }
}

/// A row and its number among the keys that were asked for.
#[derive(QueryableByName)]
pub(super) struct StoredNth {
    #[diesel(embed)]
    stored: StoredRow,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl StoredNth {
    /// The index of the row, where the database counts from `first` on, and the row.
    pub(super) fn nth(self, first: i64) -> (usize, RequestRow) {
        (usize::try_from(self.n - first).unwrap_or(0), RequestRow::from(self.stored))
    }
}

stored_row! {
    /// A key, as `tag` and `request_id`.
    StoredKey {
        tag, request_id,
    }
}

/// A row that waits.
#[derive(Debug, QueryableByName)]
pub(super) struct StoredWaiting {
    #[diesel(sql_type = Nullable<Binary>)]
    tag: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    request_id: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    submitted: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    channel: Option<LenientText>,
    #[diesel(sql_type = BigInt)]
    backing_off: i64,
}

/// How many rows there are.
#[derive(Debug, QueryableByName)]
pub(super) struct StoredTotal {
    #[diesel(sql_type = BigInt)]
    total: i64,
}

stored_row! {
    /// One text, under the name `value`.
    StoredText {
        value,
    }
}

impl StoredText {
    pub(super) fn into_text(self) -> Option<String> {
        text(self.value)
    }

    /// The text as a time; `None` where it is not one.
    pub(super) fn into_time(self) -> Option<DateTime<Utc>> {
        time(self.value)
    }
}

/// Rows of one job in one state.
#[derive(Debug, QueryableByName)]
pub(super) struct StoredCount {
    #[diesel(sql_type = Nullable<Binary>)]
    job_id: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    status: Option<LenientText>,
    #[diesel(sql_type = BigInt)]
    total: i64,
    #[diesel(sql_type = BigInt)]
    without_lease: i64,
}

pub(super) fn text(value: Option<LenientText>) -> Option<String> {
    value.map(|v| v.0)
}

pub(super) fn time(value: Option<LenientText>) -> Option<DateTime<Utc>> {
    value.and_then(|v| read_time(&v.0))
}

pub(super) fn number<T: std::str::FromStr>(value: Option<LenientText>) -> Option<T> {
    value.and_then(|v| v.0.trim().parse().ok())
}

/// The texts of a JSON array; empty for anything else.
pub(super) fn urls(value: Option<LenientText>) -> Vec<String> {
    let array: Vec<Url> = value.and_then(|v| serde_json::from_str(&v.0).ok()).unwrap_or_default();
    array.into_iter().filter_map(|url| url.0).collect()
}

/// An item of the array; one that is not a text is skipped without being stored.
struct Url(Option<String>);

impl<'de> serde::Deserialize<'de> for Url {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Item {
            Text(String),
            Other(serde::de::IgnoredAny),
        }
        Ok(Self(match Item::deserialize(deserializer)? {
            Item::Text(text) => Some(text),
            Item::Other(_) => None,
        }))
    }
}

impl From<StoredKey> for RequestKey {
    fn from(key: StoredKey) -> Self {
        Self { tag: text(key.tag).unwrap_or_default(), request_id: text(key.request_id).unwrap_or_default() }
    }
}

impl From<StoredRow> for RequestRow {
    fn from(row: StoredRow) -> Self {
        Self {
            tag: text(row.tag).unwrap_or_default(),
            request_id: text(row.request_id).unwrap_or_default(),
            job_id: text(row.job_id).unwrap_or_default(),
            status: status(row.status),
            request_data: text(row.request_data),
            unread_data: number(row.unread_data),
            requested_by: text(row.requested_by),
            requested_channel: text(row.requested_channel),
            truncated: row.truncated.is_some(),
            download_urls: urls(row.download_urls),
            file_created: time(row.dt_file_created),
            submitted: time(row.dt_job_submitted),
            processing: time(row.dt_job_processing),
            completed: time(row.dt_job_completed),
            execution_ms: number(row.execution_time),
            // Earlier versions clear the message alone.
            err_code: text(row.err_code).filter(|_| row.err_message.is_some()),
            err_message: text(row.err_message),
            err_detail: text(row.err_detail),
            iteration: number(row.iteration).unwrap_or(0),
            crashes: number(row.crashes).unwrap_or(0),
            lease_owner: text(row.lease_owner),
            lease_expires: time(row.lease_expires_at),
            next_attempt: time(row.next_attempt_at),
            processed_batches: text(row.processed_batches),
            job_stats: text(row.job_stats),
            allowed_channels: text(row.allowed_channels),
            protected: read_protected(row.protected),
        }
    }
}

/// The status of a row, in our spelling where it is one of ours.
fn status(written: Option<LenientText>) -> String {
    let written = text(written).unwrap_or_default();
    Status::parse(&written).map_or(written, |status| status.as_str().to_owned())
}

pub(super) fn read_protected(value: Option<LenientText>) -> Protected {
    match text(value).as_deref() {
        Some("yes") => Protected::Yes,
        Some(_) => Protected::Wiped,
        None => Protected::No,
    }
}

/// How a row's mark was made.
pub(super) fn mark_scheme(row: Option<StoredText>) -> Option<String> {
    let mark = row.and_then(StoredText::into_text).filter(|mark| !mark.is_empty())?;
    Some(scheme(&mark).to_owned())
}

/// The rows that a claim took, oldest first.
pub(super) fn claim(token: String, rows: Vec<StoredClaimed>) -> Claim {
    let mut requests: Vec<ClaimedRequest> = rows.into_iter().map(ClaimedRequest::from).collect();
    requests.sort_by(|a, b| (a.submitted, &a.key).cmp(&(b.submitted, &b.key)));
    Claim { token, requests }
}

impl From<StoredClaimed> for ClaimedRequest {
    fn from(row: StoredClaimed) -> Self {
        let key = StoredKey { tag: row.tag, request_id: row.request_id };
        Self {
            key: RequestKey::from(key),
            job_id: text(row.job_id).unwrap_or_default(),
            request_data: text(row.request_data),
            unread_data: number(row.unread_data),
            requested_by: text(row.requested_by),
            requested_channel: text(row.requested_channel),
            submitted: time(row.dt_job_submitted),
            // The statement that returns this row has just written it.
            claimed: time(row.dt_job_processing).unwrap_or(DateTime::UNIX_EPOCH),
            iteration: number(row.iteration).unwrap_or(0),
            crashes: number(row.crashes).unwrap_or(0),
            encryption_key: EncryptionKey::of(
                text(row.encryption_key),
                text(row.encryption_key_sealed),
                text(row.encryption_mark),
            ),
            processed_batches: text(row.processed_batches),
            unread_batches: number(row.unread_batches),
            allowed_channels: text(row.allowed_channels),
            part: None,
        }
    }
}

/// What a completion is called in error messages.
pub(super) fn completing(rows: &[(RequestKey, Completion)]) -> String {
    match rows {
        [(key, _)] => format!("complete {key}"),
        rows => format!("complete {} rows of job_request", rows.len()),
    }
}

/// Rows in the order in which they are claimed; those that back off come last.
pub(super) fn waiting(rows: Vec<StoredWaiting>) -> Vec<WaitingRequest> {
    let one = |row: StoredWaiting| WaitingRequest {
        key: RequestKey {
            tag: text(row.tag).unwrap_or_default(),
            request_id: text(row.request_id).unwrap_or_default(),
        },
        submitted: time(row.submitted),
        channel: text(row.channel),
        backing_off: row.backing_off != 0,
    };
    let mut rows: Vec<WaitingRequest> = rows.into_iter().map(one).collect();
    rows.sort_by(|a, b| (a.backing_off, a.submitted, &a.key).cmp(&(b.backing_off, b.submitted, &b.key)));
    rows
}

impl StoredTotal {
    pub(super) fn total(&self) -> u64 {
        u64::try_from(self.total).unwrap_or(0)
    }
}

pub(super) fn overview(counts: Vec<StoredCount>) -> Overview {
    let mut overview = Overview::default();
    for count in counts {
        let job_id = text(count.job_id).unwrap_or_default();
        if let Some(n) = u64::try_from(count.without_lease).ok().filter(|n| *n > 0) {
            *overview.without_lease.entry(job_id.clone()).or_default() += n;
        }
        let status = status(count.status);
        *overview.counts.entry((job_id, status)).or_default() += u64::try_from(count.total).unwrap_or(0);
    }
    overview
}

//! A part in work: it is claimed, renewed, ended.

use std::time::Duration;

use diesel::result::QueryResult;
use serde_json::json;

use super::NewPart;
use super::connection::{
    PartConnection, StoredPart, Value, columns, held, is_split, lock_split, of_row, remove_parts, states_of, values,
};
use super::ends::fail_split;
use crate::requests::EXCLUSIVE_CRASHES;
use crate::requests::daemons::{list, milliseconds, whole};
use crate::requests::text::{can_exist, err_message};
use crate::requests::types::{
    ClaimMode, ClaimOptions, ClaimedPart, ClaimedRequest, Failure, RequestKey, RequestProgress, WriteBack,
};

/// Most requests of a job in which a claim looks for a part.
const CANDIDATES: i64 = 20;

pub(super) fn split(
    conn: &mut dyn PartConnection,
    token: &str,
    (key, fresh): (&RequestKey, &str),
    parts: &[NewPart],
    lease: Duration,
) -> QueryResult<WriteBack> {
    if !can_exist(key) || !conn.give(key, token, fresh, lease)? {
        return Ok(WriteBack::Lost);
    }
    // Of an earlier split that another claim ended.
    remove_parts(conn, key)?;
    for (number, part) in (1..).zip(parts) {
        let values: [Value; 8] = [
            key.tag.as_str().into(),
            key.request_id.as_str().into(),
            Value::Number(Some(number)),
            list(&part.batches).as_str().into(),
            whole(part.batches.len() as u64).into(),
            whole(part.files_done).into(),
            part.left_out.as_deref().into(),
            part.processed_batches.as_deref().into(),
        ];
        conn.execute(
            "INSERT INTO job_request_part (tag, request_id, part, batches, files, files_done, left_out,
                processed_batches, next_attempt, iteration, crashes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0)",
            &values,
        )?;
    }
    conn.notify()?;
    Ok(WriteBack::Done)
}

/// Split rows of a job with a part to claim, that with the fewest parts in work first. `?2`: now. `?3`: the crashes from which
/// on a part is claimed alone; `?4`: 1 where those are looked for, else 0. `?5`: how many rows.
const CLAIMABLE: &str = concat!(
    "SELECT p.tag, p.request_id FROM job_request_part AS p
        JOIN job_request AS j ON j.tag = p.tag AND j.request_id = p.request_id
    WHERE j.job_id = ?1 AND ",
    is_split!(),
    " AND p.result IS NULL AND p.tag NOT IN (SELECT name FROM exhaust_pause WHERE kind = 'tenant')
    GROUP BY p.tag, p.request_id, j.dt_job_submitted
    HAVING sum(CASE WHEN p.token IS NULL AND p.next_attempt <= ?2
            AND CASE WHEN p.crashes >= ?3 THEN 1 ELSE 0 END = ?4 THEN 1 ELSE 0 END) > 0
    ORDER BY count(p.token), j.dt_job_submitted, p.tag, p.request_id
    LIMIT ?5"
);

const OPEN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM job_request_part AS p
    WHERE tag = ?1 AND request_id = ?2 AND result IS NULL AND token IS NULL AND next_attempt <= ?3
        AND CASE WHEN crashes >= ?4 THEN 1 ELSE 0 END = ?5
    ORDER BY part LIMIT 1"
);

const TAKE: &str = "UPDATE job_request_part SET token = ?4, lease_until = ?5, batches = ?6, files = ?7
    WHERE tag = ?1 AND request_id = ?2 AND part = ?3";

/// From a part to another one.
const TO: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM job_request_part AS p WHERE tag = ?1 AND request_id = ?2 AND part BETWEEN ?3 AND ?4 ORDER BY part"
);

const REMOVE_TO: &str = "DELETE FROM job_request_part WHERE tag = ?1 AND request_id = ?2 AND part > ?3 AND part <= ?4";

/// Requests of these jobs with a part to claim, in the order in which they are tried.
pub(super) fn claimable(conn: &mut dyn PartConnection, options: &ClaimOptions) -> QueryResult<Vec<RequestKey>> {
    let mut found = Vec::new();
    let now = conn.now()?;
    for job_id in options.job_ids.iter().filter(|id| !id.contains('\0')) {
        let [exclusive, alone] = crashes(options.mode);
        let wish = [job_id.as_str().into(), now.into(), exclusive, alone, CANDIDATES.into()];
        found.extend(conn.load_keys(CLAIMABLE, &wish)?.into_iter().map(RequestKey::from));
    }
    Ok(found)
}

/// From how many crashes on a part is claimed alone, and whether (1) or not (0) such a part is looked for.
fn crashes(mode: ClaimMode) -> [Value; 2] {
    [i64::from(EXCLUSIVE_CRASHES).into(), i64::from(mode == ClaimMode::Exclusive).into()]
}

/// Claims a part of this request, with those after it that nobody has worked on, up to a daemon's share: they become one
/// part. `None`: other daemons have taken the last one meanwhile.
pub(super) fn claim(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    options: &ClaimOptions,
    token: &str,
) -> QueryResult<Option<ClaimedRequest>> {
    let Some(owner) = lock_split(conn, key)? else { return Ok(None) };
    let now = conn.now()?;
    let open: Vec<Value> = of_row(key).into_iter().chain([now.into()]).chain(crashes(options.mode)).collect();
    let Some(part) = conn.load_parts(OPEN, &open)?.pop() else { return Ok(None) };
    let part = with_following(conn, key, part, options)?;
    let until = now.saturating_add(milliseconds(options.lease));
    let taken = [part.part.into(), token.into(), until.into(), part.batches.as_str().into(), part.files.into()];
    conn.execute(TAKE, &of_row(key).into_iter().chain(taken).collect::<Vec<_>>())?;
    conn.give(key, &owner, &owner, options.lease)?;
    Ok(conn.claimed(key)?.map(|row| claimed(row.into(), part)))
}

/// This part with its daemon's share of the parts after it, whose rows are removed.
fn with_following(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    part: StoredPart,
    options: &ClaimOptions,
) -> QueryResult<StoredPart> {
    let Some(last) = last_of_share(&states_of(conn, key)?, part.part, options) else { return Ok(part) };
    let range: Vec<Value> = of_row(key).into_iter().chain([part.part.into(), last.into()]).collect();
    let (mut batches, mut files) = (Vec::<String>::new(), 0);
    for one in conn.load_parts(TO, &range)? {
        let Ok(more) = serde_json::from_str::<Vec<String>>(&one.batches) else { return Ok(part) };
        batches.extend(more);
        files += one.files;
    }
    conn.execute(REMOVE_TO, &range)?;
    Ok(StoredPart { batches: list(&batches), files, ..part })
}

/// The last part of a daemon's share that begins with `first`. `None`: that part alone.
///
/// A daemon that has none of the request yet takes its share of all batches, less a thirty-second: each load reads the
/// learners anew, so few loads are best. After that it takes its share of what is left, so that the daemons end at about the
/// same time. (Guided self-scheduling: Polychronopoulos and Kuck, IEEE Transactions on Computers, 1987.)
fn last_of_share(parts: &[StoredPart], first: i64, options: &ClaimOptions) -> Option<i64> {
    let is_open = |part: &StoredPart| part.result.is_none() && part.token.is_none();
    let has_some = parts
        .iter()
        .filter_map(|part| part.token.as_deref())
        .any(|token| token.strip_prefix(&options.owner).is_some_and(|rest| rest.starts_with(':')));
    let divided: i64 = parts.iter().filter(|part| !has_some || is_open(part)).map(|part| part.files).sum();
    let share = divided / i64::from(options.daemons.max(1));
    let share = if has_some { share } else { share - share / 32 };
    // One that was worked on is claimed by itself: it knows what is stored of it, and whether it crashed a daemon.
    let following = parts.iter().skip_while(|part| part.part < first).take_while(|part| is_untouched(part));
    let mut files = 0;
    let share = following.take_while(|part| {
        // Up to the nearest end of a part.
        let taken = files + part.files / 2 <= share;
        files += part.files;
        taken
    });
    share.last().map(|part| part.part).filter(|last| *last > first)
}

const fn is_untouched(part: &StoredPart) -> bool {
    part.result.is_none()
        && part.token.is_none()
        && part.iteration == 0
        && part.crashes == 0
        && part.processed_batches.is_none()
}

fn claimed(row: ClaimedRequest, part: StoredPart) -> ClaimedRequest {
    ClaimedRequest {
        iteration: u32::try_from(part.iteration).unwrap_or(u32::MAX),
        crashes: u32::try_from(part.crashes).unwrap_or(u32::MAX),
        processed_batches: part.processed_batches,
        unread_batches: None,
        part: Some(ClaimedPart {
            number: u64::try_from(part.part).unwrap_or_default(),
            batches: serde_json::from_str(&part.batches).unwrap_or_default(),
        }),
        ..row
    }
}

/// Runs a fenced statement about one part, of which the first three values are those of [`held`]. `lease`: renews the row's as well.
/// Returns the token of the split; `None`: the part is not held under `token`.
fn fenced(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    lease: Option<Duration>,
    statement: impl FnOnce(&mut dyn PartConnection) -> QueryResult<usize>,
) -> QueryResult<Option<String>> {
    let Some(owner) = lock_split(conn, key)? else { return Ok(None) };
    if statement(conn)? != 1 {
        return Ok(None);
    }
    if let Some(lease) = lease {
        conn.give(key, &owner, &owner, lease)?;
    }
    Ok(Some(owner))
}

const fn written(owner: Option<&String>) -> WriteBack {
    if owner.is_some() { WriteBack::Done } else { WriteBack::Lost }
}

/// A part that has made progress starts to count the crashes of its own anew, as a row does.
const RENEW: &str = concat!(
    "UPDATE job_request_part SET lease_until = ?4, processed_batches = coalesce(?5, processed_batches),
        crashes = CASE WHEN ?5 IS NULL OR crashes < ?6 THEN crashes ELSE ?6 END",
    held!()
);

pub(super) fn renew(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    batches: Option<&str>,
    lease: Duration,
) -> QueryResult<WriteBack> {
    let until = conn.now()?.saturating_add(milliseconds(lease));
    let values = values(key, token, [until.into(), batches.into(), i64::from(EXCLUSIVE_CRASHES).into()]);
    let owner = fenced(conn, key, Some(lease), |conn| conn.execute(RENEW, &values))?;
    Ok(written(owner.as_ref()))
}

const HELD: &str = concat!(
    "SELECT p.tag, p.request_id FROM job_request_part AS p
        JOIN job_request AS j ON j.tag = p.tag AND j.request_id = p.request_id
    WHERE p.tag = ?1 AND p.request_id = ?2 AND p.token = ?3 AND p.result IS NULL AND ",
    is_split!(),
);

pub(super) fn is_held(conn: &mut dyn PartConnection, key: &RequestKey, token: &str) -> QueryResult<bool> {
    Ok(can_exist(key) && !conn.load_keys(HELD, &values(key, token, []))?.is_empty())
}

pub(super) fn note(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    progress: RequestProgress,
) -> QueryResult<()> {
    let note = concat!("UPDATE job_request_part SET files_done = ?4", held!());
    let values = values(key, token, [whole(progress.batches_done).into()]);
    let Some(owner) = fenced(conn, key, None, |conn| conn.execute(note, &values))? else { return Ok(()) };
    let parts = states_of(conn, key)?;
    let sum = |of: fn(&StoredPart) -> i64| parts.iter().map(of).sum::<i64>();
    let stats = json!({
        "batches_done": sum(|part| part.files_done),
        "batches_total": sum(|part| part.files),
        "parts_done": parts.iter().filter(|part| part.result.is_some()).count(),
        "parts_total": parts.len(),
    });
    conn.note(key, &owner, &stats.to_string())
}

/// The token stays, so that a repetition is known.
const COMPLETE: &str = concat!(
    "UPDATE job_request_part SET result = ?4, files_done = files, lease_until = NULL, processed_batches = NULL",
    held!()
);

pub(super) fn complete(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    result: &str,
) -> QueryResult<WriteBack> {
    let values = values(key, token, [result.into()]);
    if fenced(conn, key, None, |conn| conn.execute(COMPLETE, &values))?.is_some() {
        return Ok(WriteBack::Done);
    }
    // Parts may be left of a split that somebody else has ended.
    if lock_split(conn, key)?.is_none() {
        return Ok(WriteBack::Lost);
    }
    let is_done = |part: &StoredPart| part.token.as_deref() == Some(token) && part.result.is_some();
    Ok(if states_of(conn, key)?.iter().any(is_done) { WriteBack::Done } else { WriteBack::Lost })
}

const RETRY_LATER: &str = concat!(
    "UPDATE job_request_part SET token = NULL, lease_until = NULL, next_attempt = ?4, iteration = iteration + 1,
        processed_batches = coalesce(?5, processed_batches)",
    held!()
);

pub(super) fn retry_later(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    failure: &Failure,
    delay: Duration,
) -> QueryResult<WriteBack> {
    let next = conn.now()?.saturating_add(milliseconds(delay));
    let values = values(key, token, [next.into(), failure.processed_batches.as_deref().into()]);
    let Some(owner) = fenced(conn, key, None, |conn| conn.execute(RETRY_LATER, &values))? else {
        return Ok(WriteBack::Lost);
    };
    let message = err_message(&failure.message);
    let said = of_row(key).into_iter().chain([
        Value::from(owner.as_str()),
        Value::from(message.as_str()),
        Value::from(failure.detail.as_str()),
        Value::from(failure.code.as_str()),
    ]);
    let say = "UPDATE job_request SET err_message = ?4, err_detail = ?5, err_code = ?6
        WHERE tag = ?1 AND request_id = ?2 AND status = 'PROCESSING' AND lease_owner = ?3";
    conn.execute(say, &said.collect::<Vec<_>>())?;
    Ok(WriteBack::Done)
}

pub(super) fn fail(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    failure: &Failure,
) -> QueryResult<WriteBack> {
    let hold = concat!("UPDATE job_request_part SET lease_until = NULL", held!());
    let owner = fenced(conn, key, None, |conn| conn.execute(hold, &values(key, token, [])))?;
    let Some(owner) = owner else { return Ok(WriteBack::Lost) };
    fail_split(conn, key, &owner, failure)
}

const HAND_BACK: &str = concat!(
    "UPDATE job_request_part SET token = NULL, lease_until = NULL, processed_batches = coalesce(?4, processed_batches)",
    held!()
);

pub(super) fn hand_back(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    batches: Option<&str>,
) -> QueryResult<WriteBack> {
    let values = values(key, token, [batches.into()]);
    let owner = fenced(conn, key, None, |conn| conn.execute(HAND_BACK, &values))?;
    conn.notify()?;
    Ok(written(owner.as_ref()))
}

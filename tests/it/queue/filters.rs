//! The filter: in SQL it finds what the same conditions find in Rust, on both databases, page by page.

use chrono::{DateTime, Utc};
use exhaust::requests::{ErrCode, Failure, Filter, NewRequest, Page, Queue, Reader, RequestRow, TimeRange, WriteBack};

use super::super::databases::{TestDatabase, each_way};
use super::paging::a_minute;
use super::{claim_options, complete, failure, key, migrated, request};

const TAGS: [&str; 3] = ["a", "b%", "é"];

/// Rows in every state, of several jobs, formats, channels and clients; some times that others may write.
fn filled(database: &TestDatabase, queue: &dyn Queue) -> Vec<RequestRow> {
    let formats =
        ["{\"output_format\":\"csv\"}", "{}", "{\"outputFormat\": \"Parquet\"}", "{\"output_format\" : \"xlsx\"}"];
    for n in 0..60 {
        let new = NewRequest {
            job_id: ["course-report", "course-alias", "foreign"][n % 3].to_owned(),
            request_data: formats[n % 4].to_owned(),
            requested_by: (n % 5 > 0).then(|| format!("by-{}", n % 5)),
            requested_channel: (n % 7 > 0).then(|| format!("c{}", n % 7)),
            ..request(TAGS[n % TAGS.len()], &format!("{}r{n:02}", ["x", "X", "x%"][n % 3 * (n % 2)]))
        };
        queue.submit(&new).unwrap();
    }
    let claim = queue.claim(&claim_options(30)).unwrap();
    for (n, row) in claim.requests.iter().enumerate() {
        let code = ErrCode::ALL[n % 4];
        let failure = Failure { code, ..failure() };
        let done = super::ends::completion();
        let ended = match n % 5 {
            0 | 1 => queue.fail(&claim.token, &row.key, &failure),
            2 => complete(queue, &claim.token, &row.key, &done),
            3 => queue.retry_later(&claim.token, &row.key, &failure, super::LEASE),
            _ => Ok(WriteBack::Done),
        };
        assert_eq!(ended.unwrap(), WriteBack::Done);
    }
    let minutes = if database.is_postgres() {
        "timestamp '2026-03-01' + (length(requested_by) + ascii(right(request_id, 1))) * interval '1 minute'"
    } else {
        "'2026-03-01 00:' || (unicode(substr(request_id, -1)) - 38) || ':00.000'"
    };
    database.execute(&format!(
        "UPDATE job_request SET dt_job_submitted = {minutes} WHERE requested_by IS NOT NULL;
         UPDATE job_request SET status = 'SUCCESS', dt_job_completed = '2026-02-01 00:00:00' WHERE request_id LIKE '%r02';
         UPDATE job_request SET status = 'odd', err_message = NULL WHERE request_id LIKE '%r10'"
    ));
    if !database.is_postgres() {
        database.execute(
            "UPDATE job_request SET dt_job_completed = 1772366400 WHERE request_id LIKE '%r04';
             UPDATE job_request SET dt_job_completed = '2026-03-01T17:30:00+05:30' WHERE request_id LIKE '%r06';
             UPDATE job_request SET dt_job_completed = 'soon', request_data = 'no JSON' WHERE request_id LIKE '%r08'",
        );
    }
    let all = Filter::default();
    let found = queue.search(&all, &Reader::everything(), &Page::first(100), &a_minute()).unwrap();
    assert_eq!(found.total, 60);
    queue.rows_of(found.entries).unwrap()
}

/// The filter in Rust.
fn matches(filter: &Filter, row: &RequestRow) -> bool {
    let one = |wanted: &Option<String>, text: Option<&String>| wanted.is_none() || wanted.as_ref() == text;
    let any = |wanted: &Option<Vec<String>>, text: Option<&String>| {
        wanted.as_ref().is_none_or(|wanted| text.is_some_and(|text| wanted.contains(text)))
    };
    let within = |range: TimeRange, time: Option<DateTime<Utc>>| {
        range == TimeRange::default()
            || time.is_some_and(|time| {
                range.from.is_none_or(|from| time >= from) && range.until.is_none_or(|until| time < until)
            })
    };
    let data: serde_json::Value =
        row.request_data.as_deref().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
    let named = ["output_format", "outputFormat"].iter().find_map(|name| data[*name].as_str()).unwrap_or("csv");
    one(&filter.tag, Some(&row.tag))
        && filter.id_prefix.as_ref().is_none_or(|prefix| row.request_id.starts_with(prefix.as_str()))
        && any(&filter.job_ids, Some(&row.job_id))
        && any(&filter.statuses, Some(&row.status))
        && any(&filter.channels, row.requested_channel.as_ref())
        && one(&filter.requested_by, row.requested_by.as_ref())
        && one(&filter.err_code, row.err_code.as_ref())
        && any(&filter.formats, Some(&named.to_lowercase()))
        && within(filter.submitted, row.submitted)
        && within(filter.completed, row.completed)
}

/// Each condition alone.
fn alone(rows: &[RequestRow]) -> Vec<Filter> {
    let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let all = Filter::default;
    let mut times: Vec<_> = rows.iter().filter_map(|row| row.submitted).collect();
    times.sort_unstable();
    let (early, late) = (Some(times[20]), Some(times[40]));
    let ended = rows.iter().filter_map(|row| row.completed).max();
    let mut filters = vec![
        Filter { tag: Some("b%".to_owned()), ..all() },
        Filter { job_ids: list(&["foreign"]), ..all() },
        Filter { job_ids: list(&["course-report", "course-alias"]), ..all() },
        Filter { channels: list(&["c3"]), ..all() },
        Filter { requested_by: Some("by-2".to_owned()), ..all() },
        Filter { formats: list(&["csv"]), ..all() },
        Filter { formats: list(&["parquet"]), ..all() },
        Filter { formats: list(&["json", "jsonl", "xlsx"]), ..all() },
        Filter { submitted: TimeRange { from: early, until: late }, ..all() },
        Filter { submitted: TimeRange { from: late, until: None }, ..all() },
        Filter { submitted: TimeRange { from: None, until: early }, ..all() },
        Filter { completed: TimeRange { from: ended, until: None }, ..all() },
        Filter { completed: TimeRange { from: None, until: ended }, ..all() },
        Filter { statuses: list(&[]), ..all() },
    ];
    filters.extend(["x", "xr0", "X", "x%", "é"].map(|prefix| Filter { id_prefix: Some(prefix.to_owned()), ..all() }));
    filters.extend(ErrCode::ALL[..5].iter().map(|code| Filter { err_code: Some(code.as_str().to_owned()), ..all() }));
    let statuses = [&["FAILED"][..], &["SUBMITTED"], &["PROCESSING", "SUBMITTED"], &["COMPLETED", "SUCCESS"], &["odd"]];
    filters.extend(statuses.map(|statuses| Filter { statuses: list(statuses), ..all() }));
    filters
}

/// Both conditions.
fn and(one: &Filter, other: &Filter) -> Filter {
    let (one, other) = (one.clone(), other.clone());
    let time = |one: TimeRange, other| if one == TimeRange::default() { other } else { one };
    Filter {
        tag: one.tag.or(other.tag),
        id_prefix: one.id_prefix.or(other.id_prefix),
        job_ids: one.job_ids.or(other.job_ids),
        statuses: one.statuses.or(other.statuses),
        channels: one.channels.or(other.channels),
        requested_by: one.requested_by.or(other.requested_by),
        err_code: one.err_code.or(other.err_code),
        formats: one.formats.or(other.formats),
        submitted: time(one.submitted, other.submitted),
        completed: time(one.completed, other.completed),
        is_wiped: false,
    }
}

#[test]
fn a_filter_finds_in_sql_what_it_finds_in_rust() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let rows = filled(database, queue.as_ref());
        let alone = alone(&rows);
        let pairs = alone
            .iter()
            .enumerate()
            .flat_map(|(n, one)| alone[n..].iter().step_by(4).map(move |other| and(one, other)));
        let mut found_some = 0;
        for filter in pairs {
            let wanted: Vec<_> =
                rows.iter().filter(|row| matches(&filter, row)).map(|row| key(&row.tag, &row.request_id)).collect();
            found_some += usize::from(!wanted.is_empty());
            let mut page = Page::first(7);
            let mut found = Vec::new();
            loop {
                let part = queue.search(&filter, &Reader::everything(), &page, &a_minute()).unwrap();
                assert_eq!(part.total, wanted.len() as u64, "{filter:?}");
                page.after = part.entries.last().map(|entry| entry.cursor.clone());
                found.extend(part.entries.into_iter().map(|entry| entry.key));
                if page.after.is_none() || found.len() >= wanted.len() {
                    break;
                }
            }
            assert_eq!(found, wanted, "{filter:?}");
        }
        assert!(found_some > 50, "{found_some}");
    });
}

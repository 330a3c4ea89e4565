//! What callers of the API see: lists and searches within the reader's limits, the line of waiting requests, progress.

use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};
use exhaust::requests::{Filter, NewRequest, Queue, Reader, RequestProgress, RequestRow, TimeRange};

use super::super::databases::{TestDatabase, each_way};
use super::{LEASE, claim_options, failure, found, ids, index_reads, key, migrated, request, take};

/// Tags, channels and allowed channels with every character that a pattern language might interpret.
const NAMES: [&str; 9] = ["a-1", "a-2", "a[1]", "a_1", "a%1", "a\\1", "é1", "A-1", "b"];

/// A row for each pair of names, submitted a minute apart; some in each state.
fn filled(database: &TestDatabase, queue: &dyn Queue) -> Vec<RequestRow> {
    for (n, tag) in NAMES.iter().enumerate() {
        for (m, channel) in NAMES.iter().enumerate() {
            let new = NewRequest {
                requested_channel: (m != 4).then(|| (*channel).to_owned()),
                allowed_channels: (m % 3 == 0).then(|| format!("[\"{}*\"]", if m == 0 { "a" } else { "b" })),
                job_id: ["course-report", "assessment-report", "foreign"][(n + m) % 3].to_owned(),
                ..request(tag, &format!("r{m}"))
            };
            queue.submit(&new).unwrap();
            let status = ["SUBMITTED", "PROCESSING", "COMPLETED", "FAILED", "odd"][(n * 2 + m) % 5];
            let tag = tag.replace('\'', "''");
            let (day, minute) = (1 + (n + m) % 3, n * 5 + m / 2);
            database.execute(&format!(
                "UPDATE job_request SET status = '{status}', dt_job_submitted = '2026-03-0{day} 12:{minute:02}:00.000'
                    WHERE tag = '{tag}' AND request_id = 'r{m}'"
            ));
        }
    }
    let mut rows = Vec::new();
    for tag in NAMES {
        for m in 0..NAMES.len() {
            rows.push(queue.find(&key(tag, &format!("r{m}"))).unwrap().unwrap());
        }
    }
    rows
}

/// The newest first.
fn newest(mut rows: Vec<RequestRow>) -> Vec<(String, String)> {
    rows.sort_by(|a, b| {
        b.submitted.cmp(&a.submitted).then_with(|| (&a.tag, &a.request_id).cmp(&(&b.tag, &b.request_id)))
    });
    keys(&rows)
}

fn keys(rows: &[RequestRow]) -> Vec<(String, String)> {
    rows.iter().map(|row| (row.tag.clone(), row.request_id.clone())).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_reader_sees_the_same_rows_in_sql_and_in_rust() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let rows = filled(database, queue.as_ref());
        let tags: [&[&str]; 9] =
            [&[], &["a*"], &["a?1"], &["a[1]"], &["a_1"], &["a%1"], &["a\\1", "b"], &["?1"], &["A-?"]];
        let channels: [Option<&[&str]>; 8] = [
            None,
            Some(&["*"]),
            Some(&["a*"]),
            Some(&["b*"]),
            Some(&["a[1]"]),
            Some(&["a_1"]),
            Some(&["a\\?"]),
            Some(&["é?"]),
        ];
        for tags in tags {
            for channels in channels {
                let reader = Reader { tags: texts(tags), channels: channels.map(texts) };
                let seen: Vec<RequestRow> = rows.iter().filter(|row| reader.sees(row)).cloned().collect();
                let expected = newest(seen);
                let all = found(queue.as_ref(), &Filter::default(), &reader, 1000);
                assert_eq!((keys(&all.rows), all.total), (expected.clone(), expected.len() as u64), "{reader:?}");
                let listed = queue.newest(None, &reader, 5).unwrap();
                assert_eq!(keys(&listed), expected[..expected.len().min(5)], "{reader:?}");
                for tag in NAMES {
                    let of_tag: Vec<_> = expected.iter().filter(|(t, _)| t == tag).take(3).cloned().collect();
                    assert_eq!(keys(&queue.newest(Some(tag), &reader, 3).unwrap()), of_tag, "{tag} {reader:?}");
                }
            }
        }
    });
}

/// A whole day.
fn on(day: NaiveDate) -> TimeRange {
    let at = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    TimeRange { from: Some(at(day)), until: day.succ_opt().map(at) }
}

#[test]
fn a_search_finds_what_matches_and_counts_all_of_it() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let rows = filled(database, queue.as_ref());
        let day = |day| NaiveDate::from_ymd_opt(2026, 3, day);
        let jobs: [Option<&[&str]>; 3] = [None, Some(&["course-report"]), Some(&["foreign", "nothing"])];
        let statuses: [Option<&[&str]>; 3] = [None, Some(&["FAILED"]), Some(&["odd", "SUBMITTED"])];
        let channels: [Option<&[&str]>; 3] = [None, Some(&["a%1"]), Some(&["a[1]", "b", "a*"])];
        let mut found_some = 0;
        for (jobs, statuses) in jobs.iter().flat_map(|jobs| statuses.iter().map(move |statuses| (jobs, statuses))) {
            for (channels, day) in
                channels.iter().flat_map(|channels| [None, day(1), day(9)].map(|day| (channels, day)))
            {
                let search = Filter {
                    job_ids: jobs.map(texts),
                    statuses: statuses.map(texts),
                    channels: channels.map(texts),
                    submitted: day.map(on).unwrap_or_default(),
                    ..Filter::default()
                };
                let one_of = |list: &Option<Vec<String>>, text: Option<&String>| {
                    list.as_ref().is_none_or(|list| text.is_some_and(|text| list.contains(text)))
                };
                let matching: Vec<RequestRow> = rows
                    .iter()
                    .filter(|row| {
                        one_of(&search.job_ids, Some(&row.job_id)) && one_of(&search.statuses, Some(&row.status))
                    })
                    .filter(|row| one_of(&search.channels, row.requested_channel.as_ref()))
                    .filter(|row| day.is_none_or(|day| row.submitted.unwrap().date_naive() == day))
                    .cloned()
                    .collect();
                let expected = newest(matching);
                found_some += usize::from(!expected.is_empty());
                let found = super::found(queue.as_ref(), &search, &Reader::everything(), 4);
                assert_eq!(
                    (found.total, keys(&found.rows)),
                    (expected.len() as u64, expected[..expected.len().min(4)].to_vec()),
                    "{search:?}"
                );
            }
        }
        assert!(found_some > 20, "{found_some}");
    });
}

/// All forms of time that others write in SQLite are of the same day.
#[test]
fn a_search_by_day_reads_every_form_of_time() {
    let database = TestDatabase::sqlite();
    let (queue, _) = migrated(&database);
    let forms = [
        "'2020-11-24'",
        "'2020-11-24 23:59:59.999'",
        "'2020-11-24T00:00:00Z'",
        "'2020-11-25T05:29:00+0530'",
        "'2020-11-23 19:00:00-05'",
        "1606176000",
        "1606176000000",
        "'1606176000'",
        "'1606176000250'",
        "1606176000.5",
        "X'323032302d31312d3234'",
    ];
    let others =
        ["NULL", "'soon'", "X'ff'", "'2020-11-25T00:00:00Z'", "'2020-11-24T00:00:00+05:30'", "1606262400", "7"];
    for (n, form) in forms.iter().chain(&others).enumerate() {
        queue.submit(&request("t", &format!("{n:02}"))).unwrap();
        database.execute(&format!("UPDATE job_request SET dt_job_submitted = {form} WHERE request_id = '{n:02}'"));
    }
    let search = Filter { submitted: on(NaiveDate::from_ymd_opt(2020, 11, 24).unwrap()), ..Filter::default() };
    let found = super::found(queue.as_ref(), &search, &Reader::everything(), 100);
    assert_eq!(found.total, forms.len() as u64);
    let mut ids: Vec<String> = found.rows.into_iter().map(|row| row.request_id).collect();
    ids.sort();
    assert_eq!(ids, (0..forms.len()).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

#[test]
fn the_line_is_in_the_order_of_the_claims() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let odd = if database.is_postgres() { "'infinity'" } else { "'soon'" };
        for (n, submitted) in
            ["'2026-01-03 00:00:00'", "'2026-01-01 00:00:00'", "NULL", "'2026-01-02 00:00:00'", odd].iter().enumerate()
        {
            for tag in ["b", "a"] {
                queue.submit(&request(tag, &n.to_string())).unwrap();
                database.execute(&format!(
                    "UPDATE job_request SET dt_job_submitted = {submitted} WHERE request_id = '{n}' AND tag = '{tag}'"
                ));
            }
        }
        queue.submit(&NewRequest { job_id: "other-job".to_owned(), ..request("a", "other") }).unwrap();
        // The oldest backs off.
        let claim = queue.claim(&claim_options(1)).unwrap();
        let first = claim.requests[0].key.clone();
        let _ = queue.retry_later(&claim.token, &first, &failure(), Duration::from_mins(1)).unwrap();
        let jobs = vec!["course-report".to_owned()];
        let line = queue.waiting(&jobs).unwrap();
        assert_eq!(line.len(), 10);
        assert_eq!((&line[9].key, line[9].backing_off), (&first, true), "back-off waits behind everybody");
        assert!(line[..9].iter().all(|one| !one.backing_off));
        let order: Vec<String> = line[..9].iter().map(|one| one.key.request_id.clone()).collect();
        assert_eq!(ids(&queue.claim(&claim_options(9)).unwrap()), order);
        assert_eq!(queue.waiting(&jobs).unwrap().len(), 1, "what is in work does not wait");
        clock.advance(Duration::from_mins(2));
        assert!(!queue.waiting(&jobs).unwrap()[0].backing_off);
        assert!(queue.waiting(&[]).unwrap().is_empty());
    });
}

#[test]
fn progress_is_noted_by_the_holder_only_and_gone_with_the_attempt() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        queue.submit(&request("t", "2")).unwrap();
        let claim = queue.claim(&claim_options(1)).unwrap();
        let progress = RequestProgress { batches_done: 3, batches_total: 8 };
        let both = [(key("t", "1"), progress), (key("t", "2"), progress), (key("t\0", "1"), progress)];
        let stats = |id: &str| queue.find(&key("t", id)).unwrap().unwrap().job_stats;
        queue.note_progress("another:token", &both).unwrap();
        assert_eq!((stats("1"), stats("2")), (None, None));
        queue.note_progress(&claim.token, &both).unwrap();
        let noted: serde_json::Value = serde_json::from_str(&stats("1").unwrap()).unwrap();
        assert_eq!(noted, serde_json::json!({ "batches_done": 3, "batches_total": 8 }));
        assert_eq!(stats("2"), None, "not in work");
        // The next attempt begins without progress.
        clock.advance(LEASE * 2);
        let again = take(queue.as_ref(), &claim_options(1));
        assert_eq!((again.requests[0].key.clone(), stats("1")), (key("t", "1"), None));
        queue.note_progress(&claim.token, &both).unwrap();
        assert_eq!(stats("1"), None, "lost");
    });
}

#[test]
fn a_row_keeps_the_channels_of_the_key_that_made_it() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let allowed = Some(r#"["c*"]"#.to_owned());
        queue.submit(&NewRequest { allowed_channels: allowed.clone(), ..request("t", "1") }).unwrap();
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(claim.requests[0].allowed_channels, allowed);
        let _ = queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap();
        assert!(queue.resubmit(&key("t", "1")).unwrap());
        assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().allowed_channels, allowed, "a retry has no more");
    });
}

/// A list reads as many rows as it shows from each partial index, whatever the number of rows of the tag.
#[test]
fn postgres_reads_a_list_in_its_order() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    database.execute(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted)
         SELECT 't', n::text, 'course-report', (ARRAY['SUBMITTED', 'PROCESSING', 'COMPLETED', 'FAILED', NULL])[n % 5 + 1],
             timestamp '2026-01-01' + n * interval '1 second'
         FROM generate_series(1, 30000) AS n; ANALYZE job_request",
    );
    let listed = queue.newest(Some("t"), &Reader::everything(), 4).unwrap();
    let ids: Vec<&str> = listed.iter().map(|row| row.request_id.as_str()).collect();
    assert_eq!(ids, ["30000", "29999", "29998", "29997"]);
    for part in ["waiting", "working", "ended"] {
        let (scans, rows) = index_reads(&database, &format!("job_request_newest_{part}"));
        // One for rows with a time, and three for rows without one or with a time that does not count.
        assert!((1..=4).contains(&scans) && (1..=4).contains(&rows), "{part}: {scans} scans read {rows} rows");
    }
}

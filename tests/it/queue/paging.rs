//! Lists and searches page by page: every row once, in whatever form times are written, and only cursors of our own.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exhaust::requests::{
    COUNT_LIMIT, Filter, NewRequest, Page, PageCursor, PageEntry, QueueError, Reader, RequestKey, StatementTimeout,
};

use super::super::databases::{TestDatabase, each_way};
use super::{ORIGINAL, key, migrated, request};

/// Times in every form that a database holds, many of them several times.
fn times(database: &TestDatabase) -> Vec<&'static str> {
    let dates = ["NULL", "'2026-03-01 12:00:00'", "'2026-03-01 12:00:00.5'", "'2025-12-31'", "'9999-12-31 23:59:59'"];
    let postgres = ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'20000-01-01'", "'2026-03-01 12:00:00.000001'"];
    let sqlite = [
        "'2026-03-01T12:00:00Z'",
        "'2026-03-01T01:00:00+05:30'",
        "'1772366400'",
        "1772366400",
        "1772366400123",
        "1772366400.25",
        "'soon'",
        "X'00ff'",
        "' 2026-03-01'",
        "''",
        "-1",
        "9007199254740993",
    ];
    if database.is_postgres() { [&dates[..], &postgres].concat() } else { [&dates[..], &sqlite].concat() }
}

/// The entries of all pages of `limit` rows, one page after the other.
fn walk(limit: u32, page: impl Fn(&Page) -> Vec<PageEntry>) -> Vec<RequestKey> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let entries = page(&Page { limit, after });
        assert!(entries.len() <= limit as usize);
        let Some(last) = entries.last() else { return keys };
        // As a client gets it and sends it back.
        after = Some(PageCursor::decode(&last.cursor.encode()).unwrap());
        keys.extend(entries.into_iter().map(|entry| entry.key));
        assert!(keys.len() < 10_000, "no end");
    }
}

pub(super) fn a_minute() -> StatementTimeout {
    StatementTimeout::after(Duration::from_mins(1))
}

#[test]
fn every_row_is_on_one_page_whatever_its_time() {
    each_way(|database| {
        let tables = if database.is_postgres() { &[true][..] } else { &[true, false] };
        for &original in tables {
            database.execute("DROP TABLE IF EXISTS job_request");
            if original {
                // SQLite gives the original TIMESTAMP column another affinity than the TEXT of our own table.
                database.execute(ORIGINAL);
            }
            let (queue, _) = migrated(database);
            let (mut of_tag, mut all) = (BTreeSet::new(), BTreeSet::new());
            for (n, time) in times(database).into_iter().enumerate() {
                for tag in ["t", "u"] {
                    for (m, status) in ["SUBMITTED", "PROCESSING", "FAILED", "theirs"].into_iter().enumerate() {
                        let id = format!("{n:02}-{m}");
                        super::insert_outside(database, tag, &id, "course-report", time);
                        database.execute(&format!(
                            "UPDATE job_request SET status = '{status}' WHERE tag = '{tag}' AND request_id = '{id}'"
                        ));
                        all.insert(key(tag, &id));
                    }
                }
            }
            of_tag.extend(all.iter().filter(|key| key.tag == "t").cloned());
            let everything = Reader::everything();
            let search = Filter { job_ids: Some(vec!["course-report".to_owned()]), ..Filter::default() };
            let whole = walk(1000, |page| queue.list(None, &everything, page).unwrap());
            for limit in [1, 7, 64] {
                let list = walk(limit, |page| queue.list(Some("t"), &everything, page).unwrap());
                assert_eq!((list.len(), list.into_iter().collect::<BTreeSet<_>>()), (of_tag.len(), of_tag.clone()));
                let list = walk(limit, |page| queue.list(None, &everything, page).unwrap());
                assert_eq!(list, whole, "pages of {limit} are in the order of the whole");
                let found = walk(limit, |page| {
                    let found = queue.search(&search, &everything, page, &a_minute()).unwrap();
                    assert_eq!(found.total, all.len() as u64, "of all pages");
                    found.entries
                });
                assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (all.len(), all.clone()));
            }
        }
    });
}

#[test]
fn rows_that_come_and_go_between_two_pages_move_no_other() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for n in 0..20 {
            clock.advance(Duration::from_secs(1));
            queue.submit(&request("t", &format!("{n:02}"))).unwrap();
        }
        let everything = Reader::everything();
        let mut seen = Vec::new();
        let mut after = None;
        while seen.len() < 20 {
            let page = queue.list(Some("t"), &everything, &Page { limit: 4, after }).unwrap();
            let last = page.last().unwrap();
            // The row that the cursor names is gone, and a newer one has come.
            database.execute(&format!("DELETE FROM job_request WHERE request_id = '{}'", last.key.request_id));
            clock.advance(Duration::from_secs(1));
            queue.submit(&request("t", &format!("new-{}", seen.len()))).unwrap();
            after = Some(last.cursor.clone());
            seen.extend(page.into_iter().map(|entry| entry.key.request_id));
        }
        let expected: Vec<String> = (0..20).rev().map(|n| format!("{n:02}")).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_place_that_is_none_is_refused_and_never_more() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let everything = Reader::everything();
        queue.submit(&request("t", "1")).unwrap();
        let own = queue.list(Some("t"), &everything, &Page::first(1)).unwrap()[0].cursor.encode();
        let try_out = |text: &str| {
            let cursor = match PageCursor::decode(text) {
                Ok(cursor) => cursor,
                Err(QueueError::InvalidCursor) => return,
                Err(error) => panic!("{text}: {error}"),
            };
            let page = Page { limit: 3, after: Some(cursor) };
            for listed in [
                queue.list(Some("t"), &everything, &page).map(|_| ()),
                queue.search(&Filter::default(), &everything, &page, &a_minute()).map(|_| ()),
            ] {
                assert!(matches!(listed, Ok(()) | Err(QueueError::InvalidCursor)), "{text}: {listed:?}");
            }
        };
        let encoded = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for json in [
            "",
            "{}",
            "[]",
            "null",
            "7",
            "[null,null,null]",
            r#"["x","t","1"]"#,
            r#"["infinity","t","1"]"#,
            r#"["2026-02-30 00:00:00","t","1"]"#,
            r#"["2026-01-01","t","1"]"#,
            r#"["0000-01-01 00:00:00","t","1"]"#,
            r#"["99999-01-01 00:00:00","t","1"]"#,
            r#"["2026-01-01 00:00:00","t\u0000","1"]"#,
            r#"["2026-01-01 00:00:00 BC","t","1"]"#,
            r#"["2026-01-01 24:00:00","t","1"]"#,
            r#"["2026-01-01 00:00:60","t","1"]"#,
            r#"["2026-01-01 00:00:00.1234567891234","t","1"]"#,
            r#"[[["t","x"],"t","1"]]"#,
            "[null,null,null,null,null,null]",
            r#"[null,null,null,null,null,[["t","x"],"t","1"]]"#,
            r#"[[null,"t","1"],null,null,null,null,null]"#,
            r#"[[["i","x"],"t","1"],null,null,null,null,null]"#,
            r#"[[["b",[300]],"t","1"],null,null,null,null,null]"#,
            r#"[[["r","nan"],"t\u0000","1"],null,null,null,null,null]"#,
        ] {
            try_out(&encoded(json));
        }
        for text in ["=", "a", "é", "next", &"A".repeat(200_000), &own[1..], &own[..own.len() - 1]] {
            try_out(text);
        }
        // One of our own with each byte changed, in its text and in its decoded form.
        let mut random = fastrand::Rng::with_seed(17);
        let plain = URL_SAFE_NO_PAD.decode(&own).unwrap();
        for n in 0..1000 {
            let mut bytes = if n % 2 == 0 { own.clone().into_bytes() } else { plain.clone() };
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(32..127);
            }
            let text = String::from_utf8(bytes).unwrap();
            try_out(&if n % 2 == 0 { text } else { encoded(&text) });
        }
    });
}

#[test]
fn rows_are_read_a_bounded_number_of_bytes_at_a_time() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let data = |bytes: usize| format!(r#"{{"batchId":"{}"}}"#, "x".repeat(bytes));
        for (id, bytes) in [("1", 10), ("2", 60_000), ("3", 60_000), ("4", 80_000), ("5", 10)] {
            queue.submit(&NewRequest { request_data: data(bytes), ..request("t", id) }).unwrap();
        }
        let keys: Vec<RequestKey> = ["1", "gone", "2", "3", "4", "5"].map(|id| key("t", id)).to_vec();
        let read = |from: usize, bytes| -> Vec<(usize, bool, Option<u64>)> {
            let rows = queue.rows(&keys[from..], bytes).unwrap();
            rows.into_iter().map(|(at, row)| (at, row.request_data.is_some(), row.unread_data)).collect()
        };
        // 80,014 bytes are over the limit: they are not read and do not count.
        let unread = (4, false, Some(80_014));
        assert_eq!(read(0, 1), [(0, true, None)]);
        assert_eq!(read(0, 50_000), [(0, true, None), (2, true, None)]);
        assert_eq!(read(0, 1 << 20), [(0, true, None), (2, true, None), (3, true, None), unread, (5, true, None)]);
        assert_eq!(read(2, 1), [(0, true, None)]);
        queue.limit_request_data(100_000);
        assert_eq!(read(4, 1 << 20), [(0, true, None), (1, true, None)]);
        assert_eq!(queue.find(&key("t", "4")).unwrap().unwrap().unread_data, None);
        queue.limit_request_data(10);
        let row = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!((row.request_data, row.unread_data), (None, Some(24)));
    });
}

/// More rows than are counted, made by the database itself.
fn many(database: &TestDatabase, n: u64) {
    let numbers = if database.is_postgres() {
        format!("(SELECT generate_series(1, {n})) AS numbers (i)")
    } else {
        format!("(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) SELECT i FROM n)")
    };
    database.execute(&format!(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted)
        SELECT 't', 'r' || i, 'course-report', 'FAILED', '2026-01-01 00:00:00' FROM {numbers}"
    ));
}

#[test]
fn a_search_counts_so_far_and_no_further() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        many(database, COUNT_LIMIT + 5);
        let failed = Filter { statuses: Some(vec!["FAILED".to_owned()]), ..Filter::default() };
        let found = queue.search(&failed, &Reader::everything(), &Page::first(3), &a_minute()).unwrap();
        assert_eq!((found.total, found.entries.len()), (COUNT_LIMIT + 1, 3));
    });
}

#[test]
fn a_search_ends_when_nobody_waits_for_it() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let search = |timeout: &StatementTimeout| {
            queue.search(&Filter::default(), &Reader::everything(), &Page::first(3), timeout)
        };
        if database.is_postgres() {
            // A statement that cannot end by itself: it waits for a lock.
            let mut holder = database.client();
            let mut held = holder.transaction().unwrap();
            held.batch_execute("LOCK TABLE job_request IN ACCESS EXCLUSIVE MODE").unwrap();
            let timeout = a_minute();
            std::thread::scope(|scope| {
                let searching = scope.spawn(|| search(&timeout));
                super::wait_for("the search to wait", || {
                    let waiting = database.query_text(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%job_request%'",
                    );
                    (waiting[0][0].as_deref() == Some("1")).then_some(())
                });
                timeout.cancel();
                let ended = searching.join().unwrap();
                assert!(matches!(ended, Err(QueueError::TimedOut)), "{ended:?}");
            });
            drop(held);
        }
        assert!(matches!(search(&StatementTimeout::after(Duration::ZERO)), Err(QueueError::TimedOut) | Ok(_)));
        assert_eq!(search(&a_minute()).unwrap().total, 1, "the next one is not ended with it");
    });
}

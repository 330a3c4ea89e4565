//! Rows whose keys follow from another table: what the server joins in one snapshot is what the keys would have brought,
//! whatever others change meanwhile.

use std::sync::Arc;

use exhaust::sources::Source;
use exhaust::sources::postgres::PostgresSource;
use exhaust::tables::key_range::KeyRange;
use exhaust::tables::keys::keys;
use exhaust::tables::plan::{LearnerRange, Scan, ScanReach, SemiOrigin};
use exhaust::tables::schema::{Column, Kind, Table};

use super::read::read;
use super::{database, settings};
use crate::databases::TestDatabase;
use crate::proxy::Proxy;

/// The learners of these enrolments, of whom these were kept.
fn learners(batches: &[&str], kept: &[String], range: &KeyRange) -> Scan {
    let mut enrolments = Scan::of_keys(
        Table::UserEnrolments,
        vec![Column::key("batchid"), Column::key("userid")],
        "batchid",
        keys(batches),
    );
    if !range.is_everybody() {
        enrolments.learners = Some(LearnerRange { column: "userid".into(), range: range.clone() });
    }
    let of = Arc::new(SemiOrigin { column: "userid".into(), scan: enrolments });
    let columns = vec![Column::key("userid"), Column::required("n", Kind::Count)];
    let reach = ScanReach::Semi { column: "userid".into(), keys: Some(keys(kept)), of };
    Scan { table: Table::User, columns, reach, learners: None }
}

/// The same by keys alone.
fn by_keys(scan: &Scan) -> Scan {
    let ScanReach::Semi { column, keys: Some(keys), .. } = &scan.reach else { panic!("a semi join") };
    Scan { reach: ScanReach::Keys { column: column.clone(), keys: Arc::clone(keys) }, ..scan.clone() }
}

fn insert(place: &TestDatabase, table: &str, rows: &[String]) {
    if !rows.is_empty() {
        place.execute(&format!("INSERT INTO platform.{table} VALUES {}", rows.join(", ")));
    }
}

/// The scan that the learners follow from.
fn origin(scan: &Scan) -> &Scan {
    let ScanReach::Semi { of, .. } = &scan.reach else { panic!("a semi join") };
    &of.scan
}

/// Made-up tables: learners without a row, rows without a key or under the other spelling, rows that cannot be used. Between
/// the two scans all rows are taken away and others put in: the snapshot does not see it.
#[test]
fn a_join_brings_what_the_keys_would() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform; CREATE TABLE platform.user_enrolments (batchid text, userid text COLLATE \"POSIX\");
         CREATE TABLE platform.\"user\" (userid text COLLATE \"C\", id text, n text);",
    );
    let source = database(&place, settings());
    let mut draws = fastrand::Rng::with_seed(18);
    let ids = ["a", "B", "b'", "ä", "z\\", "\u{1f600}", "a b", "0", "Z", "~"];
    let mut found = 0;
    for round in 0..40 {
        place.execute("TRUNCATE platform.user_enrolments, platform.\"user\"");
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let mut draw = |chance: u32| draws.u32(0..100) < chance;
        let enrolments: Vec<String> = ids
            .iter()
            .flat_map(|id| ["b1", "b2"].map(|batch| (batch, id)))
            .filter(|_| draw(50))
            .map(|(batch, id)| format!("('{batch}', {})", quoted(id)))
            .collect();
        let mut users: Vec<String> = Vec::new();
        for id in ids.iter().filter(|_| draw(80)).copied().collect::<Vec<_>>() {
            let n = if draw(20) { "'many'" } else { "'7'" };
            users.push(match (draw(30), draw(50)) {
                (true, true) => format!("(NULL, {}, {n})", quoted(id)),
                (true, false) => format!("('', {}, {n})", quoted(id)),
                (false, other) => format!("({}, {}, {n})", quoted(id), if other { "'a'" } else { "NULL" }),
            });
        }
        if draw(30) {
            users.push("(NULL, '', '1')".to_owned());
        }
        insert(&place, "user_enrolments", &enrolments);
        insert(&place, "\"user\"", &users);
        let range = match round % 3 {
            0 => KeyRange::default(),
            1 => KeyRange { after: Some("Z".to_owned()), up_to: None },
            _ => KeyRange { after: Some("0".to_owned()), up_to: Some("b'".to_owned()) },
        };
        let all = learners(&["b1"], &[], &range);
        let (expected_of, snapshot) = (source.snapshot().unwrap(), source.snapshot().unwrap());
        let read_origin = |source: &dyn Source| read(source, origin(&all)).unwrap().0;
        let enrolled = read_origin(snapshot.as_ref());
        assert_eq!(read_origin(expected_of.as_ref()), enrolled);
        let enrolled = enrolled.iter().filter_map(|row| row.strip_prefix("b1|"));
        let kept: Vec<String> = enrolled.filter(|id| range.has(id) && draw(60)).map(str::to_owned).collect();
        place.execute("DELETE FROM platform.user_enrolments; UPDATE platform.\"user\" SET userid = 'gone', n = '1'");
        let joined = learners(&["b1"], &kept, &range);
        let (expected, counted) = read(expected_of.as_ref(), &by_keys(&joined)).unwrap();
        let (rows, stats) = read(snapshot.as_ref(), &joined).unwrap();
        assert_eq!(rows, expected, "round {round}: {enrolments:?} {users:?} {kept:?} {range:?}");
        assert_eq!((stats.rows, stats.bad), (counted.rows, counted.bad), "round {round}");
        found += rows.len();
    }
    assert!(found > 50, "{found} rows in all: the draws show nothing");
}

/// Without a snapshot the enrolments may have changed since they were read: then the keys are sent.
#[test]
fn a_scan_by_itself_does_not_join() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform; CREATE TABLE platform.user_enrolments (batchid text, userid text);
         CREATE TABLE platform.\"user\" (userid text, n int); INSERT INTO platform.\"user\" VALUES ('a', 1), ('b', 2);",
    );
    let source = database(&place, settings());
    let scan = learners(&["b1"], &["a".to_owned()], &KeyRange::default());
    assert_eq!(read(&source, &scan).unwrap().0, ["a|1"], "its enrolment is gone");
}

/// Each scan of a snapshot sends its own keys, whatever the scan before it left on the server; and after a scan that failed
/// none is answered, since it would see other rows than those before it.
#[test]
fn a_snapshot_is_one_view_or_none() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform; CREATE TABLE platform.\"user\" (userid text, n int);
         INSERT INTO platform.\"user\" SELECT 'learner-' || i, i FROM generate_series(1, 5000) AS i;",
    );
    let source = database(&place, settings());
    let snapshot = source.snapshot().unwrap();
    let scan = |first: usize| {
        let ids: Vec<String> = (first..first + 1500).map(|i| format!("learner-{i}")).collect();
        let columns = vec![Column::key("userid"), Column::required("n", Kind::Count)];
        Scan::of_keys(Table::User, columns, "userid", keys(&ids))
    };
    for (first, expected) in [(1, 1500), (4001, 1000), (2001, 1500)] {
        assert_eq!(read(snapshot.as_ref(), &scan(first)).unwrap().0.len(), expected, "from {first}");
    }
    let missing = Scan::everything(Table::Content, vec![Column::key("identifier")]);
    let failed = read(snapshot.as_ref(), &missing).unwrap_err();
    assert!(!failed.may_pass && failed.message.contains("there is no table"), "{}", failed.message);
    let after = read(snapshot.as_ref(), &scan(1)).unwrap_err();
    assert!(after.may_pass && after.detail.contains("a scan before it failed"), "{}", after.detail);
}

/// What is sent does not grow with the learners.
#[test]
fn keys_of_learners_are_not_sent() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform; CREATE TABLE platform.user_enrolments (batchid text, userid text);
         CREATE TABLE platform.\"user\" (userid text, n int);
         INSERT INTO platform.user_enrolments SELECT 'b' || i % 2, 'learner-' || i FROM generate_series(1, 20000) AS i;
         INSERT INTO platform.\"user\" SELECT 'learner-' || i, i FROM generate_series(1, 20000) AS i WHERE i <> 77;",
    );
    let (proxy, url) = Proxy::before(&place.url());
    let source = PostgresSource::new(&url, "platform", settings()).unwrap();
    // One learner of the batch has no row.
    let kept: Vec<String> = (1..=20_000).step_by(2).map(|i| format!("learner-{i}")).collect();
    let joined = learners(&["b1"], &kept, &KeyRange::default());
    let sent = |scan: &Scan| {
        let before = proxy.asked();
        let snapshot = source.snapshot().unwrap();
        let (rows, _) = read(snapshot.as_ref(), scan).unwrap();
        (rows, proxy.asked() - before)
    };
    let (expected, bytes_of_keys) = sent(&by_keys(&joined));
    let (rows, bytes) = sent(&joined);
    assert_eq!(expected.len(), 9_999);
    assert_eq!(rows, expected);
    println!("bytes sent: {bytes} for a join, {bytes_of_keys} with keys");
    assert!(bytes_of_keys > 100_000 && bytes < 8_000, "{bytes} {bytes_of_keys}");
}

//! What only a database has: types without a counterpart in files, many keys, roles that may not do everything.

use exhaust::sources::Source;
use exhaust::sources::postgres::PostgresSource;
use exhaust::tables::keys::keys;
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};

use super::read::read;
use super::{database, scan, settings};
use crate::databases::TestDatabase;

#[test]
fn types_of_their_own() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform;
         CREATE DOMAIN platform.flag AS boolean;
         CREATE TYPE platform.certificate AS (name text, url text);
         CREATE TABLE platform.user_enrolments (batchid integer, \"USERID\" uuid, courseid char(5),
            active platform.flag, certificates platform.certificate[], issued_certificates jsonb, enrolleddate date,
            completedon timestamptz);
         INSERT INTO platform.user_enrolments VALUES (12, '00000000-0000-0000-0000-00000000000a', 'c1', true,
            ARRAY[('a', 'b'), ('c', 'd')]::platform.certificate[], '[1, 2, 3]', '2020-07-01',
            '2020-07-01 00:00:00.25+05:30');",
    );
    let columns = [
        Column::key("batchid"),
        Column::key("userid"),
        Column::key("courseid"),
        Column::required("active", Kind::Bool),
        Column::optional("certificates", Kind::Entries),
        Column::optional("issued_certificates", Kind::Entries),
        Column::optional("enrolleddate", Kind::Instant),
        Column::optional("completedon", Kind::Instant),
    ];
    let expected = "12|00000000-0000-0000-0000-00000000000a|c1|true|2|3|2020-06-30T18:30:00Z|2020-06-30T18:30:00.250Z";
    for only in [None, Some(("batchid", ["11", "12"].as_slice()))] {
        let (rows, _) = read(&database(&place, settings()), &scan(Table::UserEnrolments, &columns, only)).unwrap();
        assert_eq!(rows, [expected]);
    }
}

#[test]
fn json_of_all_kinds() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        r#"CREATE SCHEMA platform;
         CREATE TABLE platform.content (identifier jsonb, name json, "leafNodesCount" json, any_of jsonb, year int);
         INSERT INTO platform.content VALUES
            ('"do_\"1"', '"A\nB"', '4', '{"b": 1.50, "a": [true, null]}', 2020),
            ('"do_2"', 'null', '"5"', '"text"', NULL),
            ('"do_3"', NULL, NULL, 'null', 7);"#,
    );
    let columns = [
        Column::key("identifier"),
        Column::optional("name", Kind::Text),
        Column::optional("leafnodescount", Kind::Count),
        Column::optional("any_of", Kind::Json),
        Column::optional("year", Kind::Json),
    ];
    let source = database(&place, settings());
    let (rows, _) = read(&source, &scan(Table::Content, &columns, None)).unwrap();
    assert_eq!(rows, ["do_\"1|A\nB|4|{\"a\":[true,null],\"b\":1.50}|2020", "do_2|-|5|\"text\"|-", "do_3|-|-|-|7"]);
    let only = scan(Table::Content, &columns, Some(("identifier", &["do_\"1"])));
    assert_eq!(read(&source, &only).unwrap().1.rows, 1);
}

#[test]
fn completed_count_as_a_column() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform;
         CREATE TABLE platform.user_activity_agg (context_id text, completedcount int);
         INSERT INTO platform.user_activity_agg VALUES ('cb:b1', 4), ('cb:b2', NULL)",
    );
    let columns = [Column::key("context_id"), Column::required("agg", Kind::CompletedCount)];
    let (rows, _) = read(&database(&place, settings()), &scan(Table::UserActivityAgg, &columns, None)).unwrap();
    assert_eq!(rows, ["cb:b1|4", "cb:b2|-"]);
}

/// Users u0 … u29999, one without id; every third is asked for, and many that are not there.
fn many_users(place: &TestDatabase) -> Scan {
    place.execute(
        "CREATE SCHEMA platform;
         CREATE TABLE platform.user (userid text, firstname text);
         INSERT INTO platform.user SELECT 'u' || i, repeat('name', 50) FROM generate_series(0, 29999) AS i;
         INSERT INTO platform.user VALUES ('', 'nobody'), ('u''\"\\\t', 'odd')",
    );
    let users = (0..90_000).step_by(3).map(|i| format!("u{i}"));
    let odd = ["u'\"\\\t", "u\0"].map(str::to_owned);
    Scan {
        table: Table::User,
        columns: vec![Column::key("userid"), Column::optional("firstname", Kind::Text)],
        reach: Some(("userid".into(), keys(users.chain(odd)))).into(),
        learners: None,
    }
}

fn check_many(source: &PostgresSource, scan: &Scan) {
    let (rows, stats) = read(source, scan).unwrap();
    let name = "name".repeat(50);
    let mut expected: Vec<String> = (0..30_000).step_by(3).map(|i| format!("u{i}|{name}")).collect();
    expected.push("u'\"\\\t|odd".to_owned());
    expected.sort_unstable();
    assert_eq!(rows, expected);
    assert_eq!(stats.rows, 10_001);
    assert_eq!(stats.bad.values().sum::<u64>(), 1);
}

#[test]
fn many_keys() {
    let Some(place) = TestDatabase::postgres() else { return };
    let scan = many_users(&place);
    check_many(&database(&place, settings()), &scan);
}

#[test]
fn many_keys_where_no_table_may_be_made() {
    let Some(place) = TestDatabase::postgres() else { return };
    let scan = many_users(&place);
    let name = place.url().rsplit('/').next().unwrap().to_owned();
    // As on a read replica.
    place.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    check_many(&database(&place, settings()), &scan);
}

#[test]
fn more_rows_than_a_chunk() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform;
         CREATE TABLE platform.user (userid text, firstname text);
         INSERT INTO platform.user SELECT 'u' || i, repeat(E'a\tb\\\\', 20) FROM generate_series(1, 120000) AS i",
    );
    let columns = [Column::key("userid"), Column::optional("firstname", Kind::Text)];
    let (rows, stats) = read(&database(&place, settings()), &scan(Table::User, &columns, None)).unwrap();
    let name = "a\tb\\".repeat(20);
    let mut expected: Vec<String> = (1..=120_000).map(|i| format!("u{i}|{name}")).collect();
    expected.sort_unstable();
    assert!(rows == expected);
    assert_eq!(stats.rows, 120_000);
}

#[test]
fn settings_of_the_database_change_nothing() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform;
         CREATE TABLE platform.course_batch (batchid text, startdate timestamptz, enddate date);
         INSERT INTO platform.course_batch VALUES (E'it''s\\\\', '2020-07-01 00:00:00+00', '2020-07-02')",
    );
    let name = place.url().rsplit('/').next().unwrap().to_owned();
    for setting in ["TimeZone = 'Asia/Tokyo'", "DateStyle = 'German, DMY'", "standard_conforming_strings = off"] {
        // PostgreSQL 19 knows only `on`.
        if setting.starts_with("standard")
            && place.query_text("SHOW server_version_num")[0][0].as_deref() >= Some("190000")
        {
            continue;
        }
        place.execute(&format!("ALTER DATABASE {name} SET {setting}"));
    }
    let columns = [
        Column::key("batchid"),
        Column::optional("startdate", Kind::Instant),
        Column::optional("enddate", Kind::Instant),
    ];
    let scan = scan(Table::CourseBatch, &columns, Some(("batchid", &["it's\\"])));
    let (rows, _) = read(&database(&place, settings()), &scan).unwrap();
    assert_eq!(rows, ["it's\\|2020-07-01T00:00:00Z|2020-07-01T18:30:00Z"]);
}

#[test]
fn views_count_as_tables() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform; CREATE SCHEMA other;
         CREATE TABLE other.content (identifier text);
         CREATE TABLE platform.something (batchid text);
         CREATE VIEW platform.course_batch AS SELECT 'b1'::text AS batchid;
         CREATE MATERIALIZED VIEW platform.user AS SELECT 'u1'::text AS userid;",
    );
    let source = database(&place, settings());
    assert_eq!(source.tables().unwrap(), [Table::CourseBatch, Table::User]);
    for (table, key, expected) in [(Table::CourseBatch, "batchid", "b1"), (Table::User, "userid", "u1")] {
        assert_eq!(read(&source, &scan(table, &[Column::key(key)], None)).unwrap().0, [expected]);
    }
}

#[test]
fn a_server_that_is_not_there_may_come_back() {
    // Nothing listens on port 1.
    let source = PostgresSource::new("postgres://me:secret@127.0.0.1:1/db", "platform", settings()).unwrap();
    let error = read(&source, &scan(Table::User, &[Column::key("userid")], None)).unwrap_err();
    assert!(error.may_pass);
    assert_eq!(error.message, "table user: the PostgreSQL server cannot be reached");
    assert!(error.detail.contains("refused"), "{}", error.detail);
    for text in [&error.message, &error.detail, &source.tables().unwrap_err()] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_host_that_is_a_directory_is_a_unix_socket() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute("CREATE SCHEMA platform; CREATE TABLE platform.user AS SELECT 'u1'::text AS userid");
    let shown = |name: &str| place.query_text(&format!("SHOW {name}"))[0][0].clone().unwrap();
    let (directory, port) = (shown("unix_socket_directories"), shown("port"));
    let directory = directory.split(',').next().unwrap().trim();
    if !std::path::Path::new(directory).join(format!(".s.PGSQL.{port}")).exists() {
        eprintln!("skipped: no socket of the server is here");
        return;
    }
    let name = place.url().rsplit('/').next().unwrap().to_owned();
    let url = format!("postgres://postgres@{}:{port}/{name}", directory.replace('/', "%2F"));
    let source = PostgresSource::new(&url, "platform", settings()).unwrap();
    assert_eq!(read(&source, &scan(Table::User, &[Column::key("userid")], None)).unwrap().0, ["u1"]);
}

#[test]
fn what_may_not_be_read_does_not_pass() {
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform; CREATE TABLE platform.user (userid text);
         DROP ROLE IF EXISTS exhaust_test_nobody; CREATE ROLE exhaust_test_nobody LOGIN;
         GRANT USAGE ON SCHEMA platform TO exhaust_test_nobody",
    );
    let url = place.url().replacen("postgres@", "exhaust_test_nobody@", 1);
    let source = PostgresSource::new(&url, "platform", settings()).unwrap();
    let error = read(&source, &scan(Table::User, &[Column::key("userid")], None)).unwrap_err();
    place.execute("DROP OWNED BY exhaust_test_nobody; DROP ROLE exhaust_test_nobody");
    assert!(!error.may_pass);
    assert_eq!(error.message, "table user: PostgreSQL: permission denied for table user");
}

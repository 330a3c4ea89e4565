//! Migrations of tables in any earlier state.

use std::sync::Arc;
use std::thread;

use exhaust::requests::{ManualClock, Queue};

use super::super::databases::{TestDatabase, each_way};
use super::{ORIGINAL, ORIGINAL_COLUMNS, OUR_COLUMNS, claim_options, ids, insert_outside, migrated, start};

fn queue(database: &TestDatabase) -> Arc<dyn Queue> {
    database.queue(Arc::new(ManualClock::new(start())))
}

/// Rows of other systems: every state, other words for states, NULLs, JSON that is not an object.
fn foreign_rows(database: &TestDatabase) {
    let urls = if database.is_postgres() { "ARRAY['a','b,\"c']" } else { "'{a,b}'" };
    database.execute(&format!(
        "INSERT INTO job_request (tag, request_id, job_id, status, request_data, download_urls, dt_job_submitted,
            execution_time, err_message) VALUES
         ('t', '1', 'theirs', 'SUBMITTED', '{{\"a\": [1, 2]}}', NULL, '2020-01-01 00:00:00', NULL, NULL),
         ('t', '2', 'theirs', 'PROCESSING', '7', NULL, NULL, 5, 'working'),
         ('t', '3', 'theirs', 'SUCCESS', NULL, {urls}, '2020-01-02 00:00:00.123', 17, NULL),
         ('u', '1', NULL, NULL, 'null', NULL, '1999-12-31', NULL, 'x')"
    ));
}

fn original_values(database: &TestDatabase) -> Vec<Vec<Option<String>>> {
    database.query_text(&format!("SELECT {} FROM job_request ORDER BY tag, request_id", ORIGINAL_COLUMNS.join(", ")))
}

/// How many indexes filters have.
fn for_filters(database: &TestDatabase) -> usize {
    if database.is_postgres() { 8 } else { 7 }
}

#[test]
fn the_original_table_migrates_with_no_row_changed() {
    each_way(|database| {
        database.execute(ORIGINAL);
        foreign_rows(database);
        let before = original_values(database);
        assert_eq!(before.len(), 4);
        let queue = queue(database);
        assert!(queue.check().is_err_and(|e| !e.may_pass()), "columns are missing");
        let planned = queue.migrate(true).unwrap();
        assert!(queue.check().is_err(), "a dry run changes nothing");
        // Slots, daemons and what they know, the installation, parts, pauses, the audit, the indexes, and room in pages (PostgreSQL) or one
        // more index (SQLite).
        assert_eq!(planned.len(), OUR_COLUMNS.len() + 15 + for_filters(database), "{planned:#?}");
        assert_eq!(queue.migrate(false).unwrap(), planned);
        queue.check().unwrap();
        assert_eq!(original_values(database), before);
        let ours = database.query_text(&format!("SELECT {} FROM job_request", OUR_COLUMNS.join(", ")));
        let zero_or_null: Vec<Option<String>> =
            OUR_COLUMNS.iter().map(|c| ["iteration", "crashes"].contains(c).then(|| "0".to_owned())).collect();
        assert_eq!(ours, vec![zero_or_null; 4]);
    });
}

#[test]
fn an_empty_database_migrates_and_a_second_time_does_nothing() {
    each_way(|database| {
        let queue = queue(database);
        assert_eq!(queue.migrate(false).unwrap().len(), 30 + for_filters(database));
        queue.check().unwrap();
        assert_eq!(queue.migrate(true).unwrap(), Vec::<String>::new());
        assert_eq!(queue.migrate(false).unwrap(), Vec::<String>::new());
    });
}

#[test]
fn room_in_pages_is_left_as_somebody_chose_it() {
    each_way(|database| {
        if !database.is_postgres() {
            return;
        }
        let room = || {
            database.query_text("SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE relname = 'job_request'")
        };
        let is = |options: &str| room() == [[Some(options.to_owned())]];
        database.execute(ORIGINAL);
        database.execute("ALTER TABLE job_request SET (fillfactor = 50, autovacuum_enabled = false)");
        queue(database).migrate(false).unwrap();
        assert!(is("fillfactor=50 autovacuum_enabled=false"), "{:?}", room());
        database.execute("ALTER TABLE job_request RESET (fillfactor)");
        let planned = queue(database).migrate(false).unwrap();
        assert_eq!(planned, ["ALTER TABLE job_request SET (fillfactor = 85)"]);
        assert!(is("autovacuum_enabled=false fillfactor=85"), "{:?}", room());
    });
}

#[test]
fn columns_that_are_there_already_stay_as_they_are() {
    each_way(|database| {
        database.execute(ORIGINAL);
        // As later versions of the platform have them: other types, no default.
        database.execute(
            "ALTER TABLE job_request ADD COLUMN iteration BIGINT;
             ALTER TABLE job_request ADD COLUMN encryption_key VARCHAR(50);
             ALTER TABLE job_request ADD COLUMN processed_batches TEXT;
             INSERT INTO job_request (tag, request_id, job_id, status, iteration, encryption_key, processed_batches)
             VALUES ('t', '1', 'course-report', 'SUBMITTED', NULL, 'secret', '[1]')",
        );
        let (queue, _) = migrated(database);
        let claim = queue.claim(&claim_options(10)).unwrap();
        let row = &claim.requests[0];
        assert_eq!(
            (row.iteration, row.encryption_key.is_some(), row.processed_batches.as_deref()),
            (0, true, Some("[1]"))
        );
        assert_eq!(
            database.query_text("SELECT encryption_key, iteration FROM job_request"),
            [[Some("secret".to_owned()), None]]
        );
    });
}

#[test]
fn starts_at_the_same_time_do_not_disturb_each_other() {
    each_way(|database| {
        database.execute(ORIGINAL);
        foreign_rows(database);
        let before = original_values(database);
        let done: Vec<usize> = thread::scope(|scope| {
            // A pool each, like separate daemons.
            let starts: Vec<_> =
                (0..6).map(|_| scope.spawn(|| queue(database).migrate(false).unwrap().len())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(done.iter().filter(|n| **n > 0).count(), 1, "one of them did it all: {done:?}");
        queue(database).check().unwrap();
        assert_eq!(original_values(database), before);
    });
}

#[test]
fn an_insert_of_original_columns_goes_on_working() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        insert_outside(database, "t", "1", "course-report", "NULL");
        assert_eq!(ids(&queue.claim(&claim_options(10)).unwrap()), ["1"]);
    });
}

#[test]
fn invalid_remains_of_an_index_are_built_anew() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    // What an interrupted CREATE INDEX CONCURRENTLY leaves behind.
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'job_request_line'::regclass");
    let done = queue.migrate(false).unwrap();
    assert_eq!(done.len(), 2, "{done:?}");
    assert_eq!(done[0], "DROP INDEX CONCURRENTLY IF EXISTS public.job_request_line");
    assert_eq!(
        database.query_text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'job_request_line'::regclass"),
        [[Some("t".to_owned())]]
    );
    assert_eq!(queue.migrate(false).unwrap(), Vec::<String>::new());
}

/// An older version has made them, or makes them again while the fleet is being upgraded.
#[test]
fn indexes_that_others_have_replaced_are_removed() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    foreign_rows(&database);
    let before = original_values(&database);
    let old = "CREATE INDEX job_request_newest ON job_request (tag, dt_job_submitted DESC NULLS LAST, request_id);
        CREATE INDEX job_request_open ON job_request (job_id, status) WHERE status IN ('SUBMITTED', 'PROCESSING');";
    database.execute(old);
    // The build of one of them was interrupted.
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'job_request_open'::regclass");
    let planned = queue.migrate(true).unwrap();
    assert_eq!(
        planned,
        ["job_request_newest", "job_request_open"].map(|name| format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))
    );
    assert_eq!(queue.migrate(false).unwrap(), planned);
    let left =
        database.query_text("SELECT to_regclass('job_request_newest')::text, to_regclass('job_request_open')::text");
    assert_eq!(left, [[None, None]]);
    assert_eq!(original_values(&database), before);
    assert_eq!(queue.migrate(false).unwrap(), Vec::<String>::new());
}

#[test]
fn a_role_that_owns_nothing_starts_where_nothing_is_missing() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (_, _) = migrated(&database);
    let role = format!("worker_{}", std::process::id());
    database.execute(&format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN;
         GRANT SELECT, INSERT, UPDATE ON job_request, exhaust_slot TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON job_request_part, exhaust_audit TO {role};
         GRANT SELECT ON exhaust_pause TO {role}"
    ));
    let url = database.url().replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    assert!(url.contains(&role), "the test server's superuser is postgres");
    let place = exhaust::requests::PostgresOptions { url: &url, pooling: None, direct_url: None };
    let clock = Arc::new(ManualClock::new(start()));
    let queue: Arc<dyn Queue> = Arc::new(exhaust::requests::open_postgres(place, clock, 1).unwrap());
    assert_eq!(queue.migrate(false).unwrap(), Vec::<String>::new());
    queue.check().unwrap();
    insert_outside(&database, "t", "1", "course-report", "NULL");
    assert_eq!(ids(&queue.claim(&claim_options(10)).unwrap()), ["1"]);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

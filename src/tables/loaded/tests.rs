use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::reports::job_config::JobConfig;
use crate::reports::test_tables::{AS_WRITTEN, Feed, TZ, Tables, made};
use crate::reports::{Counts, Options, PIECE_ROWS, ReportError, find, generate};
use crate::tables::catalog::BatchIdx;
use crate::tables::key_range::KeyRange;
use crate::tables::plan::{Scan, ScanReach};
use crate::tables::schema::{self, Table};

/// Three batches, forty people, and every kind of duplicate.
fn crowded() -> Tables {
    let module =
        r#""mimeType":"application/vnd.ekstep.content-collection","contentType":"Course","visibility":"Default""#;
    let mut tables = Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &["c1 | 1", "c2 | 2", "c1 | 3", "c9 | 3"])
        .add(
            Table::Content,
            "identifier | name | channel | contentType | leafNodesCount",
            &[
                "c1 | | ch1 | Course | 7",
                "c2 | | ch2 | Course | 3",
                "c9 | | ch1 | Course | 5",
                "c1 | | ch1 | Course | 8",
                "q1 | Quiz | | SelfAssess |",
                "q2 | Quiz | | SelfAssess |",
            ],
        )
        .add(
            Table::ContentHierarchy,
            "identifier | hierarchy",
            &[
                &format!(r#"c1 | {{"children":[{{{module},"identifier":"m1","leafNodesCount":2}}]}}"#),
                &format!(r#"c1 | {{"children":[{{{module},"identifier":"m2","leafNodesCount":4}}]}}"#),
            ],
        );
    for person in 0..40 {
        let batch = person % 3 + 1;
        let course = ["c1", "c2", "c9"][person % 3];
        let time = person % 5;
        tables = tables
            .add(
                Table::UserEnrolments,
                "batchid | userid | courseid | active | enrolleddate | completedon | certificates",
                &[
                    &format!("{batch} | u{person} | {course} | true | 2020-01-0{} | | {time}", time + 1),
                    &format!("{batch} | u{person} | {course} | {} | 2020-01-02 | 2020-02-02 |", person % 7 != 0),
                    &format!("{batch} | u{person} | x | true | | |"),
                ],
            )
            .add(
                Table::UserActivityAgg,
                "activity_id | user_id | context_id | agg | agg_last_updated",
                &[
                    &format!("{course} | u{person} | cb:{batch} | {} | 2020-01-01", person % 4),
                    &format!("{course} | u{person} | cb:{batch} | {} | 2020-01-0{}", person % 3, time + 1),
                    &format!("m2 | u{person} | cb:{batch} | 1 |"),
                ],
            )
            .add(
                Table::AssessmentAggregator,
                "course_id | batch_id | user_id | content_id | attempt_id | total_score | total_max_score | grand_total | last_attempted_on",
                &[
                    &format!("{course} | {batch} | u{person} | q1 | t1 | {time} | 5 | {time}/5 | 2020-01-01"),
                    &format!("{course} | {batch} | u{person} | q1 | t1 | {time} | 5 | {time}/6 | 2020-01-02"),
                    &format!("{course} | {batch} | u{person} | q2 | t2 | 1 | 5 | 1/5 |"),
                    &format!("{course} | {batch} | u{person} | q2 | t3 | 1 | 5 | 2/5 |"),
                ],
            );
        if person % 6 != 5 {
            tables = tables.add(
                Table::User,
                "userid | firstname | lastname | externalid | userchannel",
                &[
                    &format!("u{person} | A | | X{person} | ch1"),
                    &format!("u{person} | A | B | X1 | ch2"),
                    &format!("u{person} | A | B | X2 | ch1"),
                ],
            );
        }
    }
    tables
}

/// The files of all batches, their counts and the duplicates, as one text.
fn everything(tables: &Tables, report: &str, feed: Feed) -> String {
    let mut all = String::new();
    let mut duplicates = None;
    for batch in ["1", "2", "3"] {
        let (csv, counts, loaded) = tables.report(report, batch, &Options::default(), feed);
        assert!(counts.reconciled() && counts.rows > 5 && counts.by_reason()["duplicate"] > 0, "{counts:?}");
        write!(all, "{csv}{counts:?}").unwrap();
        duplicates = Some(loaded.duplicates().clone());
    }
    write!(all, "{duplicates:?}").unwrap();
    all
}

#[test]
fn nothing_depends_on_the_order_of_rows_and_chunks() {
    let tables = crowded();
    for report in ["course", "assessment"] {
        let expected = everything(&tables, report, AS_WRITTEN);
        for seed in 1..=12 {
            for size in [1, 7, 64] {
                assert_eq!(everything(&tables, report, Feed { seed, size }), expected, "{report}, seed {seed}, {size}");
            }
        }
    }
}

#[test]
fn of_users_with_one_id_the_greatest_row_is_used() {
    let row = |users: &[&str]| {
        let tables = Tables::default()
            .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
            .add(Table::Content, "identifier | channel", &["c | ch1"])
            .add(Table::UserEnrolments, "batchid | userid | courseid | active", &["1 | u | c | true"])
            .add(Table::User, "userid | firstname | lastname | maskedemail | state | userchannel", users);
        let (csv, _, loaded) = tables.report("course", "1", &Options::default(), AS_WRITTEN);
        assert_eq!(loaded.duplicates().get(&Table::User), Some(&(users.len() as u64 - 1)));
        csv.lines().nth(1).unwrap().split(',').skip(2).take(5).collect::<Vec<_>>().join(",")
    };
    // "Asha" is greater than "Ash", though with the last name "Ash z" would be greater than "Asha".
    assert_eq!(row(&["u | Ash | z | | |", "u | Asha | | | |"]), "Asha,,,,");
    assert_eq!(row(&["u | Asha | | | |", "u | Ash | z | | |"]), "Asha,,,,");
    // First name missing is smaller than any.
    assert_eq!(row(&["u | | Zorn | | |", "u | A | | | |"]), "A,,,,");
    assert_eq!(row(&["u | A | B | m1 | s2 |", "u | A | B | m2 | s1 |", "u | A | B | | s9 |"]), "A B,m2,,,s1");
}

#[test]
fn scans_are_limited_to_what_the_batches_need() {
    let tables = crowded();
    let config = JobConfig::parse(r#"{"batchId": "1"}"#).unwrap();
    let catalog = Arc::new(tables.catalog(&config, AS_WRITTEN));
    let options = Options::default();
    let limits = |report: &str, batches: &[usize]| -> Vec<(Table, String, Vec<String>)> {
        let needs = find(report).unwrap().needs(&options);
        let batches: Vec<BatchIdx> = batches.iter().copied().map(BatchIdx).collect();
        let mut loading = Loading::new(Arc::clone(&catalog), &batches, &needs, TZ);
        let limit = |scan: Scan| {
            let (column, only) = scan.only().unwrap();
            let mut only: Vec<String> = only.iter().map(str::to_owned).collect();
            only.sort();
            (scan.table, column.to_owned(), only)
        };
        std::iter::from_fn(|| loading.next_scan()).map(limit).collect()
    };
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    // Batch 3 is of course c9, the greater of its two rows; a batch given twice is loaded once.
    assert_eq!(
        limits("course", &[2, 0, 2]),
        [
            (Table::UserEnrolments, "batchid".to_owned(), own(&["1", "3"])),
            (Table::ContentHierarchy, "identifier".to_owned(), own(&["c1", "c9"])),
            (Table::UserActivityAgg, "context_id".to_owned(), own(&["cb:1", "cb:3"])),
        ]
    );
    assert_eq!(
        limits("assessment", &[1]),
        [
            (Table::UserEnrolments, "batchid".to_owned(), own(&["2"])),
            (Table::AssessmentAggregator, "batch_id".to_owned(), own(&["2"])),
        ]
    );
    assert!(limits("course", &[]).is_empty());
}

#[test]
fn only_learners_with_an_enrolment_that_passes_are_asked_for() {
    let tables = Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &["c | 1", "d | 2"])
        .add(Table::Content, "identifier | channel", &["c | ch1", "d | ch1"])
        .add(
            Table::UserEnrolments,
            "batchid | userid | courseid | active",
            &["1 | a | c | true", "1 | b | c | false", "1 | e | d | true", "2 | f | d | true", "1 | a | c | true"],
        )
        .add(Table::UserActivityAgg, "activity_id | user_id | context_id | agg", &["c | g | cb:1 | 1"]);
    let catalog = Arc::new(tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN));
    let options = Options::default();
    let needs = find("course").unwrap().needs(&options);
    let mut loading = Loading::new(Arc::clone(&catalog), &[BatchIdx(0)], &needs, TZ);
    let scan = loading.next_scan().unwrap();
    assert_eq!(scan.table, Table::UserEnrolments);
    tables.read(&scan, AS_WRITTEN, |_, chunk| loading.take(chunk));
    let scan = std::iter::from_fn(|| loading.next_scan()).last().unwrap();
    assert_eq!(scan.table, Table::User);
    assert_eq!(scan.columns, needs.columns(Table::User));
    let (column, only) = scan.only().unwrap();
    assert_eq!((column, only.len(), only.contains("a")), ("userid", 1, true));
    assert!(Loading::new(Arc::clone(&catalog), &[], &needs, TZ).next_scan().is_none());
    // A load that ends before `user` is read: everybody is unknown, and counted so.
    let loaded = loading.finish().unwrap();
    let counts = |batch: usize| {
        generate(find("course").unwrap(), BatchIdx(batch), &loaded, &options, |_| Ok::<(), ReportError>(()))
    };
    let expected = Counts {
        enrolled: 4,
        left_out: [("other_course".into(), 1), ("inactive".into(), 1), ("no_user".into(), 2)].into(),
        ..Counts::default()
    };
    assert_eq!(counts(0).unwrap(), expected);
    let error = counts(1).unwrap_err();
    assert_eq!(error.to_string(), "batch 2: its data was not loaded");
}

#[test]
fn chunks_may_come_from_several_threads() {
    let tables = crowded();
    let (expected, _, _) = tables.report("course", "1", &Options::default(), AS_WRITTEN);
    let catalog = Arc::new(tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN));
    let options = Options::default();
    let report = find("course").unwrap();
    let mut loading = Loading::new(catalog, &[0, 1, 2].map(BatchIdx), &report.needs(&options), TZ);
    while let Some(scan) = loading.next_scan() {
        std::thread::scope(|threads| {
            for part in 0..3 {
                let (loading, tables, scan) = (&loading, &tables, &scan);
                threads.spawn(move || {
                    tables.part(part, 3).read(scan, Feed { seed: 4, size: 3 }, |_, chunk| loading.take(chunk));
                });
            }
        });
    }
    let loaded = loading.finish().unwrap();
    assert_eq!(made(report, BatchIdx(0), &loaded, &options, PIECE_ROWS).0, expected);
}

/// Loads what a report needs for three batches, in so many bytes.
fn load_within(bytes: u64, report: &str, tables: &Tables) -> Result<LoadedBatches, BatchWeights> {
    let catalog = Arc::new(tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN));
    let options = Options::default();
    let needs = find(report).unwrap().needs(&options);
    let mut loading = Loading::new(catalog, &[0, 1, 2].map(BatchIdx), &needs, TZ).within(bytes);
    while let Some(scan) = loading.next_scan() {
        tables.read(&scan, Feed { seed: 3, size: 5 }, |_, chunk| loading.take(chunk));
    }
    loading.finish()
}

#[test]
fn what_is_too_much_is_weighed_batch_by_batch() {
    let tables = crowded();
    for report in ["course", "assessment"] {
        assert!(load_within(200_000, report, &tables).is_ok());
        // Forty people have 120 enrolments, a third of them in each batch.
        let Err(BatchWeights { batches }) = load_within(10_000, report, &tables) else {
            panic!("{report}: 10 kB are enough")
        };
        assert_eq!(batches.iter().map(|(batch, _)| batch.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(batches.iter().all(|(_, bytes)| (13_000..40_000).contains(bytes)), "{batches:?}");
    }
}

#[test]
fn many_attempts_to_an_enrolment_are_too_much_too() {
    let mut tables = crowded();
    let columns = "course_id | batch_id | user_id | content_id | attempt_id | total_score | total_max_score";
    for attempt in 0..2_000 {
        tables = tables.add(Table::AssessmentAggregator, columns, &[&format!("c1 | 1 | u0 | q1 | a{attempt} | 1 | 2")]);
    }
    // The enrolments alone would fit.
    let Err(BatchWeights { batches }) = load_within(100_000, "assessment", &tables) else { panic!("it fits") };
    assert!(batches[0].1 > 180_000 && batches[1].1 < 40_000, "{batches:?}");
}

/// Loads what is of some learners of batch 1.
fn load_range(report: &str, tables: &Tables, range: &KeyRange, columns: Option<&FoundColumns>) -> LoadedBatches {
    let catalog = Arc::new(tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN));
    let options = Options::default();
    let needs = find(report).unwrap().needs(&options);
    let mut loading = Loading::new(catalog, &[BatchIdx(0)], &needs, TZ).of(range);
    if let Some(columns) = columns {
        loading = loading.showing(columns);
    }
    while let Some(scan) = loading.next_scan() {
        tables.read(&scan, Feed { seed: 5, size: 9 }, |_, chunk| loading.take(chunk));
    }
    loading.finish().unwrap()
}

#[test]
fn range_by_range_is_the_same_report() {
    let attempts = "course_id | batch_id | user_id | content_id | attempt_id | total_score | total_max_score";
    // Only one of the first learners has an attempt at this one; and there are attempts of people who are not enrolled.
    let tables = crowded()
        .add(Table::Content, "identifier | name | contentType", &["q0 | Early | SelfAssess"])
        .add(Table::AssessmentAggregator, attempts, &["c1 | 1 | u12 | q0 | t | 1 | 2", "c1 | 1 | a | q1 | t | 1 | 2"])
        .add(Table::AssessmentAggregator, attempts, &["c1 | 1 | z | q1 | t | 1 | 2", "c1 | 1 | z | q2 | t | 1 | 2"]);
    let options = Options::default();
    let points = ["u15", "u21", "u33", "u33x"].map(|id| Some(id.to_owned()));
    let after = [None].into_iter().chain(points.clone());
    let ranges: Vec<KeyRange> =
        after.zip(points.into_iter().chain([None])).map(|(after, up_to)| KeyRange { after, up_to }).collect();
    for report in ["course", "assessment"] {
        let (expected, counts, _) = tables.report(report, "1", &options, AS_WRITTEN);
        let mut columns = FoundColumns::default();
        for range in &ranges {
            load_range(report, &tables, range, None).find_columns(BatchIdx(0), &mut columns);
        }
        let (mut lines, mut sum) = (Vec::new(), Counts::default());
        for range in &ranges {
            let loaded = load_range(report, &tables, range, Some(&columns));
            let (csv, counts) = made(find(report).unwrap(), BatchIdx(0), &loaded, &options, 2);
            let skipped = usize::from(!lines.is_empty());
            lines.extend(csv.lines().skip(skipped).map(|line| format!("{line}\n")));
            sum.add(&counts);
        }
        assert_eq!(lines.concat(), expected, "{report}");
        assert_eq!(sum, counts, "{report}");
        assert!(sum.rows > 5 && (report == "course" || sum.attempts_without_enrolment == 3), "{sum:?}");
    }
}

#[test]
fn a_plan_says_what_is_read_before_anything_is() {
    let tables = crowded();
    let catalog = tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN);
    let options = Options::default();
    let range = KeyRange { after: Some("u1".to_owned()), up_to: None };
    for (report, read) in [
        ("course", &[Table::UserEnrolments, Table::ContentHierarchy, Table::UserActivityAgg, Table::User][..]),
        ("assessment", &[Table::UserEnrolments, Table::AssessmentAggregator, Table::User]),
    ] {
        let needs = find(report).unwrap().needs(&options);
        let plan = needs.plan(&catalog, &[BatchIdx(0)], &range);
        assert_eq!(plan.scans.iter().map(|scan| scan.table).collect::<Vec<_>>(), read);
        for scan in &plan.scans {
            assert_eq!(scan.columns, needs.columns(scan.table));
            // Of a course's tree no row is of one learner.
            let of = scan.learners.as_ref().map(|learners| (learners.column.as_ref(), &learners.range));
            match scan.table {
                Table::ContentHierarchy => assert_eq!(of, None),
                Table::UserActivityAgg | Table::AssessmentAggregator => assert_eq!(of, Some(("user_id", &range))),
                _ => assert_eq!(of, Some(("userid", &range))),
            }
        }
        // Learners are those of the enrolments, of the same batches and the same range.
        let Some(ScanReach::Semi { column, keys: None, of }) = plan.scans.last().map(|scan| &scan.reach) else {
            panic!("{plan:?}");
        };
        assert_eq!((column.as_ref(), of.column.as_ref(), of.scan.table), ("userid", "userid", Table::UserEnrolments));
        let (column, keys) = of.scan.only().unwrap();
        assert_eq!((column, keys.iter().collect::<Vec<_>>()), ("batchid", vec!["1"]));
        assert_eq!(of.scan.learners.as_ref().map(|learners| &learners.range), Some(&range));
    }
}

/// Columns that a report needs are columns of their tables; what is not private of a learner stands together.
#[test]
fn reports_need_columns_that_there_are() {
    for report in crate::reports::registry() {
        let needs = report.needs(&Options::default());
        for table in [Table::UserEnrolments, Table::User] {
            assert!(
                needs.tables.iter().any(|need| need.table == table),
                "{} lists nobody without {table}",
                report.name()
            );
        }
        for need in &needs.tables {
            let known = match need.table {
                Table::CourseBatch => schema::course_batch::NAMES,
                Table::Content => schema::content::NAMES,
                Table::ContentHierarchy => schema::content_hierarchy::NAMES,
                Table::User => schema::user::NAMES,
                Table::UserEnrolments => schema::user_enrolments::NAMES,
                Table::UserActivityAgg => schema::user_activity_agg::NAMES,
                Table::AssessmentAggregator => schema::assessment_aggregator::NAMES,
            };
            let places: Vec<usize> =
                need.columns.iter().map(|column| known.iter().position(|name| *name == column.name).unwrap()).collect();
            assert!(places.is_sorted(), "{}: {need:?}", report.name());
        }
    }
}

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;
use crate::reports::common::users;
use crate::reports::job_config::JobConfig;
use crate::reports::test_tables::{AS_WRITTEN, Feed, TZ, Tables, made};
use crate::reports::{Counts, PIECE_ROWS, ReportError, find, generate};

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
        let (csv, counts, shared) = tables.report(report, batch, &Options::default(), feed);
        assert!(counts.reconciled() && counts.rows > 5 && counts.duplicate > 0, "{counts:?}");
        write!(all, "{csv}{counts:?}").unwrap();
        duplicates = Some(shared.duplicates().clone());
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
        let (csv, _, shared) = tables.report("course", "1", &Options::default(), AS_WRITTEN);
        assert_eq!(shared.duplicates().get(&Table::User), Some(&(users.len() as u64 - 1)));
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
        let mut builder = SharedBuilder::new(Arc::clone(&catalog), batches, &needs, &options, TZ);
        let limit = |scan: Scan| {
            let (column, only) = scan.only().unwrap();
            let mut only: Vec<String> = only.iter().map(str::to_owned).collect();
            only.sort();
            (scan.table, column.to_owned(), only)
        };
        std::iter::from_fn(|| builder.next_scan()).map(limit).collect()
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
    let mut builder = SharedBuilder::new(Arc::clone(&catalog), &[0], &needs, &options, TZ);
    let scan = builder.next_scan().unwrap();
    assert_eq!(scan.table, Table::UserEnrolments);
    tables.read(&scan, AS_WRITTEN, |_, chunk| builder.take(chunk));
    let scan = std::iter::from_fn(|| builder.next_scan()).last().unwrap();
    assert_eq!(scan.table, Table::User);
    assert_eq!(scan.columns, users(needs.common));
    let (column, only) = scan.only().unwrap();
    assert_eq!((column, only.len(), only.contains("a")), ("userid", 1, true));
    assert!(SharedBuilder::new(Arc::clone(&catalog), &[], &needs, &options, TZ).next_scan().is_none());
    // A load that ends before `user` is read: everybody is unknown, and counted so.
    let shared = builder.finish().unwrap();
    assert!(shared.memory() > 0);
    let counts =
        |batch: usize| generate(find("course").unwrap(), batch, &shared, &options, |_| Ok::<(), ReportError>(()));
    let expected = Counts { enrolled: 4, other_course: 1, inactive: 1, no_user: 2, ..Counts::default() };
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
    let mut builder = SharedBuilder::new(catalog, &[0, 1, 2], &report.needs(&options), &options, TZ);
    while let Some(scan) = builder.next_scan() {
        std::thread::scope(|threads| {
            for part in 0..3 {
                let (builder, tables, scan) = (&builder, &tables, &scan);
                threads.spawn(move || {
                    tables.part(part, 3).read(scan, Feed { seed: 4, size: 3 }, |_, chunk| builder.take(chunk));
                });
            }
        });
    }
    let shared = builder.finish().unwrap();
    assert_eq!(made(report, 0, &shared, &options, PIECE_ROWS).0, expected);
}

/// Loads what a report needs for three batches, in so many bytes.
fn load_within(bytes: u64, report: &str, tables: &Tables) -> Result<Shared, Heavy> {
    let catalog = Arc::new(tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN));
    let options = Options::default();
    let needs = find(report).unwrap().needs(&options);
    let mut builder = SharedBuilder::new(catalog, &[0, 1, 2], &needs, &options, TZ).within(bytes);
    while let Some(scan) = builder.next_scan() {
        tables.read(&scan, Feed { seed: 3, size: 5 }, |_, chunk| builder.take(chunk));
    }
    builder.finish()
}

#[test]
fn what_is_too_much_is_weighed_batch_by_batch() {
    let tables = crowded();
    for report in ["course", "assessment"] {
        assert!(load_within(200_000, report, &tables).is_ok());
        // Forty people have 120 enrolments, a third of them in each batch.
        let Err(Heavy { batches }) = load_within(10_000, report, &tables) else { panic!("{report}: 10 kB are enough") };
        assert_eq!(batches.iter().map(|(batch, _)| *batch).collect::<Vec<_>>(), [0, 1, 2]);
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
    let Err(Heavy { batches }) = load_within(100_000, "assessment", &tables) else { panic!("it fits") };
    assert!(batches[0].1 > 180_000 && batches[1].1 < 40_000, "{batches:?}");
}

/// Loads what is of some learners of batch 1.
fn load_stretch(report: &str, tables: &Tables, stretch: &KeyRange, assessments: Option<&[u32]>) -> Shared {
    let catalog = Arc::new(tables.catalog(&JobConfig::parse(r#"{"batchId": "1"}"#).unwrap(), AS_WRITTEN));
    let options = Options::default();
    let needs = find(report).unwrap().needs(&options);
    let mut builder = SharedBuilder::new(catalog, &[0], &needs, &options, TZ).of(stretch);
    if let Some(assessments) = assessments {
        builder = builder.showing(assessments);
    }
    while let Some(scan) = builder.next_scan() {
        tables.read(&scan, Feed { seed: 5, size: 9 }, |_, chunk| builder.take(chunk));
    }
    builder.finish().unwrap()
}

#[test]
fn stretch_by_stretch_is_the_same_report() {
    let attempts = "course_id | batch_id | user_id | content_id | attempt_id | total_score | total_max_score";
    // Only one of the first learners has an attempt at this one; and there are attempts of people who are not enrolled.
    let tables = crowded()
        .add(Table::Content, "identifier | name | contentType", &["q0 | Early | SelfAssess"])
        .add(Table::AssessmentAggregator, attempts, &["c1 | 1 | u12 | q0 | t | 1 | 2", "c1 | 1 | a | q1 | t | 1 | 2"])
        .add(Table::AssessmentAggregator, attempts, &["c1 | 1 | z | q1 | t | 1 | 2", "c1 | 1 | z | q2 | t | 1 | 2"]);
    let options = Options::default();
    let borders = ["u15", "u21", "u33", "u33x"].map(|id| Some(id.to_owned()));
    let after = [None].into_iter().chain(borders.clone());
    let stretches: Vec<KeyRange> =
        after.zip(borders.into_iter().chain([None])).map(|(after, up_to)| KeyRange { after, up_to }).collect();
    for report in ["course", "assessment"] {
        let (expected, counts, _) = tables.report(report, "1", &options, AS_WRITTEN);
        let all: BTreeSet<u32> = stretches
            .iter()
            .flat_map(|stretch| load_stretch(report, &tables, stretch, None).assessments(0).to_vec())
            .collect();
        let all: Vec<u32> = all.into_iter().collect();
        let (mut lines, mut sum) = (Vec::new(), Counts::default());
        for stretch in &stretches {
            let shared = load_stretch(report, &tables, stretch, Some(&all));
            let (csv, counts) = made(find(report).unwrap(), 0, &shared, &options, 2);
            let skipped = usize::from(!lines.is_empty());
            lines.extend(csv.lines().skip(skipped).map(|line| format!("{line}\n")));
            sum.add(&counts);
        }
        assert_eq!(lines.concat(), expected, "{report}");
        assert_eq!(sum, counts, "{report}");
        assert!(sum.rows > 5 && (report == "course" || sum.attempts_without_enrolment == 3), "{sum:?}");
    }
}

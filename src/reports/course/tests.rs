use super::*;
use crate::reports::Counts;
use crate::reports::test_tables::{AS_WRITTEN, Tables, column};
use crate::tables::schema::Table;

const ENROLMENT: &str =
    "batchid | userid | courseid | active | enrolleddate | completedon | certificates | issued_certificates";
const ACTIVITY: &str = "activity_id | user_id | context_id | agg | agg_last_updated";
const MODULE: &str =
    r#""mimeType":"application/vnd.ekstep.content-collection","contentType":"Course","visibility":"Default""#;

/// Batch 1 of course c (three leaf nodes) with the modules m1 (two) and m2 (none), and learners a and b.
fn platform() -> Tables {
    let hierarchy = format!(
        r#"c | {{"children":[{{{MODULE},"identifier":"m2","leafNodesCount":0}},{{{MODULE},"identifier":"m1","leafNodesCount":2}}]}}"#
    );
    Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
        .add(Table::Content, "identifier | channel | leafNodesCount", &["c | ch1 | 3"])
        .add(Table::ContentHierarchy, "identifier | hierarchy", &[&hierarchy])
        .add(Table::User, "userid | firstname", &["a | A", "b | B"])
        .add(Table::UserEnrolments, ENROLMENT, &["1 | a | c | true | | | |", "1 | b | c | true | | | |"])
}

#[test]
fn progress_is_whole_per_cent_rounded_down() {
    let tables = platform().add(
        Table::UserActivityAgg,
        ACTIVITY,
        &[
            "c  | a | cb:1 | 2 |",
            "m1 | a | cb:1 | 1 |",
            "m2 | a | cb:1 | 1 |",
            "c  | b | cb:1 | 4 |",
            "c  | zzz | cb:1 | 3 |",
            "other | b | cb:1 | 1 |",
            // Another batch, another kind of context, no context: not this batch's.
            "m1 | b | cb:2 | 2 |",
            "m1 | b | xx:1 | 2 |",
            "m1 | b | 1 | 2 |",
        ],
    );
    let (lines, counts) = tables.lines("course", "1");
    assert_eq!(column(&lines, "Course Progress"), ["66", "100"]);
    assert_eq!(column(&lines, "m1 - Progress"), ["50", ""]);
    // Nobody can complete what has no leaf nodes; a module without activity still has its column.
    assert_eq!(column(&lines, "m2 - Progress"), ["", ""]);
    assert!(lines[0].ends_with("Certificate Status,m1 - Progress,m2 - Progress"));
    assert_eq!(column(&lines, "Course ID"), ["c", "c"]);
    assert_eq!(counts, Counts { rows: 2, enrolled: 2, ..Counts::default() });
}

#[test]
fn per_cents_are_exact() {
    for (completed, leaf_nodes, expected) in [
        (Some(4), Some(9), Some(44)),
        (Some(5), Some(3), Some(100)),
        (Some(0), Some(3), Some(0)),
        (Some(2), Some(3), Some(66)),
        (Some(199), Some(200), Some(99)),
        (Some(29), Some(29), Some(100)),
        (None, Some(3), None),
        (Some(1), None, None),
        (Some(1), Some(0), None),
    ] {
        assert_eq!(per_cent(completed, leaf_nodes), expected, "{completed:?} of {leaf_nodes:?}");
    }
}

#[test]
fn of_activity_rows_with_one_key_the_latest_counts_then_the_greatest() {
    let tables = platform().add(
        Table::UserActivityAgg,
        ACTIVITY,
        &[
            "c  | a | cb:1 | 3 | 2020-07-21 08:30:48",
            "c  | a | cb:1 | 1 | 2020-07-22 08:30:48",
            "c  | a | cb:1 | 2 |",
            "m1 | a | cb:1 | 1 | 2020-07-21",
            "m1 | a | cb:1 | 2 | 2020-07-21",
            // Both say nothing of when: the greater count, and nothing there is smallest.
            "c  | b | cb:1 | 1 |",
            "c  | b | cb:1 |   |",
        ],
    );
    let (csv, _, loaded) = tables.report("course", "1", &Options::default(), AS_WRITTEN);
    let lines: Vec<String> = csv.lines().map(str::to_owned).collect();
    assert_eq!(column(&lines, "Course Progress"), ["33", "33"]);
    assert_eq!(column(&lines, "m1 - Progress"), ["100", ""]);
    assert_eq!(loaded.duplicates().get(&Table::UserActivityAgg), Some(&4));
}

#[test]
fn a_row_without_a_count_leaves_the_cell_empty() {
    let tables = platform().add(Table::UserActivityAgg, ACTIVITY, &["c | a | cb:1 | | 2020-07-21"]);
    assert_eq!(column(&tables.lines("course", "1").0, "Course Progress"), ["", ""]);
}

#[test]
fn dates_are_days_in_the_configured_zone() {
    let tables = Tables::default()
        .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
        .add(Table::Content, "identifier | channel", &["c | ch1"])
        .add(Table::User, "userid", &["a"])
        .add(Table::UserEnrolments, ENROLMENT, &["1 | a | c | true | 2018-12-01 18:45:08:011+0000 | 2020-02-05 | |"]);
    let (lines, _) = tables.lines("course", "1");
    assert_eq!(column(&lines, "Enrolment Date"), ["02/12/2018"]);
    assert_eq!(column(&lines, "Completion Date"), ["05/02/2020"]);
    assert_eq!(column(&lines, "Course Progress"), [""]);
}

#[test]
fn a_certificate_is_issued_where_one_of_the_two_lists_has_an_entry() {
    let status = |certificates: &str, issued: &str| {
        let tables = Tables::default()
            .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
            .add(Table::Content, "identifier", &["c"])
            .add(Table::User, "userid", &["a"])
            .add(Table::UserEnrolments, ENROLMENT, &[&format!("1 | a | c | true | | | {certificates} | {issued}")]);
        column(&tables.lines("course", "1").0, "Certificate Status")[0].to_owned()
    };
    assert_eq!(status("1", ""), "Issued");
    assert_eq!(status("", "2"), "Issued");
    assert_eq!(status("0", "3"), "Issued");
    assert_eq!(status("0", "0"), "");
    assert_eq!(status("", ""), "");
}

#[test]
fn of_several_rows_for_one_learner_the_greatest_stays() {
    let kept = |rows: &[&str]| {
        let tables = Tables::default()
            .add(Table::CourseBatch, "courseid | batchid", &["c | 1"])
            .add(Table::Content, "identifier", &["c"])
            .add(Table::User, "userid", &["a"])
            .add(Table::UserEnrolments, ENROLMENT, rows);
        let (lines, counts) = tables.lines("course", "1");
        assert_eq!((counts.rows, counts.by_reason()["duplicate"]), (1, rows.len() as u64 - 1));
        ["Enrolment Date", "Completion Date", "Certificate Status"].map(|of| column(&lines, of)[0].to_owned())
    };
    // First by enrolleddate, to the microsecond, whatever else is there.
    assert_eq!(
        kept(&[
            "1 | a | c | true | 2020-01-02 00:00:00.000001 | | |",
            "1 | a | c | true | 2020-01-02 | 2020-05-05 | 1 |",
            "1 | a | c | true | | 2020-06-06 | 1 |",
        ]),
        ["02/01/2020", "", ""]
    );
    // Then by completedon; a missing one is smallest.
    assert_eq!(
        kept(&["1 | a | c | true | 2020-01-02 | | 1 |", "1 | a | c | true | 2020-01-02 | 2020-05-05 | |"]),
        ["02/01/2020", "05/05/2020", ""]
    );
    // Then by the others.
    assert_eq!(kept(&["1 | a | c | true | | | | 1", "1 | a | c | true | | | 0 |"]), ["", "", ""]);
    assert_eq!(kept(&["1 | a | c | true | | | 0 | 0", "1 | a | c | true | | | 0 | 1"]), ["", "", "Issued"]);
}

#[test]
fn of_hierarchies_with_one_key_the_greatest_is_used_and_a_broken_one_skipped() {
    let tables = platform().add(
        Table::ContentHierarchy,
        "identifier | hierarchy",
        &[
            &format!(r#"c | {{"z":1,"children":[{{{MODULE},"identifier":"m9","leafNodesCount":1}}]}}"#),
            "c | {zzz",
            "unknown | {}",
        ],
    );
    let (csv, _, loaded) = tables.report("course", "1", &Options::default(), AS_WRITTEN);
    assert!(csv.lines().next().unwrap().ends_with("Certificate Status,m9 - Progress"));
    assert_eq!(loaded.duplicates().get(&Table::ContentHierarchy), Some(&1));
    assert_eq!(loaded.unusable().values().sum::<u64>(), 1);
}

#[test]
fn the_platforms_own_sample() {
    let user = "c7ef3848-bbdb-4219-8344-817d5b8103fa";
    let course = "do_1130314965721088001129";
    let module = "do_1125105431453532161282";
    let hierarchy = format!(
        r#"{course} | {{"mimeType":"application/vnd.ekstep.content-collection","children":[{{"children":[{{"mimeType":"application/vnd.ekstep.content-collection","contentType":"CourseUnit","identifier":"{module}","visibility":"Parent"}}],{MODULE},"identifier":"{module}","leafNodesCount":3}},{{"contentType":"Course","identifier":"do_1125105431453532161283"}}],"contentType":"Course","identifier":"{course}","visibility":"Default","leafNodesCount":9}}"#
    );
    let enrolment = |user: &str, time: &str| {
        format!("01303150537737011211 | {user} | {course} | true | 2018-12-01 17:45:{time}+0000 | | |")
    };
    let enrolments = [
        enrolment("14e0dee6-213f-478e-b12e-db59d2ec1b30", "08:011"),
        enrolment("7ca7e64c-5f6f-49c2-9a03-0830cc8e0088", "02:424"),
        enrolment(user, "13:412"),
    ];
    let activity = [
        format!("{course} | {user} | cb:0130561083009187841 | 1 | 2020-07-21 08:30:48.855000+0000"),
        format!("{course} | {user} | cb:01303150537737011211 | 4 |"),
        format!("{module} | {user} | cb:01303150537737011211 | 5 |"),
    ];
    let tables = Tables::default()
        .add(Table::CourseBatch, "courseid | batchid | enddate", &[&format!("{course} | 01303150537737011211 | 2030-06-30")])
        .add(Table::Content, "identifier | channel | leafNodesCount", &[&format!("{course} | b00bc992 | 9")])
        .add(Table::ContentHierarchy, "identifier | hierarchy", &[&hierarchy])
        .add(Table::UserEnrolments, ENROLMENT, &enrolments.each_ref().map(String::as_str))
        .add(Table::UserActivityAgg, ACTIVITY, &activity.each_ref().map(String::as_str))
        .add(
            Table::User,
            "userid | firstname | lastname | maskedemail | externalid | orgname | schoolname | schooludisecode | \
             state | district | block | userchannel",
            &[&format!("{user} | SudhirFOrRootOrg | V | su***@gmail.com | c98456789-fdcvbn | BAYYARAM | School-1 | 20 | GPPS | MPPS | SERA | channel-2")],
        );
    let (csv, counts, _) = tables.report("course", "01303150537737011211", &Options::default(), AS_WRITTEN);
    assert_eq!(
        csv,
        format!(
            "External ID,User ID,User Name,Email ID,Mobile Number,Organisation Name,State Name,District Name,\
             School UDISE Code,School Name,Block Name,Enrolment Date,Course ID,Course Progress,Completion Date,\
             Certificate Status,{module} - Progress\n\
             ,{user},SudhirFOrRootOrg V,su***@gmail.com,,BAYYARAM,GPPS,MPPS,,,,01/12/2018,{course},44,,,100\n"
        )
    );
    assert_eq!(counts, Counts { rows: 1, enrolled: 3, left_out: [("no_user".into(), 2)].into(), ..Counts::default() });
    let open = Options { apply_privacy_policy: false, ..Options::default() };
    let (csv, _, _) = tables.report("course", "01303150537737011211", &open, AS_WRITTEN);
    assert!(csv.ends_with(&format!(
        "c98456789-fdcvbn,{user},SudhirFOrRootOrg V,su***@gmail.com,,BAYYARAM,GPPS,MPPS,20,School-1,SERA,01/12/2018,{course},44,,,100\n"
    )));
}

use super::*;
use crate::reports::find;
use crate::reports::job_config::JobConfig;
use crate::reports::test_tables::{AS_WRITTEN, Tables, column};
use crate::tables::schema::Table;

const ENROLMENT: &str = "batchid | userid | courseid | active | enrolleddate";

fn platform() -> Tables {
    Tables::default().add(Table::CourseBatch, "courseid | batchid", &["c | 1", "d | 2", "e | 3"]).add(
        Table::Content,
        "identifier | channel | leafNodesCount",
        &["c | ch1 | 4", "d | | 4", "e | nobody | 4"],
    )
}

fn user(tables: Tables, cells: &str) -> Tables {
    tables.add(
        Table::User,
        "userid | firstname | lastname | maskedemail | maskedphone | externalid | orgname | schoolname | \
         schooludisecode | state | district | block | userchannel",
        &[cells],
    )
}

#[test]
fn the_columns_about_the_learner_in_order() {
    let tables = user(
        platform(),
        "u1 | Asha | Rao | a@x | 99 | X7 | Org | School | 2907 | State | District | Block | ch1",
    )
    .add(Table::UserEnrolments, ENROLMENT, &["1 | u1 | c | true |"]);
    let (lines, _) = tables.lines("course", "1");
    assert_eq!(
        lines[0],
        "External ID,User ID,User Name,Email ID,Mobile Number,Organisation Name,State Name,District Name,\
         School UDISE Code,School Name,Block Name,Enrolment Date,Course ID,Course Progress,Completion Date,\
         Certificate Status"
    );
    assert_eq!(lines[1], "X7,u1,Asha Rao,a@x,99,Org,State,District,2907,School,Block,,c,,,");
}

#[test]
fn names_are_joined_and_not_trimmed() {
    let name = |first: &str, last: &str| {
        let cells = [("userid", "u1"), ("firstname", first), ("lastname", last)];
        let tables =
            platform().row(Table::User, &cells).add(Table::UserEnrolments, ENROLMENT, &["1 | u1 | c | true |"]);
        column(&tables.lines("course", "1").0, "User Name")[0].to_owned()
    };
    assert_eq!(name("Asha", "Rao"), "Asha Rao");
    assert_eq!(name("Asha ", " Rao "), "Asha   Rao ");
    assert_eq!(name("Asha", ""), "Asha");
    assert_eq!(name("", "Rao"), "Rao");
    assert_eq!(name(" ", "Rao"), "  Rao");
    assert_eq!(name("", ""), "");
}

/// External ID, UDISE, School and Block of one learner of batch `batch` whose channel is `channel`.
fn private_cells(batch: &str, channel: &str, options: &Options) -> Vec<String> {
    let courses = [("1", "c"), ("2", "d"), ("3", "e")];
    let course = courses.iter().find(|(id, _)| *id == batch).unwrap().1;
    let tables = user(
        platform(),
        &format!("u1 | A | B | a@x | 99 | X7 | Org | School | 2907 | S | D | Block | {channel}"),
    )
    .add(Table::UserEnrolments, ENROLMENT, &[&format!("{batch} | u1 | {course} | true |")]);
    let (csv, _, _) = tables.report("course", batch, options, AS_WRITTEN);
    let lines: Vec<String> = csv.lines().map(str::to_owned).collect();
    assert_eq!(column(&lines, "Organisation Name"), ["Org"]);
    assert_eq!(column(&lines, "District Name"), ["D"]);
    let headings = ["External ID", "School UDISE Code", "School Name", "Block Name"];
    headings.iter().map(|heading| column(&lines, heading)[0].to_owned()).collect()
}

#[test]
fn learners_of_other_channels_keep_four_columns_to_themselves() {
    let policy = Options::default();
    let shown = ["X7", "2907", "School", "Block"];
    let empty = ["", "", "", ""];
    assert_eq!(private_cells("1", "ch1", &policy), shown);
    assert_eq!(private_cells("1", "ch2", &policy), empty);
    assert_eq!(private_cells("1", "CH1", &policy), empty);
    // An empty channel on either side counts as different, on both too.
    assert_eq!(private_cells("1", "", &policy), empty);
    assert_eq!(private_cells("2", "ch1", &policy), empty);
    assert_eq!(private_cells("2", "", &policy), empty);
    assert_eq!(private_cells("3", "ch1", &policy), empty);
    let open = Options { apply_privacy_policy: false, ..Options::default() };
    assert_eq!(private_cells("1", "ch2", &open), shown);
    assert_eq!(private_cells("2", "", &open), shown);
}

#[test]
fn what_is_left_out_is_counted_by_the_first_reason() {
    let tables = user(platform(), "u1 | A | | | | | | | | | | | ch1").add(
        Table::UserEnrolments,
        ENROLMENT,
        &[
            "1 | u1 | c | true  | 2020-01-01",
            "1 | u1 | c | true  | 2020-01-02",
            "1 | u1 | x | false | 2020-01-03",
            "1 | u1 | x | true  | 2020-01-03",
            "1 | u1 | c | false | 2020-01-04",
            "1 | u9 | c | false |",
            "1 | u9 | c |       |",
            "1 | u9 | c | true  |",
            "1 | u9 | c | true  |",
            "2 | u1 | d | true  | 2020-01-05",
        ],
    );
    let (lines, counts) = tables.lines("course", "1");
    let expected = Counts {
        rows: 1,
        enrolled: 9,
        left_out: [("other_course".into(), 2), ("inactive".into(), 3), ("no_user".into(), 2), ("duplicate".into(), 1)]
            .into(),
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    assert_eq!(column(&lines, "Enrolment Date"), ["02/01/2020"]);
    assert_eq!(tables.lines("course", "2").1, Counts { rows: 1, enrolled: 1, ..Counts::default() });
    // Nobody enrolled: the headings alone.
    let (lines, counts) = tables.lines("course", "3");
    assert_eq!((lines.len(), counts), (1, Counts::default()));
}

#[test]
fn rows_are_sorted_by_the_bytes_of_user_ids() {
    let mut tables = platform();
    for id in ["b", "ä", "B", "a10", "a2", "10", "9"] {
        tables = tables.add(Table::User, "userid", &[id]).add(
            Table::UserEnrolments,
            ENROLMENT,
            &[&format!("1 | {id} | c | true |")],
        );
    }
    let (lines, _) = tables.lines("course", "1");
    assert_eq!(column(&lines, "User ID"), ["10", "9", "B", "a10", "a2", "b", "ä"]);
}

#[test]
fn a_roster_that_does_not_add_up_is_no_file() {
    let tables =
        platform().add(Table::User, "userid", &["u1"]).add(Table::UserEnrolments, ENROLMENT, &["1 | u1 | c | true |"]);
    let options = Options::default();
    let (_, _, loaded) = tables.report("course", "1", &options, AS_WRITTEN);
    let mut roster = Roster::of(BatchIdx(0), 0..1, &loaded, &options).unwrap();
    roster.counts().enrolled += 1;
    let error = roster.finish(Vec::new()).unwrap_err();
    assert!(matches!(error, ReportError::NotReconciled { batch, counts } if batch == "1" && counts.enrolled == 2));

    let column = |heading: &'static str, cells: usize| TableColumn {
        heading: heading.into(),
        from_data: false,
        values: Values::Int(vec![None; cells]),
    };
    let finish = |columns| Roster::of(BatchIdx(0), 0..1, &loaded, &options).unwrap().finish(columns).unwrap_err();
    assert!(matches!(finish(vec![column("a", 2)]), ReportError::Ragged { found: 2, rows: 1, .. }));
    assert!(matches!(finish(vec![column("a", 1), column("a", 1)]), ReportError::HeadingTwice { .. }));
    let catalog = tables.catalog(&JobConfig::default(), AS_WRITTEN);
    let nothing = tables.loaded(catalog, &[], find("course").unwrap(), &options, AS_WRITTEN);
    let error = Roster::of(BatchIdx(0), 0..1, &nothing, &options).unwrap_err();
    assert_eq!(error.to_string(), "batch 1: its data was not loaded");
}

#[test]
fn users_are_asked_for_what_is_shown_in_the_tables_order() {
    let columns = |report: &str| {
        let needs = crate::reports::find(report).unwrap().needs(&Options::default());
        needs.columns(Table::User).iter().map(|column| column.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        columns("course").join(" "),
        "userid firstname lastname maskedemail maskedphone externalid orgname schoolname schooludisecode state \
         district block userchannel"
    );
    assert!(!columns("assessment").contains(&"block".to_owned()));
}

use super::*;
use crate::reports::test_tables::Tables;
use crate::tables::schema::Table;

/// Today is 2020-07-10, so that yesterday is 2020-07-09.
fn tables() -> Tables {
    Tables::default()
        .add(
            Table::CourseBatch,
            "courseid | batchid | enddate",
            &[
                "tpd | 1 | 2030-06-30",
                "ncf | 2 |",
                "two | 3 | 2020-07-09",
                "tpd | 4 | 2020-07-08",
                "gone | 5 | 2030-06-30",
                "ncf | 6 | 2019-01-01",
            ],
        )
        .add(
            Table::Content,
            "identifier | channel | framework | leafNodesCount",
            &[r#"tpd | ch1 | "TPD" | 9"#, r#"ncf | ch2 | "NCFCOPY" | 4"#, r#"two | ch1 | ["ncfcopy", "Äther"] | 1"#],
        )
}

fn ids(config: &str) -> String {
    match tables().resolve(config, None) {
        Ok(ids) => ids.join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn frameworks_are_whole_names_letter_case_aside() {
    assert_eq!(ids(r#"{"batchFilters": ["tpd"]}"#), "1");
    assert_eq!(ids(r#"{"batchFilters": ["TPD", "NCFCOPY"]}"#), "1 2 3");
    assert_eq!(ids(r#"{"batchFilters": ["ÄTHER"]}"#), "3");
    assert_eq!(ids(r#"{"batchFilters": ["NCF"]}"#), "No data found: no batch matches the filters");
}

#[test]
fn all_conditions_hold_together() {
    assert_eq!(ids(r#"{"batchFilters": {"ids": ["1", "2", "3"]}}"#), "1 2 3");
    assert_eq!(ids(r#"{"batchFilters": {"ids": ["1", "2", "3"], "channels": ["ch1"]}}"#), "1 3");
    assert_eq!(ids(r#"{"batchFilters": {"channels": ["CH1"]}}"#), "No data found: no batch matches the filters");
    assert_eq!(ids(r#"{"batchFilters": {"channels": ["ch1"], "frameworks": ["NcfCopy"]}}"#), "3");
    assert_eq!(ids(r#"{"batchFilter": ["1", "2"], "batchId": "2"}"#), "2");
    assert_eq!(ids(r#"{"batchFilter": ["1"], "batchId": "2"}"#), "No data found: no batch matches the filters");
    let content = r#""contentFilters": {"request": {"filters": {"leafNodesCount": {"<": 9}}}}"#;
    assert_eq!(ids(&format!("{{{content}}}")), "2 3");
    assert_eq!(ids(&format!(r#"{{{content}, "batchFilters": {{"channels": ["ch1"]}}}}"#)), "3");
}

#[test]
fn ended_batches_are_left_out_unless_named_or_wanted() {
    let (ids, selection) = tables().select(r#"{"batchFilters": ["TPD", "NCFCOPY"]}"#, None).unwrap();
    // Batch 3 ended yesterday, which is not before yesterday.
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(selection.left_out.expired, ["4", "6"]);
    let (ids, selection) = tables().select(r#"{"batchFilters": ["TPD"], "includeExpired": true}"#, None).unwrap();
    assert_eq!(ids, ["1", "4"]);
    assert_eq!(selection.left_out, LeftOut::default());
    for named in [r#"{"batchId": "4"}"#, r#"{"batchFilter": ["4"]}"#, r#"{"batchFilters": {"ids": ["4"]}}"#] {
        assert_eq!(self::ids(named), "4");
    }
    // Only where everything else matched is it listed.
    let (_, selection) = tables().select(r#"{"batchFilters": {"channels": ["ch1"]}}"#, None).unwrap();
    assert_eq!(selection.left_out.expired, ["4"]);
}

#[test]
fn named_batches_that_cannot_be_delivered_are_listed_with_the_reason() {
    let config = r#"{"batchFilters": {"ids": ["1", "2", "5", "77", "66"]}}"#;
    let (ids, selection) = tables().select(config, Some("ch1")).unwrap();
    assert_eq!(ids, ["1"]);
    let expected = LeftOut {
        unknown: vec!["66".to_owned(), "77".to_owned()],
        no_content: vec!["5".to_owned()],
        channel: vec!["2".to_owned()],
        ..LeftOut::default()
    };
    assert_eq!(selection.left_out, expected);
}

#[test]
fn another_channels_batches_do_not_exist_unless_named() {
    let config = r#"{"batchFilters": ["TPD", "NCFCOPY"]}"#;
    let (ids, selection) = tables().select(config, Some("ch1")).unwrap();
    assert_eq!(ids, ["1", "3"]);
    assert_eq!(selection.left_out, LeftOut { expired: vec!["4".to_owned()], ..LeftOut::default() });
}

#[test]
fn no_data_says_why() {
    assert_eq!(ids(r#"{"batchId": "123"}"#), "No data found: batch 123 does not exist");
    assert_eq!(ids(r#"{"batchFilter": ["123", "124"]}"#), "No data found: 2 batches do not exist");
    assert_eq!(ids(r#"{"batchId": "5"}"#), "No data found: batch 5 has no course in content");
    assert_eq!(ids(r#"{"batchFilter": ["5", "9"]}"#), "No data found: 1 does not exist, 1 has no course in content");
    let error = tables().resolve(r#"{"batchId": "2"}"#, Some("ch1")).unwrap_err();
    assert_eq!(error.to_string(), "No data found: batch 2 belongs to another channel");
    let ResolveError::NoData { left_out, .. } = error else { panic!("no data") };
    assert_eq!(left_out.channel, ["2"]);
    let ended = ids(
        r#"{"contentFilters": {"request": {"filters": {"identifier": "ncf"}}}, "batchFilters": {"channels": ["ch2"]}}"#,
    );
    assert_eq!(ended, "2");
    let long = ids(&format!(r#"{{"batchId": "{}"}}"#, "9".repeat(200)));
    assert!(long.chars().count() <= 100 && long.ends_with("… does not exist"), "{long}");
}

#[test]
fn too_many_batches_are_refused() {
    let mut tables = tables();
    for id in 100..109 {
        tables = tables.add(Table::CourseBatch, "courseid | batchid", &[&format!("tpd | {id}")]);
    }
    assert_eq!(tables.resolve(r#"{"batchFilters": ["TPD"]}"#, None).unwrap().len(), 10);
    tables = tables.add(Table::CourseBatch, "courseid | batchid", &["tpd | 200"]);
    let error = tables.resolve(r#"{"batchFilters": ["TPD"]}"#, None).unwrap_err();
    assert_eq!(error, ResolveError::TooMany { found: 11, most: 10 });
    assert_eq!(error.to_string(), "11 batches match, at most 10 are allowed: narrow the filters");
}

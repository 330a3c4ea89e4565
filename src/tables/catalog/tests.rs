use super::*;
use crate::reports::job_config::JobConfig;
use crate::reports::test_tables::{AS_WRITTEN, Feed, TZ, Tables};

fn any() -> JobConfig {
    JobConfig::parse(r#"{"batchId": "x"}"#).unwrap()
}

#[test]
fn batches_are_ordered_and_know_their_course() {
    let tables = Tables::default()
        .add(
            Table::CourseBatch,
            "courseid | batchid | name | enddate",
            &["c1 | 2 | Two | 2030-06-30", "c9 | 10 | Ten |", " | 1 | | 2020-07-08T20:00:00Z"],
        )
        .add(Table::Content, "identifier | leafNodesCount", &["c1 | 9"]);
    let catalog = tables.catalog(&any(), AS_WRITTEN);
    let batch = |id: &str, course_id: &str, name: &str, end: Option<(i32, u32, u32)>, course| Batch {
        id: id.to_owned(),
        course_id: course_id.to_owned(),
        name: name.to_owned(),
        end_date: end.and_then(|(year, month, day)| NaiveDate::from_ymd_opt(year, month, day)),
        unreadable_end: false,
        course,
    };
    // 20:00 UTC is the next day in Kolkata.
    let expected = [
        batch("1", "", "", Some((2020, 7, 9)), None),
        batch("10", "c9", "Ten", None, None),
        batch("2", "c1", "Two", Some((2030, 6, 30)), Some(0)),
    ];
    assert_eq!(catalog.batches(), expected);
    assert_eq!(catalog.find_batch("10"), Some(BatchIdx(1)));
    assert_eq!(catalog.find_batch("3"), None);
    assert_eq!(catalog.contents().leaf_nodes(0), Some(9));
    assert!(catalog.duplicates().is_empty());
}

#[test]
fn of_rows_with_one_key_the_greatest_is_used_in_any_order() {
    let tables = Tables::default()
        .add(
            Table::CourseBatch,
            "courseid | batchid | name | enddate",
            &["c1 | 1 | Z | 2030-01-01", "c2 | 1 | A |", "c2 | 1 | A | 2020-01-01", "c2 | 1 | | 2040-01-01"],
        )
        .add(
            Table::Content,
            "identifier | name | channel | framework | contentType | leafNodesCount",
            &[
                // Numbers as numbers: 10 is greater than 9; nothing there is smallest.
                "c1 | N | ch | \"F\" | Course | 9",
                "c1 | N | ch | \"F\" | Course | 10",
                "c1 | N | ch | \"F\" | Course |",
                "c1 | N |    | \"Z\" | Course | 99",
                // A list as its JSON text, which is greater than the text F here: [ comes after F.
                "c2 | N | ch | [\"A\"] | X |",
                "c2 | N | ch | \"F\"   | Y |",
            ],
        );
    for seed in 0..20 {
        let catalog = tables.catalog(&any(), Feed { seed, size: 2 });
        let [batch] = catalog.batches() else { panic!("one batch") };
        assert_eq!((batch.course_id.as_str(), batch.name.as_str()), ("c2", "A"));
        assert_eq!(batch.end_date, NaiveDate::from_ymd_opt(2020, 1, 1));
        let contents = catalog.contents();
        assert_eq!(contents.len(), 2);
        assert_eq!(contents.leaf_nodes(0), Some(10));
        assert_eq!(contents.content_type(1), "X");
        assert_eq!(contents.frameworks(1), ["A"]);
        assert_eq!(catalog.duplicates(), &BTreeMap::from([(Table::CourseBatch, 3), (Table::Content, 4)]));
    }
}

#[test]
fn metadata_is_read_once_whatever_its_case_in_the_tables_order() {
    let metadata = ["zone", "Channel", "status", "createdOn", "IDENTIFIER"].map(str::to_owned).into();
    let builder = CatalogBuilder::new(&metadata, TZ);
    let scans = builder.plan().scans;
    let names: Vec<&str> = scans[1].columns.iter().map(|column| column.name.as_ref()).collect();
    assert_eq!(
        names,
        ["identifier", "name", "channel", "framework", "contentType", "status", "leafNodesCount", "createdOn", "zone"]
    );
    assert!(scans.iter().all(|scan| scan.only().is_none()));
}

#[test]
fn a_report_may_require_a_column() {
    use crate::tables::schema::Presence;
    let presence = |builder: CatalogBuilder| {
        builder.plan().scans[1]
            .columns
            .iter()
            .find(|column| column.name == "leafNodesCount")
            .map(|column| column.presence)
    };
    assert_eq!(presence(CatalogBuilder::new(&BTreeSet::new(), TZ)), Some(Presence::Optional));
    let needs = crate::reports::find("course").unwrap().needs(&crate::reports::Options::default());
    let builder = CatalogBuilder::new(&BTreeSet::new(), TZ).needing(needs.columns(Table::Content));
    assert_eq!(presence(builder), Some(Presence::Required));
}

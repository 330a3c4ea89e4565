use super::*;

fn refused(text: &str) -> String {
    let message = JobConfig::parse(text).expect_err(text).to_string();
    assert!(message.chars().count() <= 100, "{message}");
    message
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_list_of_batch_filters_is_frameworks() {
    let config = JobConfig::parse(r#"{"batchFilters": ["TPD", "NCFCOPY"]}"#).unwrap();
    assert_eq!(config.frameworks, Some(set(&["tpd", "ncfcopy"])));
    assert_eq!(config.named_batches(), None);
    assert!(!config.include_expired);
}

#[test]
fn an_object_of_batch_filters_names_ids_channels_and_frameworks() {
    let text = r#"{"batchFilters": {"ids": ["01", "2"], "channels": ["Org"], "frameworks": ["TPD"]}}"#;
    let config = JobConfig::parse(text).unwrap();
    assert_eq!(config.ids, [set(&["01", "2"])]);
    assert_eq!(config.channels, Some(set(&["Org"])));
    assert_eq!(config.frameworks, Some(set(&["tpd"])));
    assert_eq!(config.named_batches(), Some(BTreeSet::from(["01", "2"])));
}

#[test]
fn the_names_of_the_later_api_and_everything_beside_the_fields() {
    let config = JobConfig::parse(
        r#"{"batchId": "7", "batchFilter": ["7", "8"], "reportPath": "here/", "includeExpired": true, "jobId": "j",
            "tag": "t", "dataset": "d", "type": "x", "requestedBy": null, "requestedChannel": "c", "outputFormat": "csv"}"#,
    )
    .unwrap();
    assert_eq!(config.ids, [set(&["7"]), set(&["7", "8"])]);
    assert_eq!(config.named_batches(), Some(BTreeSet::from(["7", "8"])));
    assert_eq!(config.report_path.as_deref(), Some("here/"));
    assert_eq!(config.output_format.as_deref(), Some("csv"));
    assert!(config.include_expired);
}

#[test]
fn fields_under_job_config_count() {
    let text = r#"{"jobConfig": {"batchId": "1"}, "batchId": "2", "output_format": "jsonl"}"#;
    let config = JobConfig::parse(text).unwrap();
    assert_eq!(config.ids, [set(&["1"])]);
    assert_eq!(config.output_format.as_deref(), Some("jsonl"));
    assert_eq!(refused(r#"{"jobConfig": {"batchId": "1", "tag": "t"}}"#), "unknown key 'tag' in jobConfig");
    assert_eq!(
        refused(r#"{"jobConfig": {}, "batchId": "2"}"#),
        "no filter: give one of batchFilters, contentFilters, batchId, batchFilter"
    );
}

#[test]
fn rows_of_the_platforms_own_api() {
    let search = r#"{"request": {"filters": {"identifier": ["do_1"]}}}"#;
    let beside =
        r#""type": "t", "dataset": "d", "channel": "c", "tag": "t", "requestedBy": "u", "requestedChannel": "c""#;
    let by = |name: &str| JobConfig::parse(&format!(r#"{{"batchId": "1", {beside}, "{name}": {search}}}"#)).unwrap();
    assert_eq!(by("searchFilter"), by("contentFilters"));
    assert!(by("searchFilter").content.is_some());
    let both = |other: &str| format!(r#"{{"contentFilters": {search}, "searchFilter": {other}}}"#);
    assert!(JobConfig::parse(&both(search)).unwrap().content.is_some());
    let other = search.replace("do_1", "do_2");
    assert_eq!(refused(&both(&other)), "contentFilters and searchFilter differ: give one of them");
    assert_eq!(refused(r#"{"jobConfig": {"batchId": "1", "channel": "c"}}"#), "unknown key 'channel' in jobConfig");
}

#[test]
fn what_is_no_object() {
    assert_eq!(refused("{\"batchId\": "), "request_data is not JSON (line 1, column 12)");
    assert_eq!(refused("7"), "request_data must be an object, not a number");
    assert_eq!(refused("null"), "request_data must be an object, not null");
    assert_eq!(refused(r#"{"jobConfig": []}"#), "jobConfig must be an object, not a list");
}

#[test]
fn unknown_keys_are_refused_with_the_near_miss() {
    assert_eq!(
        refused(r#"{"batchId": "1", "batchFilterz": []}"#),
        "unknown key 'batchFilterz' in request_data; did you mean 'batchFilter'?"
    );
    assert_eq!(refused(r#"{"batchid": "1"}"#), "unknown key 'batchid' in request_data; did you mean 'batchId'?");
    assert_eq!(refused(r#"{"batchId": "1", "everything": true}"#), "unknown key 'everything' in request_data");
    assert_eq!(
        refused(r#"{"batchFilters": {"channel": ["x"]}}"#),
        "unknown key 'channel' in batchFilters; did you mean 'channels'?"
    );
    assert_eq!(
        refused(r#"{"contentFilters": {"request": {"filter": {}}}}"#),
        "unknown key 'filter' in contentFilters.request; did you mean 'filters'?"
    );
    let long = "x".repeat(300);
    assert!(refused(&format!(r#"{{"{long}": 1}}"#)).contains('…'));
}

#[test]
fn wrong_types_are_named() {
    for (text, message) in [
        (r#"{"batchFilters": "TPD"}"#, "batchFilters must be a list or an object, not text"),
        (r#"{"batchFilters": null}"#, "batchFilters must be a list or an object, not null"),
        (r#"{"batchFilters": {"ids": "1"}}"#, "batchFilters.ids must be a list of texts, not text"),
        (r#"{"batchFilters": {"ids": [true]}}"#, "batchFilters.ids[…] must be text, not true or false"),
        (r#"{"batchFilter": "1"}"#, "batchFilter must be a list of texts, not text"),
        (r#"{"batchId": ["1"]}"#, "batchId must be text, not a list"),
        (r#"{"batchId": "1", "includeExpired": "yes"}"#, "includeExpired must be true or false, not text"),
        (r#"{"batchId": "1", "reportPath": 7}"#, "reportPath must be text, not a number"),
        (r#"{"batchId": "1", "output_format": {}}"#, "output_format must be text, not an object"),
        (r#"{"contentFilters": []}"#, "contentFilters must be an object, not a list"),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn an_id_that_lost_its_quotes_is_told_so() {
    assert_eq!(
        refused(r#"{"batchId": 1303150537737011211}"#),
        "batchId: put ids in quotes (a number loses leading zeros)"
    );
    assert_eq!(
        refused(r#"{"batchFilters": {"ids": ["1", 2]}}"#),
        "batchFilters.ids[…]: put ids in quotes (a number loses leading zeros)"
    );
}

#[test]
fn empty_conditions_are_refused() {
    for (text, message) in [
        (r#"{"batchFilters": []}"#, "batchFilters is empty"),
        (r#"{"batchFilters": {}}"#, "batchFilters is empty"),
        (r#"{"batchFilters": {"ids": []}}"#, "batchFilters.ids is empty"),
        (r#"{"batchFilters": [""]}"#, "batchFilters[…] is empty"),
        (r#"{"batchId": ""}"#, "batchId is empty"),
        (r#"{"batchFilter": []}"#, "batchFilter is empty"),
        (r#"{"contentFilters": {}}"#, "contentFilters is empty"),
        (r#"{"contentFilters": {"request": {}}}"#, "contentFilters.request.filters is empty"),
        (r#"{"contentFilters": {"request": {"filters": {}}}}"#, "contentFilters.request.filters is empty"),
    ] {
        assert_eq!(refused(text), message);
    }
    for text in ["{}", r#"{"reportPath": "x/"}"#, r#"{"jobConfig": {"includeExpired": true}}"#] {
        assert!(refused(text).starts_with("no filter: give one of"), "{text}");
    }
}

#[test]
fn two_file_formats_must_agree() {
    let both = |later: &str| format!(r#"{{"batchId": "1", "output_format": "csv", "outputFormat": "{later}"}}"#);
    assert_eq!(JobConfig::parse(&both("csv")).unwrap().output_format.as_deref(), Some("csv"));
    assert_eq!(refused(&both("xlsx")), "output_format and outputFormat differ: give one of them");
}

#[test]
fn the_sample_of_the_design_page_is_understood() {
    let config = JobConfig::parse(
        r#"{"batchFilters": ["TPD", "NCFCOPY"], "contentFilters": {"request": {
            "filters": {"identifier": ["do_11305960936384921612216", "do_1130934466492252161819"], "prevState": "Draft"},
            "sort_by": {"createdOn": "desc"}, "limit": 10000,
            "fields": ["framework", "identifier", "name", "channel", "prevState"]}},
            "reportPath": "course-progress-v2/", "output_format": "csv"}"#,
    )
    .unwrap();
    assert_eq!(config.metadata_fields(), ["createdOn", "identifier", "prevState"]);
}

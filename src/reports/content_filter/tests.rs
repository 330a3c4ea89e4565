use crate::reports::job_config::JobConfig;
use crate::reports::test_tables::{AS_WRITTEN, TZ, Tables};
use crate::tables::schema::Table;

const COLUMNS: &str = "identifier | name | channel | leafNodesCount | subject | createdOn | flag | big | status";

fn tables() -> Tables {
    Tables::default().add(
        Table::Content,
        COLUMNS,
        &[
            r#"a | Alpha | ch1 | 9  | ["Maths","Art"] | "2020-05-29T10:00:00.000+0000" | true     | 1303150537737011211   | "Live""#,
            r#"b | Beta  | ch2 | 10 | "Maths"         | "2020-05-29 15:30:00"          | "False"  | 1303150537737011212   | "live""#,
            r#"c | Gamma | ch1 |    | []              | "2020-06-01"                   |          | "1303150537737011211" |"#,
            r#"d |       |     | 2  | ["Music"]       |                                | "true"   | "01"                  | "Draft""#,
        ],
    )
}

/// The identifiers of the contents that a request object selects.
fn selected(request: &str) -> String {
    let config = JobConfig::parse(&format!(r#"{{"contentFilters": {{"request": {request}}}}}"#)).unwrap();
    let catalog = tables().catalog(&config, AS_WRITTEN);
    let contents = catalog.contents();
    let flags = config.content.as_ref().unwrap().select(contents, TZ);
    (0..contents.len()).filter(|at| flags[*at]).map(|at| contents.identifier(at)).collect()
}

fn filtered(filters: &str) -> String {
    selected(&format!(r#"{{"filters": {filters}}}"#))
}

fn refused(request: &str) -> String {
    let message = JobConfig::parse(&format!(r#"{{"contentFilters": {{"request": {request}}}}}"#)).expect_err(request);
    assert!(message.to_string().chars().count() <= 100, "{message}");
    message.to_string()
}

#[test]
fn a_scalar_equals_and_a_list_is_one_of() {
    for (filters, expected) in [
        (r#"{"identifier": "b"}"#, "b"),
        (r#"{"identifier": ["a", "c", "zzz"]}"#, "ac"),
        (r#"{"status": "Live"}"#, "a"),
        (r#"{"status": ["Live", "live"], "channel": "ch2"}"#, "b"),
        (r#"{"STATUS": "Draft"}"#, "d"),
        (r#"{"nowhere": "x"}"#, ""),
    ] {
        assert_eq!(filtered(filters), expected, "{filters}");
    }
}

#[test]
fn numbers_compare_as_numbers_and_exactly() {
    for (filters, expected) in [
        (r#"{"leafNodesCount": 9}"#, "a"),
        (r#"{"leafNodesCount": "9"}"#, "a"),
        (r#"{"leafNodesCount": 9.0}"#, "a"),
        (r#"{"leafNodesCount": {"min": 9}}"#, "ab"),
        (r#"{"leafNodesCount": {">=": "9", "<": 10}}"#, "a"),
        (r#"{"leafNodesCount": {">": 9}}"#, "b"),
        (r#"{"leafNodesCount": {"max": 9}}"#, "ad"),
        (r#"{"leafNodesCount": {"<=": 2}}"#, "d"),
        // As floats the two ids of 19 digits are one number.
        (r#"{"big": 1303150537737011211}"#, "ac"),
        (r#"{"big": {">": 1303150537737011211}}"#, "b"),
        // Text and text: the bytes, so that "01" is not "1"; but it is the number 1.
        (r#"{"big": "1"}"#, ""),
        (r#"{"big": 1}"#, "d"),
        (r#"{"big": {"<": "9"}}"#, "d"),
        (r#"{"name": {">": 5}}"#, ""),
    ] {
        assert_eq!(filtered(filters), expected, "{filters}");
    }
}

#[test]
fn dates_compare_as_instants() {
    // 10:00 UTC is 15:30 in Kolkata, which is what b says without a zone.
    for (filters, expected) in [
        (r#"{"createdOn": "2020-05-29T10:00:00Z"}"#, "ab"),
        (r#"{"createdOn": ["2020-05-29 10:00:00:000+0000"]}"#, "ab"),
        (r#"{"createdOn": {"!=": "2020-05-29T10:00:00Z"}}"#, "cd"),
        (r#"{"createdOn": {">": "2020-05-29T09:59:59Z", "<": "2020-05-31T18:30:00Z"}}"#, "ab"),
        (r#"{"createdOn": {">=": "2020-05-31T18:30:00Z"}}"#, "c"),
    ] {
        assert_eq!(filtered(filters), expected, "{filters}");
    }
}

#[test]
fn booleans_in_any_spelling() {
    assert_eq!(filtered(r#"{"flag": true}"#), "ad");
    assert_eq!(filtered(r#"{"flag": false}"#), "b");
    assert_eq!(filtered(r#"{"flag": {"!=": true}}"#), "bc");
    assert_eq!(filtered(r#"{"flag": "true"}"#), "ad");
}

#[test]
fn text_compares_by_exact_bytes() {
    for (filters, expected) in [
        (r#"{"name": {"contains": "a"}}"#, "abc"),
        (r#"{"name": {"contains": "amm"}}"#, "c"),
        (r#"{"name": {"startsWith": "b"}}"#, ""),
        (r#"{"name": {"startsWith": "B", "endsWith": "a"}}"#, "b"),
        (r#"{"name": {"endsWith": "pha"}}"#, "a"),
        (r#"{"name": {">": "Alpha", "<=": "Gamma"}}"#, "bc"),
        (r#"{"leafNodesCount": {"startsWith": 1}}"#, "b"),
    ] {
        assert_eq!(filtered(filters), expected, "{filters}");
    }
}

#[test]
fn unequal_matches_a_missing_value() {
    for operator in ["!=", "notEquals", "notIn"] {
        assert_eq!(filtered(&format!(r#"{{"status": {{"{operator}": "Live"}}}}"#)), "bcd", "{operator}");
        assert_eq!(filtered(&format!(r#"{{"status": {{"{operator}": ["Live", "live"]}}}}"#)), "cd", "{operator}");
        assert_eq!(filtered(&format!(r#"{{"nowhere": {{"{operator}": ["x"]}}}}"#)), "abcd", "{operator}");
    }
    // Together with another operator a missing value does not pass.
    assert_eq!(filtered(r#"{"status": {"!=": "Live", "startsWith": "D"}}"#), "d");
}

#[test]
fn exists() {
    assert_eq!(filtered(r#"{"status": {"exists": true}}"#), "abd");
    assert_eq!(filtered(r#"{"status": {"exists": false}}"#), "c");
    assert_eq!(filtered(r#"{"subject": {"exists": false}}"#), "c");
    assert_eq!(filtered(r#"{"nowhere": {"exists": true}}"#), "");
}

#[test]
fn a_list_matches_if_any_element_does() {
    for (filters, expected) in [
        (r#"{"subject": "Maths"}"#, "ab"),
        (r#"{"subject": ["Art", "Music"]}"#, "ad"),
        (r#"{"subject": {"startsWith": "M"}}"#, "abd"),
        // Literally: a has an element that is not Maths; c has nothing.
        (r#"{"subject": {"!=": "Maths"}}"#, "acd"),
        (r#"{"subject": {"notIn": ["Maths", "Art"]}}"#, "cd"),
        // All operators hold for one and the same element.
        (r#"{"subject": {"startsWith": "A", "endsWith": "s"}}"#, ""),
    ] {
        assert_eq!(filtered(filters), expected, "{filters}");
    }
}

#[test]
fn sort_and_limit_choose_what_remains() {
    let all = r#""filters": {"identifier": ["a", "b", "c", "d"]}"#;
    for (rest, expected) in [
        (r#""limit": 2"#, "ab"),
        (r#""sort_by": {"leafNodesCount": "asc"}, "limit": 2"#, "ad"),
        (r#""sort_by": {"leafNodesCount": "desc"}, "limit": 2"#, "ab"),
        // Missing last, in both directions.
        (r#""sort_by": {"leafNodesCount": "asc"}, "limit": 3"#, "abd"),
        (r#""sort_by": {"leafNodesCount": "DESC"}, "limit": 3"#, "abd"),
        // a and b are one instant: the identifier decides.
        (r#""sort_by": {"createdOn": "asc"}, "limit": 1"#, "a"),
        (r#""sort_by": {"createdOn": "desc"}, "limit": 2"#, "ac"),
        (r#""sort_by": {"createdOn": "desc"}"#, "abcd"),
        (r#""sort_by": {}, "limit": 18446744073709551615, "fields": []"#, "abcd"),
    ] {
        assert_eq!(selected(&format!("{{{all}, {rest}}}")), expected, "{rest}");
    }
}

#[test]
fn what_is_refused() {
    for (request, message) in [
        (r#"{"filters": {"name": {"beginsWith": "x"}}}"#, "unknown operator 'beginsWith' for 'name'"),
        (
            r#"{"filters": {"name": {"startswith": "x"}}}"#,
            "unknown operator 'startswith' for 'name'; did you mean 'startsWith'?",
        ),
        (r#"{"filters": {"name": {}}}"#, "filter 'name' is empty"),
        (r#"{"filters": {"name": []}}"#, "filter 'name' is empty"),
        (r#"{"filters": {"name": ""}}"#, "filter 'name' is empty"),
        (r#"{"filters": {"name": {"notIn": []}}}"#, "'notIn' of filter 'name' is empty"),
        (r#"{"filters": {"name": null}}"#, "filter 'name' must be a single value, not null"),
        (r#"{"filters": {"name": [["x"]]}}"#, "filter 'name' must be a single value, not a list"),
        (r#"{"filters": {"name": {"exists": "yes"}}}"#, "'exists' of filter 'name' must be true or false, not text"),
        (r#"{"filters": {"name": {"contains": true}}}"#, "'contains' of filter 'name' must be text, not true or false"),
        (r#"{"filters": {"name": "x"}, "limit": 0}"#, "limit must be a whole number, 1 or more"),
        (r#"{"filters": {"name": "x"}, "limit": "5"}"#, "limit must be a whole number, 1 or more"),
        (r#"{"filters": {"name": "x"}, "sort_by": {"name": "up"}}"#, "sort_by 'name' must be \"asc\" or \"desc\""),
        (r#"{"filters": {"name": "x"}, "sort_by": "name"}"#, "sort_by must be an object, not text"),
        (r#"{"filters": {"name": "x"}, "fields": "name"}"#, "fields must be a list of texts, not text"),
        (r#"{"filters": {"name": "x"}, "fields": [7]}"#, "fields[…] must be text, not a number"),
    ] {
        assert_eq!(refused(request), message);
    }
    let long = "metadata_field_with_a_very_long_name_indeed";
    for (operator, value) in [("startsWidth", "1"), ("startsWith", "{}"), ("contains", "[]"), ("exists", "{}")] {
        refused(&format!(r#"{{"filters": {{"{long}": {{"{operator}": {value}}}}}}}"#));
    }
}

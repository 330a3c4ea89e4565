use super::*;

fn lines(table: Table, columns: Vec<Column>, content: &str) -> Result<Read, SourceError> {
    let directory = holding(&[(&format!("{table}.jsonl"), content.as_bytes())]);
    read(directory.path(), &scan(table, columns, None))
}

#[test]
fn native_values_follow_the_rules_of_text() {
    let columns = vec![
        Column::key("user_id"),
        Column::required("agg", Kind::CompletedCount),
        Column::optional("agg_last_updated", Kind::LastUpdated),
    ];
    let content = r#"{"user_id": "u1", "agg": {"completedCount": 4}, "agg_last_updated": "{'completedCount': '2020-07-21 08:30:48.855000+0000'}"}

{"user_id": "u2", "agg": "{'completedCount': 5}", "agg_last_updated": {"completedCount": "2020-07-21T14:00:48.855"}}
{"user_id": 3, "completedCount": 6, "agg_last_updated": "35353"}
{"user_id": "u4", "agg": 7}
{"user_id": "u5"}
"#;
    let read = lines(Table::UserActivityAgg, columns, content).unwrap();
    assert_eq!(read.rows, ["3|6|", "u1|4|2020-07-21T08:30:48.855", "u2|5|2020-07-21T08:30:48.855", "u5||"]);
    assert_eq!(bad(&read.stats), [("agg is not a map", 1)]);
    assert_eq!(read.stats.unreadable_dates, 1);
}

#[test]
fn broken_lines_and_what_is_no_object_are_unusable() {
    let content =
        "{\"userid\": \"u1\"}\n{\"userid\": \n[1]\n{'userid': 'u2'}\n  \r\n{\"userid\": \"u3\"}\r\n{\"userid\": \"\"}";
    let read = lines(Table::User, vec![Column::key("userid")], content).unwrap();
    assert_eq!(read.rows, ["u1", "u3"]);
    assert_eq!(bad(&read.stats), [("broken JSON", 3), ("empty userid", 1)]);
}

#[test]
fn a_column_is_missing_where_no_line_of_any_part_has_it() {
    let scan = scan(Table::UserEnrolments, enrolments(), None);
    let one: (&str, &[u8]) = ("user_enrolments/1.jsonl", br#"{"batchid": "b1", "userid": "u1"}"#);
    let two: (&str, &[u8]) =
        ("user_enrolments/2.jsonl", br#"{"batchid": "b1", "userid": "u2", "ACTIVE": "True", "certificates": [{}]}"#);
    assert_eq!(read(holding(&[one, two]).path(), &scan).unwrap().rows, ["b1|u1||", "b1|u2|true|1"]);
    let error = read(holding(&[one]).path(), &scan).err().unwrap();
    assert_eq!(error.message, "table user_enrolments: user_enrolments/1.jsonl has no column 'active'");
}

#[test]
fn metadata_keeps_its_shape_and_escapes_are_resolved() {
    let columns =
        vec![Column::key("identifier"), Column::optional("board", Kind::Json), Column::optional("name", Kind::Text)];
    let content = r#"{"identifier": "a", "board": ["x", "y"], "name": "\u0915 \"q\" \ud83d\ude00"}
{"identifier": "b", "board": "['x', 'y']", "name": null}
{"identifier": "c", "board": 9, "name": 12345678901234567890123456}
{"identifier": "d", "board": "9", "name": ""}
"#;
    let read = lines(Table::Content, columns, content).unwrap();
    assert_eq!(read.rows, [r#"a|["x","y"]|क "q" 😀"#, r#"b|["x","y"]|"#, "c|9|12345678901234567890123456", "d|\"9\"|"]);
}

#[test]
fn of_names_in_other_letter_case_the_exact_one_counts_and_two_others_are_refused() {
    let columns = || vec![Column::key("userid"), Column::optional("firstname", Kind::Text)];
    let content = r#"{"USERID": "no", "userid": "u1", "UserId": "no", "FirstName": "A"}
{"UserID": "u2", "firstname": "no", "firstname": "B"}
"#;
    assert_eq!(lines(Table::User, columns(), content).unwrap().rows, ["u1|A", "u2|B"]);
    let content = "{\"userid\": \"u1\"}\n{\"UserID\": \"u2\", \"UserId\": null}\n";
    let error = lines(Table::User, columns(), content).err().unwrap();
    assert_eq!(
        error.message,
        "table user: user.jsonl line 2 has two columns that may be 'userid': 'UserID' and 'UserId'"
    );
}

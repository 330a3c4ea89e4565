use super::*;

fn users() -> Vec<Column> {
    vec![Column::key("userid"), Column::optional("firstname", Kind::Text), Column::optional("block", Kind::Text)]
}

fn user_csv(content: &[u8]) -> Result<Read, SourceError> {
    read(holding(&[("user.csv", content)]).path(), &scan(Table::User, users(), None))
}

#[test]
fn a_quoted_field_may_hold_line_ends_and_doubled_quotes() {
    let read = user_csv(b"userid,firstname\nu1,\"a \"\"b\"\"\r\nc, d\"\nu2, x \n").unwrap();
    assert_eq!(read.rows, ["u1|a \"b\"\r\nc, d|", "u2| x |"]);
}

#[test]
fn a_byte_order_mark_and_crlf_and_other_capitals() {
    let read = user_csv(b"\xEF\xBB\xBFUSERID,FirstName,extra\r\nu1,A,1\r\n\r\nu2,,2\r\n").unwrap();
    assert_eq!(read.rows, ["u1|A|", "u2||"]);
}

#[test]
fn a_wrong_field_count_is_one_unusable_row_with_its_line() {
    let read = user_csv(b"userid,firstname\nu1,A\nu2\nu3,C,x\nu4,D\n").unwrap();
    assert_eq!(read.rows, ["u1|A|", "u4|D|"]);
    assert_eq!(bad(&read.stats), [("broken CSV line", 2)]);
}

#[test]
fn broken_lines_name_the_first_with_either_line_end() {
    for end in ["\n", "\r\n"] {
        let mut text = format!("userid,firstname{end}u1,\"A{end}B\"{end}");
        text.extend(std::iter::repeat_n(format!("u2{end}"), 11));
        let stats = user_csv(text.as_bytes()).unwrap().stats;
        assert_eq!((stats.rows, bad(&stats)), (1, vec![("broken CSV line", 11)]));
        // Line 1 is the header, lines 2 and 3 are the first row.
        let first = stats.faults.first().unwrap();
        assert_eq!((first.file.as_str(), first.line), ("user.csv", 4));
    }
}

#[test]
fn a_quote_that_is_not_closed_stops_the_load_for_it_swallows_rows() {
    // In the last column the row would even have its right number of fields.
    for row in ["\"u1,A\n", "u1,\"A\n", "u1,\"A"] {
        let text = format!("userid,firstname\nu0,X\n{row}u2,B\n");
        let error = user_csv(text.as_bytes()).err().unwrap();
        assert_eq!(error.message, "table user: user.csv line 3: breaks off inside quotes");
        assert!(!error.may_pass);
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_and_counted() {
    let read = user_csv(b"userid,firstname\nu1,Ren\xE9\n").unwrap();
    assert_eq!(read.rows, ["u1|Ren\u{FFFD}|"]);
    assert_eq!(read.stats.odd.get("bytes that are not UTF-8"), Some(&1));
}

#[test]
fn spark_escapes_quotes_with_a_backslash() {
    let content = br#"userid,firstname
u1,"[{id: 'q3', resvalues: [{'2': '{\"text\":\"Quantity\\n\"}'}]}]"
u2,a\b
u3,"back\\slash"
"#;
    let directory = holding(&[("user.csv", content)]);
    let read = read_as(directory.path(), CsvDialect::Spark, &scan(Table::User, users(), None)).unwrap();
    assert_eq!(
        read.rows,
        [r#"u1|[{id: 'q3', resvalues: [{'2': '{"text":"Quantity\n"}'}]}]|"#, r"u2|a\b|", r"u3|back\slash|"]
    );
}

/// A backslash before a quote is no RFC 4180: the name would be `An\n" L`, and nothing would be counted.
#[test]
fn a_row_whose_quotes_are_wrong_is_counted() {
    let read = user_csv(b"userid,firstname\nu1,\"An\\\"n\"\nu2,\"Bob\" \nu3,\"C\"\n").unwrap();
    assert_eq!(read.rows, ["u3|C|"]);
    let reasons = [
        ("broken CSV line: \\\" inside quotes (another csv_dialect?)", 1),
        ("broken CSV line: text after a closing quote", 1),
    ];
    assert_eq!(bad(&read.stats), reasons);
    let error = user_csv(b"userid,\"first\"name\nu1,x\n").err().unwrap();
    assert_eq!(error.message, "table user: user.csv line 1: broken CSV line: text after a closing quote");
}

/// As `cqlsh COPY TO` writes: quotes only where there is a comma, backslashes in and outside of them.
#[test]
fn cqlsh_escapes_with_a_backslash_everywhere() {
    let content = b"userid,firstname,block\nu1,An\\\"n,\"{\\\"a\\\": 1, \\\"b\\\": 2}\"\nu2,a\\\\b,\"x\ny\"\n";
    let directory = holding(&[("user.csv", content)]);
    let read = read_as(directory.path(), CsvDialect::Cqlsh, &scan(Table::User, users(), None)).unwrap();
    assert_eq!(read.rows, ["u1|An\"n|{\"a\": 1, \"b\": 2}", "u2|a\\b|x\ny"]);
}

#[test]
fn a_column_that_must_be_there_stops_the_load() {
    let directory = holding(&[("user_enrolments.csv", b"batchid,userid\nb1,u1\n")]);
    let error = read(directory.path(), &scan(Table::UserEnrolments, enrolments(), None)).err().unwrap();
    assert_eq!(
        error.message,
        "table user_enrolments: user_enrolments.csv has no column 'active', it has 'batchid', 'userid'"
    );
    assert!(!error.may_pass);
}

#[test]
fn a_flat_count_stands_in_for_the_map() {
    let columns = vec![Column::key("user_id"), Column::required("agg", Kind::CompletedCount)];
    let scan = scan(Table::UserActivityAgg, columns, None);
    let map = b"user_id,agg\nu1,\"{'completedCount': 4}\"\nu2,{}\nu3,4\n";
    let found = read(holding(&[("user_activity_agg.csv", map)]).path(), &scan).unwrap();
    assert_eq!(found.rows, ["u1|4", "u2|"]);
    assert_eq!(bad(&found.stats), [("agg is not a map", 1)]);
    let flat = b"user_id,completedcount\nu1,4\nu2,\nu3,x\n";
    let found = read(holding(&[("user_activity_agg.csv", flat)]).path(), &scan).unwrap();
    assert_eq!(found.rows, ["u1|4", "u2|"]);
    assert_eq!(bad(&found.stats), [("completedCount is not a number", 1)]);
}

#[test]
fn columns_of_today_and_of_2020_row_by_row() {
    let columns = vec![Column::key("batch_id"), Column::key("user_id")];
    let scan = scan(Table::AssessmentAggregator, columns, Some(&["b1"]));
    let content = b"batch_id,context_id,user_id\nb1,,u1\n,b1,u2\nb2,b1,u3\nb1,b2,u4\n,b2,u5\n,,u6\n";
    let found = read(holding(&[("assessment_aggregator.csv", content)]).path(), &scan).unwrap();
    assert_eq!(found.rows, ["b1|u1", "b1|u2", "b1|u4"]);
    assert_eq!(bad(&found.stats), [("empty batch_id", 1)]);
}

#[test]
fn two_columns_that_may_be_meant_are_refused_by_name() {
    let error = user_csv(b"UserID,USERID,firstname\nu1,u2,x\n").err().unwrap();
    assert_eq!(error.message, "table user: user.csv has two columns that may be 'userid': 'UserID' and 'USERID'");
    assert!(!error.may_pass);
    let error = user_csv(b"userid,firstname,firstname\nu1,x,y\n").err().unwrap();
    assert_eq!(
        error.message,
        "table user: user.csv has two columns that may be 'firstname': 'firstname' and 'firstname'"
    );
    // What nobody asks for may be there twice.
    assert_eq!(user_csv(b"userid,a,a\nu1,x,y\n").unwrap().rows, ["u1||"]);
}

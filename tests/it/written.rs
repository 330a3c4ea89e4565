//! Tables as other programs write them, through the whole program: one table of a small platform at a time is replaced, and
//! the report, or the message, is as it was worked out by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, told};

const MODULE: &str = r#"{"identifier":"C1","children":[{"identifier":"M1","mimeType":"application/vnd.ekstep.content-collection","contentType":"Course","visibility":"Default","leafNodesCount":2}]}"#;

/// Three learners in one batch of a course with one module.
fn platform() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let quoted = MODULE.replace('"', "\"\"");
    for (name, text) in [
        ("course_batch.csv", "batchid,courseid,name,startdate,enddate,status\nB1,C1,B,2025-01-01,2099-12-31,1\n".to_owned()),
        ("content.csv", "identifier,name,channel,framework,contentType,leafNodesCount\nC1,C,ch,TPD,Course,4\n".to_owned()),
        ("content_hierarchy.csv", format!("identifier,hierarchy\nC1,\"{quoted}\"\n")),
        (
            "user.csv",
            "userid,firstname,lastname,userchannel\nu1,Ann,L,ch\nu2,Bob,L,ch\nu3,Cyd,L,ch\n".to_owned(),
        ),
        (
            "user_enrolments.csv",
            "batchid,courseid,userid,active,enrolleddate\nB1,C1,u1,true,2025-03-01\nB1,C1,u2,true,2025-03-01\nB1,C1,u3,true,2025-03-01\n"
                .to_owned(),
        ),
        (
            "user_activity_agg.csv",
            "context_id,user_id,activity_id,agg\ncb:B1,u1,C1,\"{\"\"completedCount\"\": 4}\"\ncb:B1,u2,C1,\"{\"\"completedCount\"\": 1}\"\ncb:B1,u1,M1,\"{\"\"completedCount\"\": 2}\"\ncb:B1,u2,M1,\"{\"\"completedCount\"\": 1}\"\n"
                .to_owned(),
        ),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// What came of a course report.
struct Report {
    status: String,
    message: String,
    stats: Value,
    /// User ID, name, course progress and that of the module.
    rows: Vec<String>,
}

/// Makes it over the platform, changed so; `source` are further lines of `[source]`.
fn report(source: &str, change: impl FnOnce(&Path)) -> Report {
    let data = platform();
    change(data.path());
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, data.path(), JOBS, source);
    site.insert("t", "r", "course-report", r#"{"batchId": "B1"}"#);
    let output = site.run(&["run", "--once"]);
    let seen = site.rows().remove("r").unwrap();
    let text = seen.urls.first().map(|url| site.file(url)).unwrap_or_default();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let place = |name: &str| names.iter().position(|heading| *heading == name);
    let wanted = ["User ID", "User Name", "Course Progress", "M1 - Progress"].map(place);
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        wanted.map(|at| at.map_or("-", |at| cells[at])).join(",")
    };
    let rows = lines.map(row).collect();
    assert!(!seen.status.is_empty(), "{}", told(&output));
    Report { status: seen.status, message: seen.message, stats: seen.stats, rows }
}

/// What the platform gives as it is.
const AS_IT_IS: [&str; 3] = ["u1,Ann L,100,100", "u2,Bob L,25,50", "u3,Cyd L,,"];

fn replace(data: &Path, old: &str, new: &str, bytes: &[u8]) {
    fs::remove_file(data.join(old)).unwrap();
    let path = data.join(new);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Required columns of bytes.
fn parquet(path: &Path, schema: &str, rows: &[&[&[u8]]]) -> u64 {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(File::create(path).unwrap(), Arc::clone(&schema), Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for (at, field) in schema.get_fields().iter().enumerate() {
        let values: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(row[at].to_vec())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        if field.get_physical_type() == parquet::basic::Type::FIXED_LEN_BYTE_ARRAY {
            let values: Vec<FixedLenByteArray> = values.into_iter().map(FixedLenByteArray::from).collect();
            column.typed::<FixedLenByteArrayType>().write_batch(&values, None, None).unwrap();
        } else {
            column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    fs::metadata(path).unwrap().len()
}

fn assert_completed(report: &Report, rows: &[&str]) {
    assert_eq!((report.status.as_str(), report.message.as_str()), ("COMPLETED", ""), "{}", report.stats);
    assert_eq!(report.rows, rows);
}

#[test]
fn the_platform_as_it_is() {
    assert_completed(&report("", |_| ()), &AS_IT_IS);
}

const UUIDS: [[u8; 16]; 2] = [[0xFF; 16], [0xFE; 16]];
const AS_TEXT: [&str; 2] = ["ffffffff-ffff-ffff-ffff-ffffffffffff", "fefefefe-fefe-fefe-fefe-fefefefefefe"];

#[test]
fn ids_that_are_uuids_join_with_uuids_and_with_text() {
    let users = |data: &Path| {
        fs::remove_file(data.join("user.csv")).unwrap();
        let schema =
            "message m { required fixed_len_byte_array(16) userid (UUID); required binary firstname (STRING); }";
        parquet(&data.join("user.parquet"), schema, &[&[&UUIDS[0], b"Ann"], &[&UUIDS[1], b"Bob"]]);
    };
    let expected = [format!("{},Bob,,", AS_TEXT[1]), format!("{},Ann,,", AS_TEXT[0])];
    let expected = expected.each_ref().map(String::as_str);
    let text = |data: &Path| {
        users(data);
        let rows = AS_TEXT.map(|id| format!("B1,C1,{id},true\n")).concat();
        fs::write(data.join("user_enrolments.csv"), format!("batchid,courseid,userid,active\n{rows}")).unwrap();
    };
    assert_completed(&report("", text), &expected);
    let uuids = |data: &Path| {
        users(data);
        fs::remove_file(data.join("user_enrolments.csv")).unwrap();
        let schema = "message m { required binary batchid (STRING); required binary courseid (STRING); required \
                      fixed_len_byte_array(16) userid (UUID); required binary active (STRING); }";
        let rows: [&[&[u8]]; 2] = [&[b"B1", b"C1", &UUIDS[0], b"true"], &[b"B1", b"C1", &UUIDS[1], b"true"]];
        parquet(&data.join("user_enrolments.parquet"), schema, &rows);
    };
    assert_completed(&report("", uuids), &expected);
}

#[test]
fn a_hierarchy_of_type_json_in_a_dictionary() {
    let made = report("", |data| {
        fs::remove_file(data.join("content_hierarchy.csv")).unwrap();
        let schema = "message m { required binary identifier (STRING); required binary hierarchy (JSON); }";
        parquet(&data.join("content_hierarchy.parquet"), schema, &[&[b"C1", MODULE.as_bytes()]]);
    });
    assert_completed(&made, &AS_IT_IS);
}

/// A learner was deleted in the second commit; the file of the first one is still there.
#[test]
fn enrolments_in_a_delta_table() {
    let made = report("", |data| {
        fs::remove_file(data.join("user_enrolments.csv")).unwrap();
        let table = data.join("user_enrolments");
        fs::create_dir_all(table.join("_delta_log")).unwrap();
        let schema = "message m { required binary batchid (STRING); required binary courseid (STRING); required binary \
                      userid (STRING); required binary active (STRING); }";
        let row = |id: &'static [u8]| -> [&[u8]; 4] { [b"B1", b"C1", id, b"true"] };
        let rows = [row(b"u1"), row(b"u2"), row(b"u3")];
        let rows: Vec<&[&[u8]]> = rows.iter().map(<[&[u8]; 4]>::as_slice).collect();
        let old = parquet(&table.join("old.parquet"), schema, &rows);
        let new = parquet(&table.join("new.parquet"), schema, &rows[..2]);
        let add = |path: &str, size: u64| json!({ "add": { "path": path, "partitionValues": {}, "size": size } });
        let commit = |version: u64, actions: &[Value]| {
            let text: Vec<String> = actions.iter().map(Value::to_string).collect();
            fs::write(table.join(format!("_delta_log/{version:020}.json")), text.join("\n")).unwrap();
        };
        let protocol = json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } });
        let metadata = json!({ "metaData": { "format": { "provider": "parquet" }, "partitionColumns": [] } });
        commit(0, &[protocol, metadata, add("old.parquet", old)]);
        commit(1, &[add("new.parquet", new), json!({ "remove": { "path": "old.parquet" } })]);
    });
    assert_completed(&made, &AS_IT_IS[..2]);
    assert_eq!(made.stats["enrolled"], 2);
}

/// Spark's names for JSON lines.
#[test]
fn learners_as_spark_writes_json() {
    let made = report("", |data| {
        let lines: String = [("u1", "Ann"), ("u2", "Bob"), ("u3", "Cyd")]
            .map(|(id, name)| json!({ "userid": id, "firstname": name, "lastname": "L" }).to_string() + "\n")
            .concat();
        replace(data, "user.csv", "user/part-00000-x-c000.json", lines.as_bytes());
        fs::write(data.join("user/_SUCCESS"), "").unwrap();
    });
    assert_completed(&made, &AS_IT_IS);
}

/// The other tables are RFC 4180: in Spark's dialect no counter of theirs reads.
#[test]
fn one_table_in_another_dialect() {
    let spark = |data: &Path| {
        let text = "userid,firstname,lastname\nu1,\"An\\\"n\",L\nu2,Bob,L\nu3,Cyd,L\n";
        fs::write(data.join("user.csv"), text).unwrap();
    };
    let made = report("tables = { user = { csv_dialect = \"spark\" } }", spark);
    assert_completed(&made, &["u1,\"An\"\"n L\",100,100", AS_IT_IS[1], AS_IT_IS[2]]);
    let for_all = report("csv_dialect = \"spark\"", spark);
    assert_eq!(for_all.status, "FAILED", "{} {:?}", for_all.message, for_all.rows);
    // Without the dialect the row is counted.
    let without = report("", spark);
    assert_completed(&without, &AS_IT_IS[1..]);
    let reasons = without.stats["bad_rows"]["user"].as_object().unwrap().clone();
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["broken CSV line: \\\" inside quotes (another csv_dialect?)"]);
}

#[test]
fn what_is_not_the_table_fails_with_what_it_is() {
    let utf16: Vec<u8> = "\u{feff}userid;firstname\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, expected) in [
        ("user.jsonl", b"".as_slice(), "table user: user.jsonl is empty: its upload probably broke off"),
        ("user.csv", b"", "table user: user.csv is empty: its upload probably broke off"),
        ("user.csv", &utf16, "table user: user.csv is UTF-16, not UTF-8"),
        (
            "user.csv",
            b"userid;firstname\nu1;Ann\n",
            "table user: user.csv seems to be separated by ';': it has no column 'userid' or 'id'",
        ),
        (
            "user.jsonl",
            br#"[{"userid": "u1"}]"#,
            "table user: user.jsonl is a JSON array, not JSON lines: write one object a line",
        ),
    ] {
        let made = report("", |data| replace(data, "user.csv", name, bytes));
        assert_eq!((made.status.as_str(), made.message.as_str()), ("FAILED", expected));
    }
    let two = report("", |data| fs::write(data.join("user.parquet"), "").unwrap());
    assert_eq!(two.message, "table user: user.csv and user.parquet are both there");
}

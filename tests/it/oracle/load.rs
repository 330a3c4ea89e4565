//! CSV and JSON lines into the table `raw`: each row as one JSON object of texts, keys in lower case, empty ones left
//! out. The only thing done to a value: Python's spelling of maps and lists becomes JSON, which SQL can read.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

/// How quotes inside quoted CSV fields are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Doubled.
    Rfc4180,
    /// With a backslash before them.
    Spark,
}

const TABLES: [&str; 7] = [
    "course_batch",
    "content",
    "content_hierarchy",
    "user",
    "user_enrolments",
    "user_activity_agg",
    "assessment_aggregator",
];

/// Large columns that no report reads.
const NEVER_READ: [&str; 4] = ["question", "contentstatus", "email", "phone"];

/// Hands over each table's rows, some at a time, as a JSON array. A table that is not there has none.
pub(crate) fn tables(directory: &Path, dialect: Dialect, mut take: impl FnMut(&str, &str)) {
    for table in TABLES {
        let (csv, jsonl) = (directory.join(format!("{table}.csv")), directory.join(format!("{table}.jsonl")));
        let rows = match (csv.exists(), jsonl.exists()) {
            (true, false) => csv_rows(&csv, dialect),
            (false, true) => json_rows(&jsonl),
            (false, false) => continue,
            (true, true) => panic!("{table} is there twice in {}", directory.display()),
        };
        for some in rows.chunks(2_000) {
            take(table, &Value::from(some.to_vec()).to_string());
        }
    }
}

fn csv_rows(path: &Path, dialect: Dialect) -> Vec<Value> {
    let mut builder = csv::ReaderBuilder::new();
    if dialect == Dialect::Spark {
        builder.escape(Some(b'\\')).double_quote(false);
    }
    let mut reader = builder.from_path(path).unwrap();
    let headers: Vec<String> = reader.headers().unwrap().iter().map(str::to_lowercase).collect();
    let row = |record: csv::Result<csv::StringRecord>| {
        let record = record.unwrap();
        object(headers.iter().cloned().zip(record.iter().map(str::to_owned)))
    };
    reader.records().map(row).collect()
}

fn json_rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let Value::Object(fields) = serde_json::from_str(line).unwrap() else { panic!("{line}: not an object") };
        let texts = fields.into_iter().map(|(key, value)| match value {
            Value::String(text) => (key.to_lowercase(), text),
            Value::Null => (key.to_lowercase(), String::new()),
            other => (key.to_lowercase(), other.to_string()),
        });
        object(texts)
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

fn object(fields: impl Iterator<Item = (String, String)>) -> Value {
    let present = fields.filter(|(key, text)| !text.is_empty() && !NEVER_READ.contains(&key.as_str()));
    Value::Object(present.map(|(key, text)| (key, Value::from(json_of(text)))).collect::<Map<_, _>>())
}

/// `{'a': 1}` as `{"a": 1}`: single quotes become double ones, True, False and None the words of JSON. Anything that
/// is no list or map, or is JSON already, or does not become JSON, stays.
fn json_of(text: String) -> String {
    if !text.starts_with(['{', '[']) || serde_json::from_str::<Value>(&text).is_ok() {
        return text;
    }
    let mut json = String::new();
    for (number, piece) in text.split('\'').enumerate() {
        if number % 2 == 1 {
            json.push_str(&Value::from(piece).to_string());
        } else {
            json.push_str(&piece.replace("True", "true").replace("False", "false").replace("None", "null"));
        }
    }
    if serde_json::from_str::<Value>(&json).is_ok() { json } else { text }
}

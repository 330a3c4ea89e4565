//! A data set written in every form that a source reads.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::{DateTime, SecondsFormat};
use flate2::{Compression, write::GzEncoder};
use parquet::arrow::ArrowWriter;

use super::sets::{Cell, Set, Type, Typed};
use crate::databases::TestDatabase;

/// Whether a store holds dumps' text or values with types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    Text,
    Typed,
}

/// A format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet(Spelling),
    Csv,
    Spark,
    Jsonl(Spelling),
}

impl Format {
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Csv | Self::Spark => "csv",
            Self::Jsonl(_) => "jsonl",
        }
    }

    /// These columns (by number) of these rows as a file.
    pub(crate) fn bytes(self, set: &Set, columns: &[usize], rows: &[&[Cell]]) -> Vec<u8> {
        match self {
            Self::Parquet(spelling) => parquet(set, columns, rows, spelling),
            Self::Csv => csv(set, columns, rows, |field| format!("\"{}\"", field.replace('"', "\"\""))),
            Self::Spark => {
                csv(set, columns, rows, |field| format!("\"{}\"", field.replace('\\', "\\\\").replace('"', "\\\"")))
            }
            Self::Jsonl(spelling) => jsonl(set, columns, rows, spelling),
        }
    }
}

/// `<table>.<extension>`, or the same compressed.
pub(crate) fn one_file(directory: &Path, set: &Set, format: Format, compressed: bool) {
    let columns: Vec<usize> = (0..set.stored.len()).collect();
    let rows: Vec<&[Cell]> = set.rows.iter().map(Vec::as_slice).collect();
    let bytes = format.bytes(set, &columns, &rows);
    let name = format!("{}.{}", set.table, format.extension());
    if compressed {
        fs::write(directory.join(format!("{name}.gz")), gzip(&bytes)).unwrap();
    } else {
        fs::write(directory.join(name), bytes).unwrap();
    }
}

/// `<table>/part-….<extension>`, one row each, with what Spark leaves beside them.
pub(crate) fn parts(directory: &Path, set: &Set, format: Format) {
    let directory = directory.join(set.table.name());
    fs::create_dir_all(&directory).unwrap();
    let columns: Vec<usize> = (0..set.stored.len()).collect();
    for (number, row) in set.rows.iter().enumerate() {
        let name = format!("part-{number:05}-c000.snappy.{}", format.extension());
        fs::write(directory.join(&name), format.bytes(set, &columns, &[row])).unwrap();
        fs::write(directory.join(format!(".{name}.crc")), b"crc\0").unwrap();
    }
    fs::write(directory.join("_SUCCESS"), b"").unwrap();
}

/// `<table>/<column>=…/part.<extension>`, without the column in the files.
pub(crate) fn partitions(directory: &Path, set: &Set, column: &str, format: Format) {
    let by = set.stored.iter().position(|(name, _)| *name == column).unwrap();
    let columns: Vec<usize> = (0..set.stored.len()).filter(|&i| i != by).collect();
    for (number, row) in set.rows.iter().enumerate() {
        let directory = directory.join(set.table.name()).join(format!("{column}={}", row[by].text));
        fs::create_dir_all(&directory).unwrap();
        let bytes = format.bytes(set, &columns, &[row]);
        fs::write(directory.join(format!("part-{number}.{}", format.extension())), bytes).unwrap();
    }
}

/// Two members, as `cat a.gz b.gz` makes them.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let mut all = Vec::new();
    for part in [head, tail] {
        let mut encoder = GzEncoder::new(&mut all, Compression::default());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    all
}

fn csv(set: &Set, columns: &[usize], rows: &[&[Cell]], quote: impl Fn(&str) -> String) -> Vec<u8> {
    let mut text = columns.iter().map(|&i| set.stored[i].0).collect::<Vec<_>>().join(",");
    text.push('\n');
    for row in rows {
        // Quoted only where there is something, as most writers do.
        let fields = columns.iter().map(|&i| row[i].text);
        let fields: Vec<String> =
            fields.map(|field| if field.is_empty() { String::new() } else { quote(field) }).collect();
        writeln!(text, "{}", fields.join(",")).unwrap();
    }
    text.into_bytes()
}

fn jsonl(set: &Set, columns: &[usize], rows: &[&[Cell]], spelling: Spelling) -> Vec<u8> {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut members = Vec::new();
        for &i in columns {
            let (name, kind) = set.stored[i];
            let value = match spelling {
                Spelling::Text => json_text(row[i].text),
                Spelling::Typed => json(row[i].typed, kind),
            };
            // Nothing is told in three ways.
            match value {
                Some(value) => members.push(format!("{}:{value}", json_string(name))),
                None if number % 2 == 0 => members.push(format!("{}:null", json_string(name))),
                None => {}
            }
        }
        writeln!(text, "{{{}}}", members.join(",")).unwrap();
    }
    text.into_bytes()
}

fn json_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| json_string(text))
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A typed value in JSON.
fn json(value: Typed, kind: Type) -> Option<String> {
    let object = |members: Vec<String>| Some(format!("{{{}}}", members.join(",")));
    match value {
        Typed::Null => None,
        Typed::Text(text) => json_text(text),
        Typed::Bool(value) => Some(value.to_string()),
        Typed::Int(value) => Some(value.to_string()),
        Typed::Decimal(value) => Some(decimal(value)),
        Typed::Micros(value) => Some(json_string(&time(value, kind))),
        Typed::List(list) => Some(serde_json::to_string(list).unwrap()),
        Typed::Counts(map) => object(map.iter().map(|(k, v)| format!("{}:{v}", json_string(k))).collect()),
        Typed::Instants(map) => object(
            map.iter().map(|(k, v)| format!("{}:{}", json_string(k), json_string(&time(*v, Type::Instant)))).collect(),
        ),
    }
}

fn decimal(millionths: i64) -> String {
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

/// ISO 8601, with `Z` where it is an instant.
pub(crate) fn time(micros: i64, kind: Type) -> String {
    let text = DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339_opts(SecondsFormat::AutoSi, true);
    if kind == Type::Local { text.trim_end_matches('Z').to_owned() } else { text }
}

fn parquet(set: &Set, columns: &[usize], rows: &[&[Cell]], spelling: Spelling) -> Vec<u8> {
    let arrays = columns.iter().map(|&i| {
        let (name, kind) = set.stored[i];
        let cells: Vec<Cell> = rows.iter().map(|row| row[i]).collect();
        (name, if spelling == Spelling::Text { texts(&cells) } else { array(&cells, kind) }, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn texts(cells: &[Cell]) -> ArrayRef {
    // Nothing is told in two ways.
    let text = |(number, cell): (usize, &Cell)| (!cell.text.is_empty() || number % 2 == 1).then_some(cell.text);
    Arc::new(cells.iter().enumerate().map(text).collect::<StringArray>())
}

fn array(cells: &[Cell], kind: Type) -> ArrayRef {
    macro_rules! collected {
        ($array:ty, $value:ty, $variant:ident) => {
            cells
                .iter()
                .map(|cell| match cell.typed {
                    Typed::$variant(value) => Some(value),
                    Typed::Null => None,
                    other => panic!("{other:?} in a column of {kind:?}"),
                })
                .collect::<Vec<Option<$value>>>()
                .into_iter()
                .collect::<$array>()
        };
    }
    let millionths = |cell: &Cell| if let Typed::Decimal(value) = cell.typed { Some(i128::from(value)) } else { None };
    match kind {
        Type::Text => Arc::new(collected!(StringArray, &str, Text)),
        Type::Bool => Arc::new(collected!(BooleanArray, bool, Bool)),
        Type::Int => Arc::new(collected!(Int64Array, i64, Int)),
        Type::Decimal => {
            let decimals: Decimal128Array = cells.iter().map(millionths).collect();
            Arc::new(decimals.with_precision_and_scale(20, 6).unwrap())
        }
        Type::Instant => Arc::new(collected!(TimestampMicrosecondArray, i64, Micros).with_timezone("UTC")),
        Type::Local => Arc::new(collected!(TimestampMicrosecondArray, i64, Micros)),
        Type::List => list(cells),
        Type::Counts => counts(cells),
        Type::Instants => instants(cells),
    }
}

fn list(cells: &[Cell]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for cell in cells {
        let value = if let Typed::List(list) = cell.typed { Some(list.iter().copied().map(Some)) } else { None };
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}

fn counts(cells: &[Cell]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for cell in cells {
        if let Typed::Counts(map) = cell.typed {
            for (name, value) in map {
                builder.keys().append_value(name);
                builder.values().append_value(*value);
            }
        }
        builder.append(!matches!(cell.typed, Typed::Null)).unwrap();
    }
    Arc::new(builder.finish())
}

fn instants(cells: &[Cell]) -> ArrayRef {
    let values = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut builder = MapBuilder::new(None, StringBuilder::new(), values);
    for cell in cells {
        if let Typed::Instants(map) = cell.typed {
            for (name, value) in map {
                builder.keys().append_value(name);
                builder.values().append_value(*value);
            }
        }
        builder.append(!matches!(cell.typed, Typed::Null)).unwrap();
    }
    Arc::new(builder.finish())
}

/// The table in the schema `platform` of a PostgreSQL database.
pub(crate) fn postgres(database: &TestDatabase, set: &Set, spelling: Spelling) {
    let columns: Vec<String> =
        set.stored.iter().map(|(name, kind)| format!("\"{name}\" {}", sql_type(*kind, spelling))).collect();
    let table = format!("platform.\"{}\"", set.table);
    let mut sql = format!("CREATE SCHEMA IF NOT EXISTS platform; CREATE TABLE {table} ({});", columns.join(", "));
    for (number, row) in set.rows.iter().enumerate() {
        let values = row.iter().zip(set.stored).map(|(cell, (_, kind))| match spelling {
            Spelling::Text if cell.text.is_empty() && number % 2 == 0 => "NULL".to_owned(),
            Spelling::Text => sql_string(cell.text),
            Spelling::Typed => sql_value(cell.typed, *kind),
        });
        writeln!(sql, "INSERT INTO {table} VALUES ({});", values.collect::<Vec<_>>().join(", ")).unwrap();
    }
    database.execute(&sql);
}

fn sql_type(kind: Type, spelling: Spelling) -> &'static str {
    if spelling == Spelling::Text {
        return "text";
    }
    match kind {
        Type::Text => "varchar(99)",
        Type::Bool => "boolean",
        Type::Int => "bigint",
        Type::Decimal => "numeric(20, 6)",
        Type::Instant => "timestamptz",
        Type::Local => "timestamp",
        Type::List => "text[]",
        Type::Counts => "jsonb",
        Type::Instants => "json",
    }
}

fn sql_value(value: Typed, kind: Type) -> String {
    match value {
        Typed::Null => "NULL".to_owned(),
        Typed::Text(text) => sql_string(text),
        Typed::Bool(value) => value.to_string(),
        Typed::Int(value) => value.to_string(),
        Typed::Decimal(value) => decimal(value),
        Typed::Micros(micros) => sql_string(&time(micros, kind)),
        Typed::List(list) => {
            format!("ARRAY[{}]::text[]", list.iter().map(|text| sql_string(text)).collect::<Vec<_>>().join(", "))
        }
        Typed::Counts(_) | Typed::Instants(_) => sql_string(&json(value, kind).unwrap()),
    }
}

fn sql_string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

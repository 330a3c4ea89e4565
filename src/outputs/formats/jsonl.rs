//! JSON lines: one object per row, keys in the order of the columns, every key in every row; what is empty is null.

use std::io::{self, Write};

use super::super::format::{CsvOptions, Format, TablePieces, WriteError};
use crate::tables::finished::{Finished, TableColumn, Values};

/// See the module.
pub(super) const FORMAT: Format = Format {
    number: 1,
    name: "json",
    alias: Some("jsonl"),
    extension: "jsonl",
    gzip_extension: Some("jsonl.gz"),
    media_type: "application/x-ndjson",
    write,
};

/// Bytes are written in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// Writes the table and returns how many lines were written.
///
/// # Errors
/// Those of `table` and of `out`.
fn write(table: &mut dyn TablePieces, _: CsvOptions, out: &mut dyn Write) -> Result<u64, WriteError> {
    let (mut keys, mut written) = (None, 0);
    let mut bytes = Vec::with_capacity(PIECE + PIECE / 4);
    table.each(&mut |table| {
        let keys: &Vec<Vec<u8>> = match &mut keys {
            Some(keys) => keys,
            none => none.insert(self::keys(table)?),
        };
        for row in 0..table.rows {
            object(&mut bytes, keys, table, row)?;
            if bytes.len() >= PIECE {
                out.write_all(&bytes)?;
                bytes.clear();
            }
        }
        written += table.rows as u64;
        Ok(())
    })?;
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(written)
}

/// What stands before each value of an object.
fn keys(table: &Finished<'_>) -> io::Result<Vec<Vec<u8>>> {
    let listed = table.listed.iter().flat_map(|listed| listed.headings.iter().copied());
    let headings = listed.chain(table.columns.iter().map(|column| &*column.heading));
    headings.enumerate().map(|(at, heading)| key(at, heading)).collect()
}

fn object(bytes: &mut Vec<u8>, keys: &[Vec<u8>], table: &Finished<'_>, row: usize) -> io::Result<()> {
    let mut keys = keys.iter();
    bytes.push(b'{');
    if let Some(listed) = &table.listed {
        let (line, hidden) = listed.line(row);
        for (cell, key) in line.cells(hidden).zip(keys.by_ref().take(listed.headings.len())) {
            bytes.extend_from_slice(key);
            text(bytes, &cell)?;
        }
    }
    for (column, key) in table.columns.iter().zip(keys) {
        bytes.extend_from_slice(key);
        value(bytes, column, row)?;
    }
    bytes.extend_from_slice(b"}\n");
    Ok(())
}

/// `,"heading":`
fn key(at: usize, heading: &str) -> io::Result<Vec<u8>> {
    let mut bytes = if at > 0 { b",".to_vec() } else { Vec::new() };
    serde_json::to_writer(&mut bytes, heading)?;
    bytes.push(b':');
    Ok(bytes)
}

fn value(bytes: &mut Vec<u8>, column: &TableColumn<'_>, row: usize) -> io::Result<()> {
    match &column.values {
        Values::Constant(constant) => text(bytes, constant),
        Values::Text(texts) => text(bytes, &texts[row]),
        Values::Date(days) => match days[row] {
            Some(day) => write!(bytes, "\"{day}\""),
            None => bytes.write_all(b"null"),
        },
        Values::Int(numbers) | Values::Percent(numbers) => match numbers[row] {
            Some(number) => write!(bytes, "{number}"),
            None => bytes.write_all(b"null"),
        },
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return bytes.write_all(b"null");
    }
    Ok(serde_json::to_writer(bytes, text)?)
}

#[cfg(test)]
mod tests {
    use super::super::test_table;
    use super::*;

    #[test]
    fn every_kind_of_cell() {
        let expected = concat!(
            r#"{"User ID":"0131234567890123456","Name":"=1, \"x\"\n","Same":"s","Date":"2018-02-01","Int":100,"Percent":-33,"T \"ü\"":"007"}"#,
            "\n",
            r#"{"User ID":null,"Name":"b\u0001_x000D_\r","Same":"s","Date":null,"Int":null,"Percent":null,"T \"ü\"":null}"#,
            "\n",
        );
        let mut bytes = Vec::new();
        assert_eq!(test_table::with(|mut table| write(&mut table, CsvOptions::default(), &mut bytes)).unwrap(), 2);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}

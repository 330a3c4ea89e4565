//! The text format of COPY, both ways: <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2>
//!
//! Not here: what the values mean.

use memchr::{memchr, memchr2};

/// The fields of one row, their escapes undone, in memory that is used again for every row.
#[derive(Debug, Default)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    /// Where each field is in `bytes`; `None` for NULL.
    places: Vec<Option<(usize, usize)>>,
}

impl Fields {
    /// Takes a row apart, given without its line end. An empty line is a row of one empty field: that a row has no
    /// fields at all is not asked for by any scan.
    pub(super) fn decode(&mut self, line: &[u8]) {
        self.bytes.clear();
        self.places.clear();
        let mut rest = line;
        loop {
            let end = memchr(b'\t', rest).unwrap_or(rest.len());
            self.field(&rest[..end]);
            if end == rest.len() {
                return;
            }
            rest = &rest[end + 1..];
        }
    }

    /// The bytes of a field: `None` for NULL and for a field that is not there.
    pub(super) fn get(&self, field: usize) -> Option<&[u8]> {
        let (start, end) = (*self.places.get(field)?)?;
        self.bytes.get(start..end)
    }

    fn field(&mut self, raw: &[u8]) {
        if raw == b"\\N" {
            self.places.push(None);
            return;
        }
        let start = self.bytes.len();
        let mut rest = raw;
        while let Some(at) = memchr(b'\\', rest) {
            self.bytes.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            // The server writes no octal or hexadecimal escapes.
            let Some((&escaped, tail)) = rest.split_first() else { break };
            self.bytes.push(match escaped {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                other => other,
            });
            rest = tail;
        }
        self.bytes.extend_from_slice(rest);
        self.places.push(Some((start, self.bytes.len())));
    }
}

/// Appends a value and a line end, escaped for COPY FROM STDIN.
pub(super) fn encode(value: &str, to: &mut Vec<u8>) {
    for &byte in value.as_bytes() {
        match byte {
            b'\\' => to.extend_from_slice(b"\\\\"),
            b'\t' => to.extend_from_slice(b"\\t"),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            other => to.push(other),
        }
    }
    to.push(b'\n');
}

/// The literal of a `text[]` with these elements, for a server with `standard_conforming_strings`.
pub(super) fn array_literal<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut literal = "'{".to_owned();
    for (number, value) in values.enumerate() {
        literal.push_str(if number == 0 { "\"" } else { ",\"" });
        let mut rest = value;
        while let Some(at) = memchr2(b'\\', b'"', rest.as_bytes()) {
            push_literal(&rest[..at], &mut literal);
            literal.push('\\');
            literal.push_str(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        push_literal(rest, &mut literal);
        literal.push('"');
    }
    literal.push_str("}'::text[]");
    literal
}

fn push_literal(text: &str, literal: &mut String) {
    for (number, part) in text.split('\'').enumerate() {
        if number > 0 {
            literal.push_str("''");
        }
        literal.push_str(part);
    }
}

/// The literal of a text, for a server with `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    let mut literal = "'".to_owned();
    push_literal(text, &mut literal);
    literal + "'"
}

/// An identifier in quotes: `user` without them is a function.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(line: &str) -> Vec<Option<String>> {
        let mut fields = Fields::default();
        fields.decode(b"something\tbefore");
        fields.decode(line.as_bytes());
        (0..fields.places.len())
            .map(|i| fields.get(i).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn escapes_and_nulls() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(decoded("a\tb"), [some("a"), some("b")]);
        assert_eq!(decoded("\\N\t\t\\\\N"), [None, some(""), some("\\N")]);
        assert_eq!(decoded(r"a\tb\nc\rd\\e\b\v\f"), [some("a\tb\nc\rd\\e\u{8}\u{b}\u{c}")]);
        assert_eq!(decoded("தமிழ்\t\\N"), [some("தமிழ்"), None]);
        assert_eq!(decoded(""), [some("")]);
        assert_eq!(decoded("a\\"), [some("a")]);
    }

    #[test]
    fn a_field_that_is_not_there_is_null() {
        let mut fields = Fields::default();
        fields.decode(b"a");
        assert_eq!(fields.get(1), None);
    }

    #[test]
    fn values_for_the_server() {
        let mut bytes = Vec::new();
        encode("a\tb\\N\r\n'\"", &mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), "a\\tb\\\\N\\r\\n'\"\n");
        assert_eq!(array_literal([].into_iter()), "'{}'::text[]");
        assert_eq!(
            array_literal(["a", "NULL", "it's", r#"q"uo\te"#, "{,}", ""].into_iter()),
            r#"'{"a","NULL","it''s","q\"uo\\te","{,}",""}'::text[]"#
        );
        assert_eq!(quoted("user"), "\"user\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}

//! jobs.toml as written: a tree in which every key and value knows its place.
//!
//! Reads TOML and replaces `${NAME}` inside strings. Not here: what any key means.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{Faults, Place};

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A value as written.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    /// From a variable: may stand for text, a number or a truth value, whichever its key takes.
    Loose(String),
    /// `None` beyond 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
    /// Did not read, and that is already among the faults.
    Faulty,
}

/// Keys with the places of their names.
pub(crate) type Table = BTreeMap<String, (Place, Node)>;

/// The text of a value may be a secret.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    /// For messages: what this is.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Loose(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Datetime(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Faulty => "unreadable",
        }
    }
}

impl Node {
    /// The table that it is, if it is one.
    pub(crate) const fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The same as JSON; a date becomes text.
    pub(crate) fn to_json(&self, faults: &Faults) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Text(text) | Value::Loose(text) | Value::Datetime(text) => Json::String(text.clone()),
            Value::Integer(Some(number)) => Json::from(*number),
            Value::Integer(None) => {
                faults.add(&self.place, "a number this large must be written as text, in quotes");
                Json::Null
            }
            Value::Float(number) => serde_json::Number::from_f64(*number).map_or_else(
                || {
                    faults.add(&self.place, "JSON has no such number");
                    Json::Null
                },
                Json::Number,
            ),
            Value::Boolean(truth) => Json::Bool(*truth),
            Value::List(items) => items.iter().map(|item| item.to_json(faults)).collect(),
            Value::Table(table) => {
                Json::Object(table.iter().map(|(key, (_, node))| (key.clone(), node.to_json(faults))).collect())
            }
            Value::Faulty => Json::Null,
        }
    }
}

/// Reads the file's text. Syntax errors are all listed, and alone: what else is in such a file cannot be said yet.
pub(crate) fn parse(text: &str, replace: &Replace<'_>, faults: &Faults) -> Table {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return table(document.get_ref(), &|span| lines.place(span), Some(replace), faults);
    }
    note_syntax_errors(text, &lines, errors, faults);
    Table::new()
}

/// Behind a key without `=` the parser looks at no value any more: such lines are blanked and the rest is read again.
/// What is found twice is shown once.
fn note_syntax_errors(text: &str, lines: &Lines<'_>, mut errors: Vec<toml::de::Error>, faults: &Faults) {
    let mut text = text.to_owned();
    loop {
        let mut blanked = false;
        for error in errors {
            let at = error.span().map(|span| span.start);
            let place = at.map_or(Place::File, |at| lines.place(at));
            faults.add(&place, format!("not TOML: {}", error.message()));
            if let Some(at) = at.filter(|_| error.message().starts_with("key with no value")) {
                let line = lines.around(at);
                let blanks = " ".repeat(line.len());
                blanked |= text.get(line.clone()).is_some_and(|now| now != blanks);
                text.replace_range(line, &blanks);
            }
        }
        if !blanked {
            return;
        }
        errors = DeTable::parse_recoverable(&text).1;
    }
}

/// Reads one value that a variable holds as in TOML. `${NAME}` is not replaced there: it comes from the environment.
pub(crate) fn parse_value(text: &str, place: &Place, faults: &Faults) -> Node {
    let (value, errors) = DeValue::parse_recoverable(text);
    if errors.is_empty() {
        return node(&value, &|_| place.clone(), None, faults);
    }
    for error in errors {
        faults.add(place, format!("not TOML: {}", error.message()));
    }
    Node { place: place.clone(), value: Value::Faulty }
}

type Places<'a> = dyn Fn(usize) -> Place + 'a;

/// A text with its `${NAME}` replaced, or what is wrong with them.
pub(crate) type Replace<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

fn table(raw: &DeTable<'_>, places: &Places<'_>, replace: Option<&Replace<'_>>, faults: &Faults) -> Table {
    raw.iter()
        .map(|(key, value)| {
            let entry = (places(key.span().start), node(value, places, replace, faults));
            (key.get_ref().clone().into_owned(), entry)
        })
        .collect()
}

fn node(raw: &Spanned<DeValue<'_>>, places: &Places<'_>, replace: Option<&Replace<'_>>, faults: &Faults) -> Node {
    let place = places(raw.span().start);
    let value = match raw.get_ref() {
        DeValue::String(text) => match replace.map_or_else(|| Ok(text.to_string()), |replace| replace(text)) {
            Ok(text) => Value::Text(text),
            Err(what) => {
                faults.add(&place, what);
                Value::Faulty
            }
        },
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, places, replace, faults)).collect()),
        DeValue::Table(inner) => Value::Table(table(inner, places, replace, faults)),
    };
    Node { place, value }
}

/// Where lines begin, to turn byte offsets into places.
struct Lines<'a> {
    text: &'a str,
    begins: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let begins = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, begins }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.begins.partition_point(|&begin| begin <= offset);
        let begin = self.begins[line - 1]; // the first line begins at 0, so that `line` is at least 1
        let before = self.text.get(begin..offset).unwrap_or_default().trim_start_matches('\u{feff}');
        Place::At { line, column: before.chars().count() + 1 }
    }

    /// The line that holds an offset, without its end.
    fn around(&self, offset: usize) -> std::ops::Range<usize> {
        let line = self.begins.partition_point(|&begin| begin <= offset);
        let end = self.begins.get(line).map_or(self.text.len(), |next| next - 1);
        self.begins[line - 1]..end // as in `place`
    }
}

/// The place of a byte in a file that is not UTF-8.
pub(crate) fn place_of_byte(valid: &str) -> Place {
    Lines::of(valid).place(valid.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let lines = Lines::of("a = 1\n# é\nä = 2");
        assert_eq!(lines.place(0), Place::At { line: 1, column: 1 });
        assert_eq!(lines.place(5), Place::At { line: 1, column: 6 });
        assert_eq!(lines.place(6), Place::At { line: 2, column: 1 });
        assert_eq!(lines.place("a = 1\n# é\nä = ".len()), Place::At { line: 3, column: 5 });
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        assert_eq!(Lines::of("\u{feff}a = 1").place(3), Place::At { line: 1, column: 1 });
    }

    #[test]
    fn values_are_not_shown() {
        let node = Node { place: Place::File, value: Value::Text("hunter2".to_owned()) };
        assert!(!format!("{node:?}").contains("hunter2"));
    }

    #[test]
    fn toml_becomes_json() {
        let faults = Faults::default();
        let node = parse_value("{ a = [1, 0x10, 1.5, true, 'x'], b = { c = 1979-05-27 } }", &Place::File, &faults);
        let expected = serde_json::json!({"a": [1, 16, 1.5, true, "x"], "b": {"c": "1979-05-27"}});
        assert_eq!(node.to_json(&faults), expected);
        assert!(faults.is_empty());
        parse_value("[nan, 99999999999999999999]", &Place::File, &faults).to_json(&faults);
        assert_eq!(
            faults.into_errors(std::path::Path::new("f")).to_string(),
            "f: JSON has no such number\nf: a number this large must be written as text, in quotes"
        );
    }
}

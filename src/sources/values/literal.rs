//! Finds one's way in JSON and in the spellings that other programs have for lists and maps: Python's literals
//! (`{'a': [True, None], b: 'it\'s'}`), `cqlsh` (quotes doubled: `'it''s'`), pandas and numpy (tuples, calls such as
//! `Timestamp('…')`, lists without commas), Spark's cast to text (`{a -> 1, b -> null}`).
//!
//! Works on the bytes as they are: values come as spans of the text, so that counting the entries of a map or picking
//! one of them allocates nothing. Not here: what a value means.

mod canonical;
mod cells;
mod escapes;
mod scanner;

use serde_json::Value;

pub use canonical::canonical;
pub use cells::{spark_elements, spark_members, unescaped_cell};
pub use escapes::unescape;
use scanner::Scanner;

/// How strictly the text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// JSON and nothing else, but for `NaN`, which Python's writer leaves in it: text of these letters.
    Json,
    /// JSON, or what other programs write, with bare words as keys.
    Tolerant,
}

/// What in a quoted text stands for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// Nothing: it is as it stands.
    None,
    /// Backslashes and what follows them.
    Backslashes,
    /// Single quotes, which come in twos; and backslashes.
    DoubledQuotes,
}

/// One value, still as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// What stands between the quotes.
    Text(&'a [u8], Escapes),
    /// A number.
    Number(&'a str),
    /// True or false.
    Bool(bool),
    /// `null` or `None`.
    Null,
    /// A list or tuple, brackets included.
    List(&'a [u8]),
    /// A map, braces included.
    Map(&'a [u8]),
}

impl Span<'_> {
    /// Whether it is text that reads exactly so.
    #[must_use]
    pub fn is_text(&self, text: &str) -> bool {
        match self {
            Self::Text(inner, Escapes::None) => *inner == text.as_bytes(),
            Self::Text(inner, escapes) => {
                let mut decoded = Vec::new();
                unescape(inner, *escapes, &mut decoded);
                decoded == text.as_bytes()
            }
            _ => false,
        }
    }
}

/// The value that makes up the whole text. `None` if the text is not exactly one value.
#[must_use]
pub fn span(text: &[u8], spelling: Spelling) -> Option<Span<'_>> {
    let mut scanner = Scanner::new(text, spelling);
    let value = scanner.value()?;
    scanner.blanks();
    scanner.is_at_end().then_some(value)
}

/// Calls `each` for every entry of a map; their number. `None` if the text is no map or is broken somewhere; some entries
/// may have come before that shows. pandas writes maps as lists of pairs.
pub fn members<'a>(text: &'a [u8], spelling: Spelling, mut each: impl FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
    let mut scanner = Scanner::new(text, spelling);
    scanner.blanks();
    if spelling == Spelling::Tolerant && scanner.peek() == Some(b'[') {
        return pairs(text, each);
    }
    let count = scanner.map(&mut each)?;
    scanner.blanks();
    scanner.is_at_end().then_some(count)
}

/// Calls `each` for every pair of a list of nothing else.
fn pairs<'a>(text: &'a [u8], mut each: impl FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
    let mut all = true;
    let count = elements(text, Spelling::Tolerant, |element| {
        let mut pair = [None; 2];
        let mut length = 0;
        if let Span::List(list @ [b'(', ..]) = element {
            elements(list, Spelling::Tolerant, |part| {
                if let Some(slot) = pair.get_mut(length) {
                    *slot = Some(part);
                }
                length += 1;
            });
        }
        match pair {
            [Some(key), Some(value)] if length == 2 => each(key, value),
            _ => all = false,
        }
    })?;
    all.then_some(count)
}

/// Calls `each` for every element of a list; their number. `None` if the text is no list or is broken somewhere.
pub fn elements<'a>(text: &'a [u8], spelling: Spelling, mut each: impl FnMut(Span<'a>)) -> Option<usize> {
    let mut scanner = Scanner::new(text, spelling);
    scanner.blanks();
    let count = scanner.list(&mut each)?;
    scanner.blanks();
    scanner.is_at_end().then_some(count)
}

/// The value as a tree.
#[must_use]
pub fn tree(span: Span<'_>, spelling: Spelling) -> Option<Value> {
    Some(match span {
        Span::Text(..) => Value::String(text_of(span)),
        Span::Number(digits) => Value::Number(serde_json::from_str(digits).ok()?),
        Span::Bool(value) => Value::Bool(value),
        Span::Null => Value::Null,
        Span::List(text) => {
            let mut list = Vec::new();
            elements(text, spelling, |element| list.push(tree(element, spelling)))?;
            Value::Array(list.into_iter().collect::<Option<_>>()?)
        }
        Span::Map(text) => {
            let mut map = serde_json::Map::new();
            let mut whole = true;
            members(text, spelling, |key, value| match tree(value, spelling) {
                Some(value) => drop(map.insert(text_of(key), value)),
                None => whole = false,
            })?;
            whole.then_some(Value::Object(map))?
        }
    })
}

/// A scalar as plain text.
fn text_of(span: Span<'_>) -> String {
    match span {
        Span::Text(inner, Escapes::None) => String::from_utf8_lossy(inner).into_owned(),
        Span::Text(inner, escapes) => {
            let mut decoded = Vec::with_capacity(inner.len());
            unescape(inner, escapes, &mut decoded);
            String::from_utf8_lossy(&decoded).into_owned()
        }
        Span::Number(digits) => digits.to_owned(),
        Span::Bool(value) => value.to_string(),
        Span::Null => "null".to_owned(),
        Span::List(text) | Span::Map(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests;

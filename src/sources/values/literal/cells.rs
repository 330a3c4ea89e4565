//! Cells that are no literals: lists and maps as Spark casts them to text, and literals that `cqlsh` escaped.

use super::scanner::number_of_json;
use super::{Escapes, Span};

/// As [`members`](super::members), for a map as Spark casts it to text, `{a -> 1, b -> null}` (before Spark 3 in square brackets): keys and values
/// are bare, so none may have ` -> ` or a comma in it.
pub fn spark_members<'a>(text: &'a str, mut each: impl FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let inner = inner.or_else(|| text.strip_prefix('[').and_then(|text| text.strip_suffix(']')))?;
    let mut count = 0;
    for entry in inner.split(", ") {
        let (key, value) = entry.split_once(" -> ")?;
        let value = match value.trim() {
            "null" => Span::Null,
            digits if number_of_json(digits.as_bytes()) => Span::Number(digits),
            text => Span::Text(text.as_bytes(), Escapes::None),
        };
        each(Span::Text(key.as_bytes(), Escapes::None), value);
        count += 1;
    }
    Some(count)
}

/// How many elements a list of maps has, as Spark casts it to text: `[{a -> 1, b -> 2}, {a -> 3}]`.
#[must_use]
pub fn spark_elements(text: &str) -> Option<usize> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (mut depth, mut count) = (0_usize, 0);
    for byte in inner.bytes() {
        match byte {
            b'{' | b'[' => {
                count += usize::from(depth == 0);
                depth += 1;
            }
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' | b' ' => {}
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    (depth == 0).then_some(count)
}

/// Text of which `cqlsh` escaped the quotes because it left the cell without any around it: `{\"a\": 1}`. `None`: there are
/// no such quotes.
#[must_use]
pub fn unescaped_cell(text: &str) -> Option<String> {
    if !text.contains("\\\"") {
        return None;
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('"' | '\\')) => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    Some(plain)
}

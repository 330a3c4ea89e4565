//! How an engine wants identifiers, values and casts written: Spark's way, which Databricks and Sail share.
//!
//! No value of a request or a table stands in a statement as its own characters: its bytes are hexadecimal digits, which
//! the engine decodes.

use std::fmt::Write as _;

/// An identifier in quotes.
pub(super) fn quoted(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// Bytes as a literal.
pub(super) fn bytes(text: &str) -> String {
    format!("X'{}'", hexadecimal(text))
}

/// Text as an expression.
pub(super) fn text(text: &str) -> String {
    format!("decode(unhex('{}'), 'UTF-8')", hexadecimal(text))
}

fn hexadecimal(text: &str) -> String {
    let mut digits = String::with_capacity(2 * text.len());
    push_digits(text, &mut digits);
    digits
}

fn push_digits(text: &str, to: &mut String) {
    for byte in text.bytes() {
        // Writing to a String does not fail.
        let _ = write!(to, "{byte:02X}");
    }
}

/// Bytes of a literal: an engine takes each as a whole.
const LITERAL: usize = 1 << 20;

/// Keys as a query with one column `key`, for an engine that takes no rows beside a statement.
pub(super) fn literal_keys<'k>(keys: impl Iterator<Item = &'k str>) -> String {
    let mut literals = vec![String::new()];
    for key in keys {
        if literals.last().is_some_and(|literal| literal.len() > LITERAL) {
            literals.push(String::new());
        }
        if let Some(literal) = literals.last_mut() {
            if !literal.is_empty() {
                literal.push(',');
            }
            push_digits(key, literal);
        }
    }
    let query = |digits: String| {
        let exploded = format!("SELECT explode(split('{digits}', ',')) AS x");
        format!("SELECT decode(unhex(x), 'UTF-8') AS key FROM ({exploded}) AS d WHERE x <> ''")
    };
    literals.into_iter().map(query).collect::<Vec<_>>().join(" UNION ALL ")
}

/// An expression as text.
pub(super) fn as_text(expression: &str) -> String {
    format!("CAST({expression} AS STRING)")
}

/// An expression as the bytes of its text: compared byte by byte, whatever the collation of the column.
pub(super) fn as_bytes(expression: &str) -> String {
    format!("CAST({expression} AS BINARY)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_is_part_of_a_statement() {
        assert_eq!(bytes("a'b`\\"), "X'612762605C'");
        assert_eq!(text("a'"), "decode(unhex('6127'), 'UTF-8')");
        assert_eq!(quoted("a`b"), "`a``b`");
    }
}

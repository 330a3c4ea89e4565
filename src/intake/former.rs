//! Request ids of earlier versions, which did not compare meanings: SHA-1 over canonical JSON by RFC 8785, with keys sorted
//! by UTF-16 code units and numbers as ECMAScript writes them. Rows that were submitted under such an id are found for a day.
//!
//! One deviation, for numbers that RFC 8785 does not admit: an integer that a double cannot hold keeps its digits.

use serde_json::{Number, Value};

/// The canonical text of a value.
pub(super) fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
        // serde_json escapes exactly what RFC 8785 wants escaped, in the same way.
        Value::String(_) => out.push_str(&value.to_string()),
        Value::Number(number) => out.push_str(&canonical_number(number)),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(&Value::String(key.clone()), out);
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
    }
}

fn canonical_number(number: &Number) -> String {
    let text = number.to_string();
    let digits = text.strip_prefix('-').unwrap_or(&text);
    let whole = digits.bytes().all(|b| b.is_ascii_digit());
    match number.as_f64() {
        // Below 2^53 every integer is a double, and no other integer rounds to it.
        Some(float) if float.is_finite() && !(whole && float.abs() >= 9_007_199_254_740_992.0) => {
            ryu_js::Buffer::new().format(float).to_owned()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::to_string;

    fn canonical(json: &str) -> String {
        to_string(&serde_json::from_str(json).unwrap())
    }

    /// The examples of RFC 8785, sections 3.2.2 and 3.2.3.
    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(
            canonical(
                r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                    "literals": [null, true, false]}"#
            ),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(
            canonical(
                r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
                    "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}"#
            ),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    #[test]
    fn integers_that_no_double_holds_stay_apart() {
        assert_eq!(
            canonical("[9007199254740993, 1234567890123456789, -0, 10.0]"),
            "[9007199254740993,1234567890123456789,0,10]"
        );
    }
}

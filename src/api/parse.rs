//! JSON of a body into the fields that a call reads. All other fields are skipped, and the number of values that are kept is
//! bounded.

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values of a body that are kept. Of the smallest ones 1 MiB holds five times as many.
const VALUES: usize = 100_000;
/// Bytes of memory of one value at most, with its share of the list or object around it, also while a request is made of it.
const OF_VALUE: usize = 256;
/// Under this name `serde_json` hands over numbers, where it keeps their digits (its feature `arbitrary_precision`).
const NUMBER: &str = "$serde_json::private::Number";

/// Bytes of memory that parsing a body takes at most, estimated beforehand: each value but the first follows one of these
/// marks.
pub(super) fn weight(bytes: &[u8]) -> usize {
    let marks = bytes.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    4 * bytes.len() + (marks + 1).min(VALUES) * OF_VALUE
}

/// The body for a call: of an object `params.msgid`, and of `request` the given fields. A body that is no object is returned
/// as it is, a list without its items.
pub(super) fn body(text: &str, fields: &'static [&'static str]) -> Result<Value, serde_json::Error> {
    let mut left = VALUES;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Keep { what: What::Body(fields), left: &mut left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// What is kept of a value.
#[derive(Clone, Copy)]
enum What {
    /// `params` and `request`.
    Body(&'static [&'static str]),
    /// These fields, whole.
    Fields(&'static [&'static str]),
    /// All of it.
    Whole,
}

impl What {
    fn of(self, name: &str) -> Option<Self> {
        match self {
            Self::Body(_) if name == "params" => Some(Self::Fields(&["msgid"])),
            Self::Body(fields) if name == "request" => Some(Self::Fields(fields)),
            Self::Fields(fields) if fields.contains(&name) => Some(Self::Whole),
            Self::Whole => Some(Self::Whole),
            Self::Body(_) | Self::Fields(_) => None,
        }
    }
}

struct Keep<'l> {
    what: What,
    /// How many more values may be kept.
    left: &'l mut usize,
}

impl<'de> DeserializeSeed<'de> for Keep<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| D::Error::custom(format!("more than {VALUES} values")))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        if matches!(self.what, What::Whole) {
            while let Some(item) = items.next_element_seed(Keep { what: What::Whole, left: &mut *self.left })? {
                kept.push(item);
            }
        } else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(Value::Array(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        let mut is_first = true;
        while let Some(name) = entries.next_key::<String>()? {
            if std::mem::take(&mut is_first) && name == NUMBER {
                let digits: String = entries.next_value()?;
                let number: Result<Number, _> = digits.parse();
                return number.map(Value::Number).map_err(|_| A::Error::custom("a name that numbers alone may have"));
            }
            match self.what.of(&name) {
                Some(what) => {
                    let value = entries.next_value_seed(Keep { what, left: &mut *self.left })?;
                    kept.insert(name, value);
                }
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FIELDS: &[&str] = &["tag", "jobConfig"];

    #[test]
    fn only_what_is_known_is_kept() {
        let text = r#"{"params": {"msgid": "m", "x": [1]}, "id": {"a": {}}, "request":
            {"tag": "t", "jobConfig": {"any": [1.50, {"deep": null}]}, "other": [[[]]]}}"#;
        let expected =
            r#"{"params": {"msgid": "m"}, "request": {"tag": "t", "jobConfig": {"any": [1.50, {"deep": null}]}}}"#;
        assert_eq!(body(text, FIELDS).unwrap(), serde_json::from_str::<Value>(expected).unwrap());
        for (text, expected) in [
            ("7", json!(7)),
            ("[1, [2]]", json!([])),
            ("\"x\"", json!("x")),
            ("null", Value::Null),
            (r#"{"request": 7}"#, json!({ "request": 7 })),
            (r#"{"request": [1]}"#, json!({ "request": [] })),
            (r#"{"request": null}"#, json!({ "request": null })),
        ] {
            assert_eq!(body(text, FIELDS).unwrap(), expected, "{text}");
        }
        // That name means a number only where it comes first, as it does in `serde_json`'s own reading.
        let odd = format!("{{\"request\": {{\"jobConfig\": {{\"a\": 1, \"{NUMBER}\": \"5\"}}}}}}");
        assert_eq!(body(&odd, FIELDS).unwrap(), serde_json::from_str::<Value>(&odd).unwrap());
        for wrong in ["{\"a\": 1} x", "{\"unknown\": [1,}", "{\"unknown\": 01}", "{", "", "{\"a\" 1}", "[1,]"] {
            assert!(body(wrong, FIELDS).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_and_nesting_are_bounded() {
        let list = |n: usize| format!("{{\"request\": {{\"jobConfig\": [{}1]}}}}", "1,".repeat(n));
        assert!(body(&list(VALUES - 10), FIELDS).is_ok());
        let error = body(&list(VALUES), FIELDS).unwrap_err().to_string();
        assert!(error.starts_with("more than 100000 values"), "{error}");
        // Skipped values take no memory, whatever their number and depth.
        let other = list(5 * VALUES).replace("jobConfig", "other");
        assert!(body(&other, FIELDS).is_ok());
        let deep = |name: &str, depth: usize| {
            let text = format!("{{\"request\": {{\"{name}\": {}1{}}}}}", "[".repeat(depth), "]".repeat(depth));
            body(&text, FIELDS).map_err(|error| error.to_string())
        };
        assert!(deep("jobConfig", 200).unwrap_err().starts_with("recursion limit"));
        assert!(deep("other", 500_000).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        /// Numbers of any length, texts and nesting come out as `serde_json`'s own reading has them.
        #[test]
        fn a_whole_field_is_read_as_ever(
            number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", text in any::<String>(), depth in 0..20_usize,
        ) {
            let value = format!("{{\"n\": {number}, \"t\": {}, \"l\": {}{number}{}}}",
                serde_json::to_string(&text).unwrap(), "[".repeat(depth), "]".repeat(depth));
            let whole = format!("{{\"request\": {{\"jobConfig\": {value}}}}}");
            let read = body(&whole, FIELDS).unwrap();
            prop_assert_eq!(&read["request"]["jobConfig"], &serde_json::from_str::<Value>(&value).unwrap());
            prop_assert!(read["request"]["jobConfig"]["n"].to_string().len() >= number.len());
        }

        /// Text that is no JSON is an error of both, and no panic.
        #[test]
        fn what_is_no_json_is_refused(text in "[\\[\\]{}\",:0-9a-z\\\\ .eE+-]{0,40}") {
            prop_assert_eq!(body(&text, FIELDS).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }
    }
}

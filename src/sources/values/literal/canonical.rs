//! A value in the one spelling that all sources share: JSON without blanks, the keys of each map in the order of their bytes,
//! of a key that is there twice the last value.
//!
//! Written as it is read: a tree of the value would take many times the bytes of its text.

use serde_json::Number;

use super::scanner::Scanner;
use super::{Span, Spelling, elements, text_of};

/// Appends a value. `None` if something in it does not read; then `out` has part of it.
pub fn canonical(span: Span<'_>, spelling: Spelling, out: &mut String) -> Option<()> {
    match span {
        Span::Text(..) => quoted(&text_of(span), out),
        Span::Number(digits) => {
            let number: Number = serde_json::from_str(digits).ok()?;
            out.push_str(&number.to_string());
        }
        Span::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Span::Null => out.push_str("null"),
        Span::List(text) => {
            out.push('[');
            let (mut is_first, mut whole) = (true, true);
            elements(text, spelling, |element| {
                if !std::mem::take(&mut is_first) {
                    out.push(',');
                }
                whole &= whole && canonical(element, spelling, out).is_some();
            })?;
            out.push(']');
            return whole.then_some(());
        }
        Span::Map(text) => return map(text, spelling, out),
    }
    Some(())
}

fn quoted(text: &str, out: &mut String) {
    // Strings always serialise.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The most members whose keys are kept while they are put in order; more would take many times the text.
const CACHED: usize = 10_000;

/// Of each member only where it stands is kept.
fn map(text: &[u8], spelling: Spelling, out: &mut String) -> Option<()> {
    let mut places: Vec<u32> = Vec::new();
    let mut scanner = Scanner::new(text, spelling);
    scanner.entries(b'{', b'}', &mut |scanner| {
        scanner.blanks();
        places.push(u32::try_from(scanner.position()).ok()?);
        scanner.member().map(drop)
    })?;
    let member = |place: u32| Scanner::at(text, place as usize, spelling).member();
    let key = |place: u32| {
        let key = Scanner::at(text, place as usize, spelling).key();
        key.map(text_of).unwrap_or_default()
    };
    if !places.is_sorted_by(|left, right| key(*left) < key(*right)) {
        if places.len() <= CACHED {
            places.sort_by_cached_key(|place| key(*place));
        } else {
            places.sort_by_key(|place| key(*place));
        }
        // Stable: of equal keys the last one stands last.
        let mut last = Vec::with_capacity(places.len());
        for place in places {
            if last.last().is_some_and(|before| key(*before) == key(place)) {
                last.pop();
            }
            last.push(place);
        }
        places = last;
    }
    out.push('{');
    for (number, place) in places.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        let (key, value) = member(place)?;
        quoted(&text_of(key), out);
        out.push(':');
        canonical(value, spelling, out)?;
    }
    out.push('}');
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{span, tree};
    use super::*;

    fn written(json: &str) -> Option<String> {
        let mut out = String::new();
        canonical(span(json.as_bytes(), Spelling::Json)?, Spelling::Json, &mut out)?;
        Some(out)
    }

    /// Draws a value as JSON with blanks and keys that come twice.
    fn drawn(draws: &mut fastrand::Rng, depth: usize) -> String {
        let blank = [" ", "", "\n"][draws.usize(..3)];
        let text = |draws: &mut fastrand::Rng| {
            ["\"a\"", "\"b\"", "\"\\u0061\"", "\"\"", "\"\\n\\\"\"", "\"ä\"", "\"\\ud83d\\ude00\""][draws.usize(..7)]
                .to_owned()
        };
        match draws.usize(..if depth == 0 { 4 } else { 6 }) {
            0 => text(draws),
            1 => ["0", "-0.0", "1e5", "1E+05", "12345678901234567890123", "0.10"][draws.usize(..6)].to_owned(),
            2 => ["true", "false", "null"][draws.usize(..3)].to_owned(),
            3 => "{}".to_owned(),
            4 => {
                let all: Vec<String> = (0..draws.usize(..5)).map(|_| drawn(draws, depth - 1)).collect();
                format!("[{blank}{}]", all.join(&format!("{blank},")))
            }
            _ => {
                let all: Vec<String> = (0..draws.usize(..6))
                    .map(|_| format!("{}{blank}:{}", text(draws), drawn(draws, depth - 1)))
                    .collect();
                format!("{{{blank}{}}}", all.join(&format!("{blank},{blank}")))
            }
        }
    }

    /// The same as a tree of it, put in order by serde.
    #[test]
    fn is_what_a_tree_gives() {
        let mut draws = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let json = drawn(&mut draws, 4);
            let mut expected: Value = serde_json::from_str(&json).unwrap();
            expected.sort_all_objects();
            assert_eq!(written(&json).as_deref(), Some(expected.to_string().as_str()), "{json}");
            let mut ours = tree(span(json.as_bytes(), Spelling::Json).unwrap(), Spelling::Json).unwrap();
            ours.sort_all_objects();
            assert_eq!(ours, expected, "{json}");
        }
    }

    #[test]
    fn what_is_broken_inside_does_not_read() {
        assert_eq!(written("{\"a\":1,\"a\":[true]}").as_deref(), Some("{\"a\":[true]}"));
        assert_eq!(written("{\"b\":1,\"a\":}"), None);
    }
}

use proptest::prelude::*;
use serde_json::json;

use super::scanner::MAX_DEPTH;
use super::*;

fn read(text: &str, spelling: Spelling) -> Option<Value> {
    tree(span(text.as_bytes(), spelling)?, spelling)
}

#[test]
fn json_and_pythons_spelling_are_one_value() {
    for (text, value) in [
        ("{'a': 1, 'b': [True, False, None]}", json!({"a": 1, "b": [true, false, null]})),
        (r#"{"a": 1, "b": [true, false, null]}"#, json!({"a": 1, "b": [true, false, null]})),
        (r"['it\'s', 'a \\ b', 'x\n']", json!(["it's", "a \\ b", "x\n"])),
        (r"{id: 'q3', max_score: 2.5}", json!({"id": "q3", "max_score": 2.5})),
        (r"[u'x', {1: u'y'}]", json!(["x", {"1": "y"}])),
        ("[1, 2, ]", json!([1, 2])),
        (r"['\u0915\xe9']", json!(["कé"])),
        (r#"["\ud83d\ude00"]"#, json!(["😀"])),
        (r"['\d']", json!(["\\d"])),
        (" [ ] ", json!([])),
        ("{}", json!({})),
    ] {
        assert_eq!(read(text, Spelling::Tolerant), Some(value), "{text}");
    }
}

#[test]
fn what_cqlsh_pandas_and_numpy_write() {
    for (text, value) in [
        (r"{'name': 'Teacher''s certificate'}", json!({"name": "Teacher's certificate"})),
        (r"['''', '''a', 'b''', '', 'c''\\''d']", json!(["'", "'a", "b'", "", "c'\\'d"])),
        (r"{'it''s': 2.5}", json!({"it's": 2.5})),
        (r#"{"it''s": 1}"#, json!({"it''s": 1})),
        ("[('a', 1.0), ('b', None)]", json!([["a", 1.0], ["b", null]])),
        ("[nan, NaN, NaT, NULL]", json!([null, null, null, null])),
        ("[Timestamp('2020-07-21 08:30:48+0000', tz='UTC'), Decimal('4')]", json!(["2020-07-21 08:30:48+0000", "4"])),
        ("array([{'a': 1},\n       {'a': 2}], dtype=object)", json!([{"a": 1}, {"a": 2}])),
        ("[{'a': 1} {'b': 2}\n 'c' \"d\"]", json!([{"a": 1}, {"b": 2}, "c", "d"])),
    ] {
        assert_eq!(read(text, Spelling::Tolerant), Some(value), "{text}");
    }
    // That it is there is known, not what it is.
    let date = "[datetime.datetime(2020, 7, 21, 8, 30, tzinfo=UTC)]";
    assert_eq!(elements(date.as_bytes(), Spelling::Tolerant, |_| ()), Some(1));
    // Python's writer of JSON leaves it in.
    assert_eq!(read(r#"{"a": NaN}"#, Spelling::Json), Some(json!({"a": "NaN"})));
}

#[test]
fn the_question_of_an_attempt_reads() {
    let text = r#"[{id: 'q3', resvalues: [{'2': '{"text":"Quantity\n"}'}]}]"#;
    let value = json!([{"id": "q3", "resvalues": [{"2": "{\"text\":\"Quantity\n\"}"}]}]);
    assert_eq!(read(text, Spelling::Tolerant), Some(value));
}

#[test]
fn what_does_not_read() {
    for text in [
        "",
        "[",
        "[1",
        "[1 2]",
        "{'a' 'b'}",
        "['a''b]",
        "('a'",
        "f(",
        "f()",
        "f('a' 'b')",
        "f.g",
        "['a'\"b\"]",
        "{'a'}",
        "{'a': }",
        "'open",
        "['a'] b",
        "[Draft]",
        "{a: b}",
        "01",
        "1.",
        "+1",
        "--1",
        "'\\",
    ] {
        assert_eq!(read(text, Spelling::Tolerant), None, "{text}");
    }
    for text in ["{'a': 1}", "[1,]", "[True]", "{a: 1}", r#"["\d"]"#, "[\"a\tb\"]"] {
        assert_eq!(read(text, Spelling::Json), None, "{text}");
    }
}

#[test]
fn deep_nesting_ends_instead_of_the_stack() {
    assert_eq!(read(&"[".repeat(1_000_000), Spelling::Tolerant), None);
    let depth = usize::from(MAX_DEPTH);
    assert!(read(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)), Spelling::Json).is_some());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_reads_as_serde_json_reads_it(value in any_json()) {
        let text = value.to_string();
        prop_assert_eq!(read(&text, Spelling::Json), Some(value.clone()));
        prop_assert_eq!(read(&text, Spelling::Tolerant), Some(value));
    }

    #[test]
    fn what_serde_json_refuses_is_refused(value in any_json(), at in any::<prop::sample::Index>(), with in "[ -~]") {
        let mut text: Vec<char> = value.to_string().chars().collect();
        let at = at.index(text.len());
        text[at] = with.chars().next().unwrap();
        let text: String = text.into_iter().collect();
        // Halves of surrogate pairs are the one thing borne beyond JSON; serde_json does not write escapes for them.
        prop_assume!(!text.contains("\\u"));
        prop_assert_eq!(read(&text, Spelling::Json), serde_json::from_str(&text).ok());
    }
}

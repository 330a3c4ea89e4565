use super::*;

const UTC: Tz = Tz::UTC;

#[test]
fn booleans() {
    for text in ["true", "True", "TRUE", " tRue ", "1", "t", "T"] {
        assert_eq!(boolean(text), Ok(Some(true)), "{text}");
    }
    for text in ["false", "False", "FALSE\n", "0", "f"] {
        assert_eq!(boolean(text), Ok(Some(false)), "{text}");
    }
    assert_eq!(boolean(" "), Ok(None));
    for text in ["yes", "2", "truee", "-1"] {
        assert_eq!(boolean(text), Err(Unreadable::Value), "{text}");
    }
}

#[test]
fn counts_are_whole() {
    for (text, value) in [("4", 4), ("4.0", 4), (" -3 ", -3), ("1E1", 10), ("9223372036854775807", i64::MAX)] {
        assert_eq!(count(text), Ok(Some(value)), "{text}");
    }
    assert_eq!(count(""), Ok(None));
    for (text, value) in [
        ("2.6e+01", 26),
        ("26.000", 26),
        ("-0.0", 0),
        ("0e300", 0),
        ("100e-2", 1),
        ("+7", 7),
        ("00012.0", 12),
        ("9.223372036854775807e18", i64::MAX),
        ("-9223372036854775808.0", i64::MIN),
    ] {
        assert_eq!(count(text), Ok(Some(value)), "{text}");
    }
    for nothing in ["null", "NULL", "None", " NaN ", "\\N"] {
        assert_eq!(count(nothing), Ok(None), "{nothing}");
    }
    for text in ["4.5", "four", "9223372036854775808", "0x4", "1,000", "26.0000001", "1e30", "1e-1", ".", "e1", "Null"]
    {
        assert_eq!(count(text), Err(Unreadable::Value), "{text}");
    }
}

#[test]
fn decimals_are_exact_up_to_six_places_and_rounded_beyond() {
    for (text, millionths) in [
        ("7", 7_000_000),
        ("0.1", 100_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("+2.25", 2_250_000),
        ("-2.25", -2_250_000),
        ("0.123456", 123_456),
        ("0.1234564999", 123_456),
        ("0.1234565", 123_457),
        ("-0.1234565", -123_457),
        ("0.0000005", 1),
        ("0.0000004", 0),
        ("5e-8", 0),
        ("5e-7", 1),
        ("1E1", 10_000_000),
        ("1.5e2", 150_000_000),
        ("0e300", 0),
        ("9223372036854.775807", i64::MAX),
    ] {
        assert_eq!(decimal(text), Ok(Some(millionths)), "{text}");
    }
    assert_eq!(decimal("  "), Ok(None));
    assert_eq!(decimal("NaN"), Ok(None));
    for text in [".", "-", "1e", "e1", "1.2.3", "nan", "inf", "7/10", "1e30", "9223372036854.775808", "१"] {
        assert_eq!(decimal(text), Err(Unreadable::Value), "{text}");
    }
}

#[test]
fn entries_of_lists_and_maps_or_their_number() {
    for (text, value) in [
        ("[]", 0),
        ("['a', {'b': [1, 2]}]", 2),
        (r#"[{"name": "x"}, {"name": "y"}, null]"#, 3),
        ("{'a': 1, 'b': 2}", 2),
        ("{}", 0),
        ("3", 3),
        ("3.0", 3),
    ] {
        assert_eq!(entries(text), Ok(Some(value)), "{text}");
    }
    assert_eq!(entries(""), Ok(None));
    for text in ["-1", "[", "[a]", "yes", "{'a'}", "'a'"] {
        assert_eq!(entries(text), Err(Unreadable::Value), "{text}");
    }
}

#[test]
fn completed_count_of_a_map() {
    for (text, value) in [
        (r#"{"completedCount": 4}"#, Some(4)),
        ("{'completedCount': 4, 'score': 1.5}", Some(4)),
        ("{'completedCount': '4'}", Some(4)),
        ("{completedCount: 4.0}", Some(4)),
        ("{'completedCount': None}", None),
        ("{'other': 4}", None),
        ("{}", None),
        ("", None),
    ] {
        assert_eq!(completed_count(text), Ok(value), "{text}");
    }
    for text in ["{'completedCount': 'x'}", "{'completedCount': [4]}", "{'completedCount': 26.5}"] {
        assert_eq!(completed_count(text), Err(Unreadable::Entry), "{text}");
    }
    for text in ["4", "[4]", "{'completedCount': 4", "map"] {
        assert_eq!(completed_count(text), Err(Unreadable::Value), "{text}");
    }
}

#[test]
fn last_updated_is_an_instant_or_a_map_of_them() {
    // 2020-07-21 08:30:48 UTC is 1595320248.
    let micros = 1_595_320_248_855_000;
    for text in [
        "2020-07-21 08:30:48.855000+0000",
        "2020-07-21 08:30:48:855+0000",
        "{'completedCount': '2020-07-21 08:30:48.855000+0000'}",
        r#"{"completedCount": "2020-07-21T14:00:48.855+05:30"}"#,
    ] {
        assert_eq!(last_updated(text, UTC), Ok(Some(micros)), "{text}");
    }
    for text in ["", "{}", "{'other': '2020-07-21'}", "{'completedCount': null}"] {
        assert_eq!(last_updated(text, UTC), Ok(None), "{text}");
    }
    for text in ["35353", "{'completedCount': 5}", "{'completedCount': 'x'}", "{"] {
        assert!(last_updated(text, UTC).is_err(), "{text}");
    }
}

#[test]
fn collections_as_other_programs_spell_them() {
    for text in [
        r#"{\"completedCount\": 4}"#,
        r#"{\"a\\\"b\": \"\\\\\", \"completedCount\": 4.0}"#,
        "{'it''s': 1, 'completedCount': 4e+00}",
        "[('completedCount', 4.0), ('score:do_1', 2.5)]",
        "{completedCount -> 4.0, score:do_1 -> 2.5}",
        "{score:do_1 -> null, completedCount -> 4}",
        "[completedCount -> 4]",
        "{'completedCount': Decimal('4')}",
        "{'score:do_1': nan, 'completedCount': 4}",
    ] {
        assert_eq!(completed_count(text), Ok(Some(4)), "{text}");
    }
    for text in [
        "[]",
        "{completedCount -> null}",
        "{completedCount -> }",
        "{'completedCount': NaN}",
        "[('score:do_1', 2.5)]",
        "null",
        "{}",
    ] {
        assert_eq!(completed_count(text), Ok(None), "{text}");
    }
    for text in ["{completedCount -> 4.5}", "[('completedCount', 'x')]"] {
        assert_eq!(completed_count(text), Err(Unreadable::Entry), "{text}");
    }
    for text in ["[('completedCount', 4, 5)]", "['completedCount', 4]", "{completedCount}", "[(4)]"] {
        assert_eq!(completed_count(text), Err(Unreadable::Value), "{text}");
    }
    for (text, value) in [
        ("[{'name': 'Teacher''s certificate'}]", 1),
        (r#"[{\"name\": \"x\"}]"#, 1),
        ("[{name -> x, url -> y}, {name -> z}]", 2),
        ("[{'a': 1}\n {'b': 2}]", 2),
        ("array(['a', 'b'], dtype=object)", 2),
        ("[{'on': datetime.datetime(2020, 7, 21)}]", 1),
        ("{a -> 1, b -> 2}", 2),
    ] {
        assert_eq!(entries(text), Ok(Some(value)), "{text}");
    }
    let micros = Ok(Some(1_595_320_248_000_000));
    for text in ["{completedCount -> 2020-07-21 08:30:48}", "[('completedCount', Timestamp('2020-07-21 08:30:48'))]"] {
        assert_eq!(last_updated(text, UTC), micros, "{text}");
    }
    assert_eq!(json_of_text(r#"[\"CBSE\"]"#).as_deref(), Some(r#"["CBSE"]"#));
}

#[test]
fn words_for_nothing_are_nothing_where_a_value_is_expected() {
    for word in ["null", "NULL", "None", "NaN", "\\N", "  null\t"] {
        assert_eq!(boolean(word), Ok(None), "{word}");
        assert_eq!(count(word), Ok(None), "{word}");
        assert_eq!(decimal(word), Ok(None), "{word}");
        assert_eq!(instant(word, UTC), Ok(None), "{word}");
        assert_eq!(entries(word), Ok(None), "{word}");
        assert_eq!(completed_count(word), Ok(None), "{word}");
        assert_eq!(last_updated(word, UTC), Ok(None), "{word}");
        assert_eq!(json_of_text(word), Some(Value::from(word).to_string()), "{word}");
    }
    for word in ["Null", "none", "N/A", "-", "nothing"] {
        assert_eq!(count(word), Err(Unreadable::Value), "{word}");
    }
}

#[test]
fn metadata_is_one_json_value() {
    for (text, json) in [
        ("['CBSE', 'ICSE']", r#"["CBSE","ICSE"]"#),
        (r#" ["CBSE", 1] "#, r#"["CBSE",1]"#),
        ("TPD", r#""TPD""#),
        ("9", r#""9""#),
        ("[Draft] Course", r#""[Draft] Course""#),
        ("[Draft]", r#""[Draft]""#),
        ("say \"hi\" ", r#""say \"hi\" ""#),
        ("{'a': 1}", r#""{'a': 1}""#),
    ] {
        assert_eq!(json_of_text(text).as_deref(), Some(json), "{text}");
    }
    assert_eq!(json_of_text(""), None);
    for (json, same) in
        [("[ \"a\", 1 ]", "[\"a\",1]"), ("9", "9"), ("{\"b\": 1, \"a\": []}", "{\"a\":[],\"b\":1}"), ("true", "true")]
    {
        assert_eq!(json_of_json(json).as_deref(), Some(same), "{json}");
    }
    assert_eq!(json_of_json("null"), None);
    assert_eq!(json_of_json("\"\""), None);
}

#[test]
fn a_local_clock_is_taken_as_the_same_date_in_text() {
    let clock = |text: &str| parse_instant(text, UTC).unwrap();
    for text in ["2020-06-30T13:20:04.5", "2021-03-28T02:30:00", "2021-10-31T02:30:00"] {
        for tz in [Tz::Asia__Kolkata, Tz::Europe__Berlin] {
            assert_eq!(local_instant(clock(text), tz), parse_instant(text, tz), "{text} {tz}");
        }
    }
    assert_eq!(local_instant(i64::MAX, UTC), None);
}

//! Values by hand, and any text against a second reading of the rules that works on whole texts and with regular pieces.

use proptest::prelude::*;

use super::*;
use crate::columnar::spelling;

/// The text as it stands in a CSV.
fn spelled(text: &str) -> String {
    let mut out = Vec::new();
    let _ = spelling::cell(&mut out, text, true);
    String::from_utf8(out).unwrap()
}

/// The text as a reader of CSV gets it.
fn read(text: &str) -> String {
    // Not at the beginning, where a byte order mark would be taken for one.
    let line = format!("begin,{},end\n", spelled(text));
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = reader.records().next().unwrap().unwrap();
    assert_eq!((record.len(), &record[2]), (3, "end"), "{text:?}");
    record[1].to_owned()
}

#[test]
fn full_width_and_invisible_beginnings() {
    for start in ["=1", "+1+1", "-1+1", "@A1", "\u{ff1d}1", "\u{ff0b}1", "\u{ff0d}1", "\u{ff20}A1"] {
        for before in [
            "",
            " ",
            "   ",
            "\u{a0}",
            "\u{200b}",
            "\u{200c}",
            "\u{200d}",
            "\u{2060}",
            "\u{feff}",
            "\u{3000}",
            "\u{b}",
            "\u{c}",
            "\0",
            "\u{1f}",
            "\u{7f}",
            "\u{85}",
            "\u{ad}",
            "\u{1680}",
            "\u{180e}",
            "\u{2000}",
            "\u{2009}",
            "\u{200e}",
            "\u{2028}",
            "\u{2029}",
            "\u{202e}",
            "\u{202f}",
            "\u{205f}",
            "\u{2066}",
            "\u{fe0f}",
            "\u{fffa}",
            "\u{e0020}",
            " \u{feff} \u{3000}",
        ] {
            let text = format!("{before}{start}");
            assert_eq!(read(&text), format!("'{text}"), "{text:?}");
            assert!(guard(&text).is_needed());
        }
    }
    for harmless in [
        "",
        " ",
        "\u{feff}",
        "\u{a0}x",
        "x=1",
        "'=1",
        "\"=1",
        "\u{a0}",
        "नमस्ते",
        "\u{200d}क",
        "ー1",
        "−1",
        "¤=",
        "\u{c}x",
        "é=1",
    ] {
        assert_eq!((read(harmless).as_str(), guard(harmless)), (harmless, Guard::default()), "{harmless:?}");
    }
}

#[test]
fn beginnings_within_a_cell() {
    for (text, expected) in [
        ("a;=1+1", "a;'=1+1"),
        ("a;=1+1;b", "a;'=1+1;b"),
        ("=1;=2;b", "'=1;'=2;b"),
        (";@A1", ";'@A1"),
        ("a; \u{a0}=1", "a;' \u{a0}=1"),
        ("a;\u{ff1d}1", "a;'\u{ff1d}1"),
        ("a;-5", "a;'-5"),
        ("a\n=1", "\"a\n'=1\""),
        ("a\r\n-1", "\"a\r\n'-1\""),
        ("a\r=1", "\"a\r'=1\""),
        ("\n=1", "\"'\n'=1\""),
        ("a;\"=1;b", "\"a;'\"\"=1;b\""),
        ("a;\t=1", "\"a;'\t=1\""),
        // Quotes are enough against a tab.
        ("a\t=1", "\"a\t=1\""),
        ("\t  =1", "\"'\t  =1\""),
        ("\tx", "'\tx"),
        // Nothing begins there.
        ("a;b=1", "a;b=1"),
        ("a;;b", "a;;b"),
        ("a;\nb", "\"a;\nb\""),
        ("a;'=1", "a;'=1"),
        ("a\tb", "a\tb"),
        ("a; ", "a; "),
        ("a;", "a;"),
        ("a:=1", "a:=1"),
        ("plain text; with: much", "plain text; with: much"),
    ] {
        assert_eq!(spelled(text), expected, "{text:?}");
    }
}

/// What the guard makes of a text, piece by piece and with sets spelled out.
fn naive(text: &str) -> String {
    const STARTS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let invisible = |c: char| {
        let listed = [
            0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x3164, 0xfeff, 0xffa0, //
            0x180b, 0x180c, 0x180d, 0x180e, 0x180f, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f,
        ];
        let ranges = [(0x202a, 0x202e), (0x2060, 0x206f), (0xfe00, 0xfe0f), (0xfff0, 0xfffb), (0xe0000, 0xe0fff)];
        let code = c as u32;
        let blank = matches!(code, 0..=0x20 | 0x7f..=0xa0 | 0x1680 | 0x2000..=0x200a | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000);
        blank || listed.contains(&code) || ranges.iter().any(|(from, to)| (*from..=*to).contains(&code))
    };
    let number = {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        // Rust reads more words than digits, and no sign twice.
        unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c))
            && unsigned.parse::<f64>().is_ok()
    };
    let mut out = String::new();
    let mut begin = true;
    let characters: Vec<char> = text.chars().collect();
    for (at, c) in characters.iter().enumerate() {
        if begin {
            let skipped = |c: &char| invisible(*c) && !"\n\r".contains(*c);
            let mut rest = characters[at..].iter().copied();
            let is_whole = at == 0;
            let found = if is_whole {
                rest.find(|c| "\t\n\r".contains(*c) || !invisible(*c))
            } else {
                rest.find(|c| *c != '"' && !skipped(c))
            };
            let runs = found.is_some_and(|c| STARTS.contains(&c) || is_whole && "\t\n\r".contains(c));
            if runs && !(is_whole && number) {
                out.push('\'');
            }
        }
        out.push(*c);
        begin = ";\n\r".contains(*c);
    }
    out
}

/// Texts of what matters here, and of anything.
fn texts() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "=",
        "+",
        "-",
        "@",
        "＝",
        "＋",
        "－",
        "＠",
        ";",
        ";",
        "\n",
        "\r",
        "\r\n",
        "\t",
        ",",
        "\"",
        "'",
        " ",
        "\u{a0}",
        "\u{200b}",
        "\u{feff}",
        "\u{3000}",
        "\u{b}",
        "\0",
        "\u{2028}",
        "\u{180e}",
        "1",
        "1.5",
        "e5",
        ".",
        "x",
        "é",
        "क",
        "ー",
        "\u{34f}",
        "\u{202e}",
        "\u{e0001}",
        "\u{85}",
        "−",
    ]);
    let pieces = prop_oneof![6 => special.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    proptest::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_text_is_read_as_the_naive_guard_has_it(text in texts()) {
        let expected = naive(&text);
        prop_assert_eq!(read(&text), &*expected, "{:?}", &text);
        // What stands in lines says by itself that something is to be done; without guard nothing is changed.
        let mut out = Vec::new();
        let needed = spelling::cell(&mut out, &text, false);
        prop_assert!(needed || expected == text);
        prop_assert_eq!(spelling::cells(&out).collect::<Vec<_>>(), [&*text]);
        if !text.contains('\t') {
            prop_assert_eq!(needed, expected != text);
        }
        // Guarded once is guarded.
        prop_assert_eq!(naive(&expected), &*expected);
    }

    #[test]
    fn first_bytes_that_are_passed_over_begin_nothing(c in any::<char>(), rest in texts()) {
        let text = format!("{c}{rest}").replace([';', '\n', '\r', '\t'], "");
        if text.bytes().next().is_some_and(|first| !may_begin(first)) {
            prop_assert_eq!(guard(&text), Guard::default(), "{:?}", text);
        }
    }
}

#[test]
fn every_character_that_counts_has_its_first_byte_in_the_set() {
    for c in char::MIN..=char::MAX {
        if starts(c) || is_invisible(c) {
            assert!(may_begin(c.to_string().as_bytes()[0]), "{c:?}");
        }
    }
}

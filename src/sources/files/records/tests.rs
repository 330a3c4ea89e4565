use super::*;

/// Every record as `line: a|b`, with its fault; read through buffers of each of some sizes, alike.
fn read(text: &str, dialect: CsvDialect) -> Vec<String> {
    let read = |size| {
        let mut records = Records::new(io::BufReader::with_capacity(size, text.as_bytes()), dialect, b',', 1 << 20);
        let (mut record, mut found) = (Record::default(), Vec::new());
        loop {
            match records.next(&mut record).unwrap() {
                Read::End => return found,
                Read::TooLong => panic!("{text:?}"),
                Read::Open => {
                    found.push(format!("{}: open", record.line));
                    return found;
                }
                Read::Record => {
                    let fields: Vec<_> = record.fields().map(String::from_utf8_lossy).collect();
                    let fault = record.fault.map_or(String::new(), |fault| format!(" {fault:?}*{}", record.lines));
                    found.push(format!("{}: {}{fault}", record.line, fields.join("|")));
                }
            }
        }
    };
    let all = read(1 << 16);
    for size in [1, 2, 3] {
        assert_eq!(read(size), all, "{text:?} {size}");
    }
    all
}

#[test]
fn rfc_4180() {
    use CsvDialect::Rfc4180;
    for (text, expected) in [
        ("", &[][..]),
        ("\n\r\n", &[]),
        ("a,b", &["1: a|b"]),
        ("a,b\n", &["1: a|b"]),
        ("a,\n,b\r\n\r\nc,d", &["1: a|", "2: |b", "4: c|d"]),
        ("a,b\rc,d\r", &["1: a|b", "2: c|d"]),
        ("\"a,b\",\"\"\n", &["1: a,b|"]),
        ("\"a\"\"b\"\n", &["1: a\"b"]),
        ("\"a\nb\r\nc\",d\ne,f\n", &["1: a\nb\r\nc|d", "4: e|f"]),
        ("5\" pipe,x\n", &["1: 5\" pipe|x"]),
        ("{\\\"a\\\": 4},\"x\"\n", &["1: {\\\"a\\\": 4}|x"]),
        ("\"a\"x,b\n", &["1: ax|b AfterQuote*1"]),
        ("\"a\" ,b\n", &["1: a |b AfterQuote*1"]),
        ("\"An\\\"n\",b\n", &["1: An\\n\"|b Backslash*1"]),
        ("\"a\",5\" x\n", &["1: a|5\" x Bare*1"]),
        // The wrong quote swallows a line.
        ("\"An\\\"\",b\nc,\"d\"\n", &["1: An\\\",b\nc,d\" AfterQuote*2"]),
        ("a,\"b\nc,d\n", &["1: open"]),
        ("a,b\nc,\"d\"\"", &["1: a|b", "2: open"]),
        ("\"a\"", &["1: a"]),
    ] {
        assert_eq!(read(text, Rfc4180), expected, "{text:?}");
    }
}

#[test]
fn backslashes_escape() {
    use CsvDialect::{Cqlsh, Spark};
    for (text, spark, cqlsh) in [
        (r#""a\"b\\c""#, r#"1: a"b\c"#, r#"1: a"b\c"#),
        (r"a\b,c\,d", r"1: a\b|c\|d", "1: ab|c,d"),
        (r#""a\nb",c"#, r"1: a\nb|c", "1: a\nb|c"),
        (r#"{\"a\": 4},"x, y""#, r#"1: {\"a\": 4}|x, y"#, r#"1: {"a": 4}|x, y"#),
        (r#""a""b""#, r#"1: a"b" Doubled*1"#, r#"1: a"b" Doubled*1"#),
        (r#""a\"#, "1: open", "1: open"),
        ("\"a\\\nb\",c\nd,e", "1: a\\\nb|c", "1: a\nb|c"),
    ] {
        assert_eq!(read(text, Spark)[0], spark, "{text:?}");
        assert_eq!(read(text, Cqlsh)[0], cqlsh, "{text:?}");
    }
    assert_eq!(read("\"a\\\nb\",c\nd,e", Spark)[1], "3: d|e");
}

/// Records are measured as they stand in the file, whatever is left of them: quotes and delimiters too.
#[test]
fn a_record_does_not_take_all_memory() {
    const MOST: usize = 1_000;
    let long = |bytes: usize| [format!("\"{}\"", "c".repeat(bytes - 2)), "x".repeat(bytes), ",".repeat(bytes)];
    for size in [1, 64, 4_096] {
        for (bytes, expected) in [(MOST, Read::Record), (MOST + 1, Read::TooLong)] {
            for record in long(bytes) {
                for (end, bytes_of_end) in [("\n", 1), ("", 0)] {
                    let text = format!("\n\n{record}{end}");
                    let input = io::BufReader::with_capacity(size, text.as_bytes());
                    let most = MOST + bytes_of_end;
                    let mut records = Records::new(input, CsvDialect::Rfc4180, b',', most);
                    let mut found = Record::default();
                    assert_eq!(records.next(&mut found).unwrap(), expected, "{bytes} {size}");
                    assert_eq!(found.line, 3);
                }
            }
        }
    }
    let text = format!("a,b\n\"{}", "c,d\n".repeat(1_000));
    let mut records = Records::new(text.as_bytes(), CsvDialect::Rfc4180, b',', MOST);
    let mut record = Record::default();
    assert_eq!(records.next(&mut record).unwrap(), Read::Record);
    assert_eq!(records.next(&mut record).unwrap(), Read::TooLong);
}

#[test]
fn of_many_fields_only_some_are_kept() {
    let text = ",".repeat(1_000);
    let mut records = Records::new(text.as_bytes(), CsvDialect::Rfc4180, b',', 1 << 20);
    records.keep(3);
    let mut record = Record::default();
    assert_eq!(records.next(&mut record).unwrap(), Read::Record);
    assert_eq!((record.len(), record.fields().count()), (1_001, 3));
}

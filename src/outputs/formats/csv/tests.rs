use std::borrow::Cow;

use super::*;
use crate::columnar::encoded_rows::{EncodedRows, Layout, RowBlock};

fn column<'a>(heading: &'a str, from_data: bool, values: Values<'a>) -> TableColumn<'a> {
    TableColumn { heading: Cow::Borrowed(heading), from_data, values }
}

fn csv(columns: Vec<TableColumn<'_>>, rows: usize, options: CsvOptions) -> String {
    let mut bytes = Vec::new();
    let written = write(&mut &Finished { rows, listed: None, columns }, options, &mut bytes).unwrap();
    assert_eq!(written, rows as u64);
    String::from_utf8(bytes).unwrap()
}

/// One text cell as it is written, heading and line end aside.
fn cell(text: &str, options: CsvOptions) -> String {
    let column = column("h", false, Values::Text(vec![Cow::Borrowed(text)]));
    csv(vec![column], 1, options).strip_prefix("h\n").unwrap().strip_suffix('\n').unwrap().to_owned()
}

fn guarded(text: &str) -> String {
    cell(text, CsvOptions::default())
}

#[test]
fn every_kind_of_cell() {
    let columns = vec![
        column("C", false, Values::Constant("same")),
        column("D", false, Values::Date(vec![NaiveDate::from_ymd_opt(2018, 2, 1), None])),
        column("I", false, Values::Int(vec![Some(100), Some(-7)])),
        column("P", false, Values::Percent(vec![Some(0), None])),
        column("N", false, Values::Percent(vec![Some(-33), Some(1_234)])),
        column("T", false, Values::Text(vec!["".into(), "x".into()])),
    ];
    assert_eq!(
        csv(columns, 2, CsvOptions::default()),
        "C,D,I,P,N,T\nsame,01/02/2018,100,0%,-33%,\nsame,,-7,,1234%,x\n"
    );
}

#[test]
fn numbers_and_years_at_their_bounds() {
    let day = |year| NaiveDate::from_ymd_opt(year, 12, 31);
    let columns = vec![
        column("I", false, Values::Int(vec![Some(i64::MIN), Some(i64::MAX)])),
        column("D", false, Values::Date(vec![day(1), day(9999)])),
    ];
    assert_eq!(
        csv(columns, 2, CsvOptions::default()),
        "I,D\n-9223372036854775808,31/12/0001\n9223372036854775807,31/12/9999\n"
    );
}

#[test]
fn quotes_only_where_needed() {
    for (text, expected) in [
        ("plain text; with: much", "plain text; with: much"),
        (" blanks ", " blanks "),
        ("a,b", "\"a,b\""),
        ("say \"hi\"", "\"say \"\"hi\"\"\""),
        ("\"", "\"\"\"\""),
        ("two\nlines", "\"two\nlines\""),
        ("two\rlines", "\"two\rlines\""),
        ("it's", "it's"),
        ("नमस्ते", "नमस्ते"),
    ] {
        assert_eq!(guarded(text), expected, "{text:?}");
    }
}

#[test]
fn formulas_are_guarded_after_leading_spaces() {
    for (text, expected) in [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "\"'\rx\""),
        ("\nx", "\"'\nx\""),
        ("   =1", "'   =1"),
        ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
        ("\u{a0}=1", "'\u{a0}=1"),
        ("\u{ff1d}1", "'\u{ff1d}1"),
        // What comes later is harmless, unless it begins a field to somebody.
        ("a;=1", "a;'=1"),
        ("a=1", "a=1"),
        ("   ", "   "),
        ("'=1", "'=1"),
    ] {
        assert_eq!(guarded(text), expected, "{text:?}");
        let open = cell(text, CsvOptions { formula_guard: false, ..CsvOptions::default() });
        assert_eq!(open.trim_matches('"').replace("\"\"", "\""), text.trim_matches('"'), "{text:?}");
    }
}

#[test]
fn plain_numbers_are_left_alone() {
    for text in ["-1", "+1", "-1.", "-1.5", "-.5", "+.5e3", "-1e5", "-1E+5", "+1.5e-05", "-007"] {
        assert_eq!(guarded(text), text);
    }
    for text in [
        "-",
        "+",
        "-.",
        "--1",
        "+-1",
        "-1.5.2",
        "-1e",
        "-1e+",
        "-e5",
        " -1",
        "-1 ",
        "-1,5",
        "-1%",
        "-٣",
        "-1x",
        "-1e5.0",
        "+91 98450",
        "-1\n",
    ] {
        let written = guarded(text);
        assert!(written.starts_with('\'') || written.starts_with("\"'"), "{text:?}: {written}");
    }
}

#[test]
fn headings_made_from_data_are_guarded_too() {
    let columns = || {
        vec![
            column("=fixed", false, Values::Constant("")),
            column("=data", true, Values::Constant("")),
            column("a, \"b\"", true, Values::Constant("")),
        ]
    };
    assert_eq!(csv(columns(), 0, CsvOptions::default()), "=fixed,'=data,\"a, \"\"b\"\"\"\n");
    let open = CsvOptions { formula_guard: false, ..CsvOptions::default() };
    assert_eq!(csv(columns(), 0, open), "=fixed,=data,\"a, \"\"b\"\"\"\n");
}

#[test]
fn constants_are_guarded() {
    let columns = vec![column("a", false, Values::Constant("@y"))];
    assert_eq!(csv(columns, 1, CsvOptions::default()), "a\n'@y\n");
}

#[test]
fn who_is_listed_comes_first_guarded_and_hidden_where_need_be() {
    let mut lines = RowBlock::new(Layout { cells: 3, public: 1..2 });
    let mut more = EncodedRows::new(lines.layout());
    for text in ["a0", "b, \"0\"", "c0", "=a1", "-b1", "c1", "", "", ""] {
        more.push(text);
    }
    lines.append(more);
    let table = |hidden| Finished {
        rows: 3,
        listed: Some(Listed { headings: vec!["A", "B", "C"], lines: &lines, keys: vec![1, 2, 0], hidden }),
        columns: vec![column("N", false, Values::Int(vec![Some(1), None, Some(3)]))],
    };
    let csv = |table: Finished<'_>, options: CsvOptions| {
        let mut bytes = Vec::new();
        write(&mut &table, options, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let open = CsvOptions { formula_guard: false, ..CsvOptions::default() };
    assert_eq!(csv(table(None), CsvOptions::default()), "A,B,C,N\n'=a1,'-b1,c1,1\n,,,\na0,\"b, \"\"0\"\"\",c0,3\n");
    assert_eq!(csv(table(None), open), "A,B,C,N\n=a1,-b1,c1,1\n,,,\na0,\"b, \"\"0\"\"\",c0,3\n");
    let hidden = || Some(vec![true, true, true]);
    assert_eq!(csv(table(hidden()), CsvOptions::default()), "A,B,C,N\n,'-b1,,1\n,,,\n,\"b, \"\"0\"\"\",,3\n");
    assert_eq!(csv(table(hidden()), open), "A,B,C,N\n,-b1,,1\n,,,\n,\"b, \"\"0\"\"\",,3\n");
}

#[test]
fn line_ends_and_the_byte_order_mark() {
    let columns = || vec![column("a", false, Values::Constant("x")), column("b", false, Values::Constant("y\nz"))];
    let options = CsvOptions { crlf: true, bom: true, ..CsvOptions::default() };
    assert_eq!(csv(columns(), 2, options), "\u{feff}a,b\r\nx,\"y\nz\"\r\nx,\"y\nz\"\r\n");
    assert_eq!(csv(columns(), 0, CsvOptions::default()), "a,b\n");
}

#[test]
fn a_lonely_empty_cell_is_still_a_row() {
    assert_eq!(guarded(""), "\"\"");
}

#[test]
fn large_tables_are_written_whole_and_read_back_alike() {
    let cells: Vec<String> = (0..20_000).map(|n| format!("cell {n}, \"{n}\"")).collect();
    let text = |_| Values::Text(cells.iter().map(|cell| Cow::Borrowed(cell.as_str())).collect());
    let columns = vec![column("a", false, text(0)), column("b", false, text(1))];
    let written = csv(columns, cells.len(), CsvOptions::default());
    let mut reader = ::csv::Reader::from_reader(written.as_bytes());
    let read: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(read.len(), cells.len());
    assert!(read.iter().zip(&cells).all(|(record, cell)| &record[0] == cell && &record[1] == cell));
}

#[test]
fn a_writer_that_fails_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let table = Finished { rows: 0, listed: None, columns: vec![column("a", false, Values::Constant(""))] };
    let error = write(&mut &table, CsvOptions::default(), &mut Full).unwrap_err();
    let WriteError::Store(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

//! Parquet columns by how they are declared: UUID, JSON and other names of text, text that is none, types that are refused.

use std::fs::File;

use ::parquet::basic::{Compression, Encoding};
use ::parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType};
use ::parquet::encryption::encrypt::FileEncryptionProperties;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

/// A file of required columns of bytes, in row groups of `group` rows.
fn file(path: &Path, schema: &str, columns: &[Vec<&[u8]>], group: usize, with: WriterPropertiesBuilder) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let fixed: Vec<bool> = schema
        .get_fields()
        .iter()
        .map(|field| field.get_physical_type() == ::parquet::basic::Type::FIXED_LEN_BYTE_ARRAY)
        .collect();
    let mut file = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(with.build())).unwrap();
    for start in (0..columns[0].len()).step_by(group) {
        let mut writer = file.next_row_group().unwrap();
        for (values, fixed) in columns.iter().zip(&fixed) {
            let values = &values[start..(start + group).min(values.len())];
            let bytes: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(value.to_vec())).collect();
            let mut column = writer.next_column().unwrap().unwrap();
            if *fixed {
                let fixed: Vec<FixedLenByteArray> = bytes.into_iter().map(FixedLenByteArray::from).collect();
                column.typed::<FixedLenByteArrayType>().write_batch(&fixed, None, None).unwrap();
            } else {
                column.typed::<ByteArrayType>().write_batch(&bytes, None, None).unwrap();
            }
            column.close().unwrap();
        }
        writer.close().unwrap();
    }
    file.close().unwrap();
}

fn users(kind: Kind) -> Vec<Column> {
    vec![Column::key("userid"), Column::optional("x", kind)]
}

fn read_users(schema: &str, columns: &[Vec<&[u8]>], kind: Kind) -> Result<Read, SourceError> {
    let directory = tempfile::tempdir().unwrap();
    file(&directory.path().join("user.parquet"), schema, columns, 1000, WriterProperties::builder());
    read(directory.path(), &scan(Table::User, users(kind), None))
}

/// As every program spells it: lower case, with hyphens. A table whose key is that text has the same key.
#[test]
fn a_uuid_is_its_text_in_keys_too() {
    let directory = tempfile::tempdir().unwrap();
    let ids: Vec<[u8; 16]> =
        (0..100u8).map(|n| [n, 0xfe, 0xff, n, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xab]).collect();
    let text = |n: u8| format!("{n:02x}feff{n:02x}-0506-0708-090a-0b0c0d0e0fab");
    let ids: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
    let schema =
        "message m { required fixed_len_byte_array(16) userid (UUID); required fixed_len_byte_array(16) x (UUID); }";
    for (dictionary, statistics) in
        [(true, EnabledStatistics::Page), (false, EnabledStatistics::Chunk), (true, EnabledStatistics::None)]
    {
        let with = WriterProperties::builder().set_dictionary_enabled(dictionary).set_statistics_enabled(statistics);
        file(&directory.path().join("user.parquet"), schema, &[ids.clone(), ids.clone()], 10, with);
        let all = read(directory.path(), &scan(Table::User, users(Kind::Text), None)).unwrap();
        let expected: Vec<String> = (0..100).map(|n| format!("{}|{0}", text(n))).collect();
        assert_eq!(all.rows, expected);
        assert!(all.stats.odd.is_empty() && all.stats.bad.is_empty());
        for wanted in [&[7][..], &[0, 99], &(0..100).collect::<Vec<u8>>()] {
            let keys: Vec<String> = wanted.iter().map(|n| text(*n)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let some = read(directory.path(), &scan(Table::User, users(Kind::Text), Some(&keys))).unwrap();
            assert_eq!(some.rows, keys.iter().map(|key| format!("{key}|{key}")).collect::<Vec<_>>());
        }
        // As text, ids of other bytes or capitals are other ids.
        let other = text(7).to_uppercase();
        assert!(
            read(directory.path(), &scan(Table::User, users(Kind::Text), Some(&[&other]))).unwrap().rows.is_empty()
        );
    }
}

/// JSON in the pages of a dictionary was "no sound Parquet file".
#[test]
fn text_by_its_other_names_is_text() {
    let keys: Vec<String> = (0..3000).map(|n| format!("u{n:04}")).collect();
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    let values: Vec<&[u8]> = (0..3000).map(|n| if n % 2 == 0 { br#"["a", 1]"#.as_slice() } else { b"" }).collect();
    for name in ["(STRING)", "(JSON)", "(ENUM)", ""] {
        let schema = format!("message m {{ required binary userid {name}; required binary x {name}; }}");
        for encoding in
            [None, Some(Encoding::PLAIN), Some(Encoding::DELTA_BYTE_ARRAY), Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)]
        {
            let with = WriterProperties::builder();
            let with = match encoding {
                None => with,
                Some(encoding) => with.set_dictionary_enabled(false).set_encoding(encoding),
            };
            let directory = tempfile::tempdir().unwrap();
            file(&directory.path().join("user.parquet"), &schema, &[keys.clone(), values.clone()], 1000, with);
            let text =
                read(directory.path(), &scan(Table::User, users(Kind::Text), Some(&["u0002", "u2999"]))).unwrap();
            assert_eq!(text.rows, [r#"u0002|["a", 1]"#, "u2999|"], "{name} {encoding:?}");
            let json = read(directory.path(), &scan(Table::User, users(Kind::Json), None)).unwrap();
            assert_eq!(json.rows.len(), 3000);
            assert_eq!(json.rows[2], r#"u0002|["a",1]"#, "{name} {encoding:?}");
        }
    }
}

/// It costs its cell, wherever in the file it stands: no row is lost, and none comes twice.
#[test]
fn text_that_is_not_utf8_costs_its_cell() {
    const ROWS: usize = 30_000;
    let keys: Vec<String> = (0..ROWS).map(|n| format!("u{n:05}")).collect();
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    for (at, dictionary, group) in
        [(0, true, ROWS), (8_191, false, ROWS), (8_192, false, ROWS), (29_999, false, 7_000), (20_000, true, 7_000)]
    {
        let mut values: Vec<&[u8]> = vec![b"x"; ROWS];
        values[at] = b"J\xfcrgen";
        let directory = tempfile::tempdir().unwrap();
        let schema = "message m { required binary userid (STRING); required binary x (STRING); }";
        // Small pages, so that the others of a row group are read before.
        let with = WriterProperties::builder()
            .set_dictionary_enabled(dictionary)
            .set_data_page_size_limit(4_096)
            .set_data_page_row_count_limit(1_000);
        file(&directory.path().join("user.parquet"), schema, &[keys.clone(), values], group, with);
        let all = read(directory.path(), &scan(Table::User, users(Kind::Text), None)).unwrap();
        let expected: Vec<String> =
            (0..ROWS).map(|n| format!("u{n:05}|{}", if n == at { "J\u{fffd}rgen" } else { "x" })).collect();
        assert!(all.rows == expected, "{at} {dictionary} {group}: {} rows", all.rows.len());
        assert_eq!(all.stats.odd.get("bytes that are not UTF-8"), Some(&1));
        // Few rows, which are jumped to.
        let (key, next) = (format!("u{at:05}"), format!("u{:05}", (at + 1) % ROWS));
        let few = read(directory.path(), &scan(Table::User, users(Kind::Text), Some(&[&key, &next]))).unwrap();
        let mut expected = [format!("{key}|J\u{fffd}rgen"), format!("{next}|x")];
        expected.sort();
        assert_eq!(few.rows, expected);
    }
}

/// A key of such bytes is found by its mended text, where the key column is looked at first too.
#[test]
fn keys_that_are_not_utf8_do_not_stop_the_load() {
    let schema = "message m { required binary userid (STRING); required binary x (STRING); }";
    let columns = [vec![b"u1".as_slice(), b"u\xff", b"u3"], vec![b"a".as_slice(), b"b", b"c"]];
    let all = read_users(schema, &columns, Kind::Text).unwrap();
    assert_eq!(all.rows, ["u1|a", "u3|c", "u\u{fffd}|b"]);
    let directory = tempfile::tempdir().unwrap();
    file(&directory.path().join("user.parquet"), schema, &columns, 1000, WriterProperties::builder());
    let one = read(directory.path(), &scan(Table::User, users(Kind::Text), Some(&["u3"]))).unwrap();
    assert_eq!(one.rows, ["u3|c"]);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let keys = vec![b"u1".as_slice()];
    let refused = |column: &str, value: &'static [u8]| {
        let schema = format!("message m {{ required binary userid (STRING); {column}; }}");
        let error = read_users(&schema, &[keys.clone(), vec![value]], Kind::Text).err().unwrap();
        assert!(!error.may_pass);
        error.message
    };
    for (column, value, told) in [
        ("required binary x (BSON)", b"\x05\0\0\0\0".as_slice(), "of type BSON"),
        ("required fixed_len_byte_array(12) x (INTERVAL)", &[0; 12], "of type INTERVAL"),
        ("required fixed_len_byte_array(16) x", &[0; 16], "of 16 raw bytes (neither UUID nor text)"),
        ("required fixed_len_byte_array(3) x", b"abc", "of 3 raw bytes (neither UUID nor text)"),
    ] {
        let expected = format!("table user: user.parquet has a column 'x' {told}, which is not read");
        assert_eq!(refused(column, value), expected);
        // Nobody asks for it.
        let schema = format!("message m {{ required binary userid (STRING); {}; }}", column.replace(" x", " y"));
        assert_eq!(read_users(&schema, &[keys.clone(), vec![value]], Kind::Text).unwrap().rows, ["u1|"]);
    }
}

#[test]
fn half_floats_and_decimals_of_fixed_bytes_are_numbers() {
    let schema = "message m { required binary userid (STRING); required fixed_len_byte_array(2) x (FLOAT16); }";
    let halves = read_users(schema, &[vec![b"u1", b"u2"], vec![&[0x00, 0x3e], &[0x00, 0xc0]]], Kind::Decimal).unwrap();
    assert_eq!(halves.rows, ["u1|1500000", "u2|-2000000"]);
    let schema = "message m { required binary userid (STRING); required fixed_len_byte_array(5) x (DECIMAL(10,2)); }";
    let cents = read_users(schema, &[vec![b"u1"], vec![&[0, 0, 0, 1, 0x23]]], Kind::Decimal).unwrap();
    assert_eq!(cents.rows, ["u1|2910000"]);
}

#[test]
fn encrypted_files_and_columns_are_called_so() {
    let schema = "message m { required binary userid (STRING); required binary x (STRING); }";
    let columns = [vec![b"u1".as_slice()], vec![b"a".as_slice()]];
    let key = b"0123456789012345".to_vec();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("user.parquet");
    let whole = FileEncryptionProperties::builder(key.clone()).build().unwrap();
    file(&path, schema, &columns, 10, WriterProperties::builder().with_file_encryption_properties(whole));
    let told = |kinds| read(directory.path(), &scan(Table::User, kinds, None)).err().unwrap().message;
    assert_eq!(told(users(Kind::Text)), "table user: user.parquet is encrypted, which this build does not read");

    let one = FileEncryptionProperties::builder(key.clone()).with_plaintext_footer(true).with_column_key("x", key);
    let with = WriterProperties::builder().with_file_encryption_properties(one.build().unwrap());
    file(&path, schema, &columns, 10, with.set_compression(Compression::SNAPPY));
    let expected = "table user: user.parquet has an encrypted column 'x', which this build does not read";
    assert_eq!(told(users(Kind::Text)), expected);
    let plain = read(directory.path(), &scan(Table::User, vec![Column::key("userid")], None)).unwrap();
    assert_eq!(plain.rows, ["u1"]);
}

//! Files that are not what their names say, and files of no bytes.

use super::*;

fn users() -> Vec<Column> {
    vec![Column::key("userid"), Column::optional("firstname", Kind::Text)]
}

fn read_users(files: &[(&str, &[u8])]) -> Result<Read, SourceError> {
    read(holding(files).path(), &scan(Table::User, users(), None))
}

/// What clients are told, without the table's name.
fn told(files: &[(&str, &[u8])]) -> String {
    let error = read_users(files).err().unwrap();
    assert!(!error.may_pass);
    error.message.strip_prefix("table user: ").unwrap().to_owned()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 0).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_name_of_a_format_reads() {
    let csv = b"userid,firstname\nu1,A\n".as_slice();
    let tsv = b"userid\tfirstname\nu1\t\"A\"\n".as_slice();
    let json = br#"{"userid": "u1", "firstname": "A"}"#.as_slice();
    for (name, content) in [
        ("user.csv", csv.to_vec()),
        ("user.CSV", csv.to_vec()),
        ("user.csv.zst", zstd(csv)),
        ("user.csv.zst", [zstd(csv), zstd(b"u2,B\n")].concat()),
        ("user.Csv.Gz", gzip(csv)),
        ("user.tsv", tsv.to_vec()),
        ("user.tsv.gz", gzip(tsv)),
        ("user.json", json.to_vec()),
        ("user.json.gz", gzip(json)),
        ("user.ndjson", json.to_vec()),
        ("user.ndjson.zst", zstd(json)),
        ("user.jsonl", json.to_vec()),
        ("user/part-00000-x-c000.json", json.to_vec()),
        ("user.csv/part-00000-x-c000.csv.gz", gzip(csv)),
    ] {
        let mut files = vec![(name, content.as_slice())];
        files.extend(name.starts_with("user/").then_some(("user/_SUCCESS", b"".as_slice())));
        let read = read_users(&files);
        assert_eq!(read.unwrap().rows[0], "u1|A", "{name}");
    }
}

#[test]
fn a_truncated_or_damaged_packed_file_stops_the_load() {
    let csv: Vec<u8> = (0..2000).flat_map(|n| format!("u{n},{}\n", n * 7919).into_bytes()).collect();
    let csv = [b"userid,firstname\n".as_slice(), &csv].concat();
    let packed = zstd(&csv);
    assert_eq!(told(&[("user.csv.zst", &packed[..packed.len() - 9])]), "user.csv.zst breaks off (truncated zstd)");
    let mut damaged = packed;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    assert_eq!(told(&[("user.csv.zst", &damaged)]), "user.csv.zst is no sound zstd file");
}

#[test]
fn what_was_found_is_said() {
    let csv = b"userid,firstname\nu1,A\n".as_slice();
    let utf16: Vec<u8> = "\u{feff}userid,firstname\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, content, expected) in [
        ("user.csv", utf16.as_slice(), "is UTF-16, not UTF-8"),
        ("user.jsonl", &utf16, "is UTF-16, not UTF-8"),
        ("user.csv", &gzip(csv), "is compressed with gzip, which its name does not say"),
        ("user.csv", &zstd(csv), "is compressed with zstd, which its name does not say"),
        ("user.csv.gz", csv, "is not compressed with gzip, as its name says"),
        ("user.csv.zst", csv, "is not compressed with zstd, as its name says"),
        ("user.csv.gz", &zstd(csv), "is not compressed with gzip, as its name says"),
        ("user.csv", b"PAR1\x15\x04\x15", "is a Parquet file, which its name does not say"),
        ("user.csv", b"<!doctype html><html>", "is an HTML page: was an error page saved?"),
        ("user.json", b"<?xml version=\"1.0\"?>", "is XML: was a store's error message saved?"),
        ("user.parquet", b"<?xml version=\"1.0\"?>", "is XML: was a store's error message saved?"),
        ("user.parquet", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file itself"),
        ("user.parquet", csv, "is text, not Parquet"),
        ("user.parquet", &gzip(csv), "is compressed with gzip, which its name does not say"),
        ("user.json", b" [{\"userid\": \"u1\"}]", "is a JSON array, not JSON lines: write one object a line"),
        ("user.json", b"[\n", "is a JSON array, not JSON lines: write one object a line"),
        ("user.json", b"{\n  \"userid\"", "has JSON objects over several lines: write one object a line"),
    ] {
        assert_eq!(told(&[(name, content)]), format!("{name} {expected}"));
    }
}

/// A line that is no header is somebody's data: it is not shown.
#[test]
fn a_header_that_is_missing_or_otherwise_separated() {
    for (name, content, expected) in [
        ("user.csv", "userid;firstname;x\nu1;A;\n", "seems to be separated by ';': it has no column 'userid' or 'id'"),
        ("user.csv", "userid\tfirstname\nu1\tA\n", "seems to be separated by tabs: it has no column 'userid' or 'id'"),
        ("user.csv", "a|b|c\n", "seems to be separated by '|': it has no column 'userid' or 'id'"),
        ("user.tsv", "userid,firstname\n", "seems to be separated by ',': it has no column 'userid' or 'id'"),
        ("user.csv", "uid,FirstName\nu1,A\n", "has no column 'userid' or 'id', it has 'uid', 'FirstName'"),
        (
            "user.csv",
            "u1,Ann,L\nu2,Bob,M\n",
            "seems to lack its header line: it has no column 'userid' or 'id', nor any other that is needed",
        ),
    ] {
        assert_eq!(told(&[(name, content.as_bytes())]), format!("{name} {expected}"));
    }
    let error = read_users(&[("user.csv", b"userid;firstname\n")]).err().unwrap();
    assert!(error.detail.contains("its one column is 'userid;firstname'"), "{}", error.detail);
    let error = read_users(&[("user.csv", b"u1;Ann\n")]).err().unwrap();
    assert!(!error.detail.contains("Ann"), "{}", error.detail);
}

#[test]
fn two_forms_are_named_with_their_paths() {
    let directory = holding(&[("user.csv", b""), ("user.CSV.gz", b"")]);
    let error = read(directory.path(), &scan(Table::User, users(), None)).err().unwrap();
    assert_eq!(error.message, "table user: user.CSV.gz and user.csv are both there");
    let place = directory.path().display();
    assert_eq!(error.detail, format!("table user: {place}/user.CSV.gz and {place}/user.csv are both there"));
    let error = read_users(&[("user.xlsx", b"")]).err().unwrap();
    assert!(error.message.starts_with("table user: user.xlsx is no .parquet, .csv"), "{}", error.message);
}

#[test]
fn no_bytes_are_no_table() {
    let header = b"userid,firstname\n".as_slice();
    let row = br#"{"userid": "u1"}"#.as_slice();
    for name in ["user.csv", "user.jsonl", "user.parquet", "user.csv.gz", "user.json.zst"] {
        assert_eq!(told(&[(name, b"")]), format!("{name} is empty: its upload probably broke off"));
    }
    for (name, content) in [
        ("user.csv.gz", gzip(b"")),
        ("user.json.zst", zstd(b"")),
        ("user.csv", b"\n \n"[..1].to_vec()),
        ("user.json", b" \n\n".to_vec()),
    ] {
        assert_eq!(told(&[(name, &content)]), format!("{name} is empty: its upload probably broke off"));
    }
    let all = "user/a.csv is empty, as all files beside it: their upload probably broke off";
    assert_eq!(told(&[("user/a.csv", b""), ("user/b.csv", b"")]), all);
    // Beside others it is nothing; a header alone is an empty table.
    assert_eq!(read_users(&[("user/a.csv", b""), ("user/b.csv", b"userid\nu1\n")]).unwrap().rows, ["u1|"]);
    assert_eq!(read_users(&[("user/a.json", b""), ("user/b.json", row)]).unwrap().rows, ["u1|"]);
    assert!(read_users(&[("user/a.csv", b""), ("user/b.csv", header)]).unwrap().rows.is_empty());
    assert!(read_users(&[("user.csv", header)]).unwrap().rows.is_empty());
    assert!(read_users(&[("user.csv.gz", &gzip(header))]).unwrap().rows.is_empty());
    // A partition whose only file has no bytes has lost its rows, whatever others have.
    let one = ("user/block=1/a.csv", b"".as_slice());
    let other = ("user/block=2/a.csv", b"userid\nu1\n".as_slice());
    assert_eq!(told(&[one, other]), "user/block=1/a.csv is empty: its upload probably broke off");
}

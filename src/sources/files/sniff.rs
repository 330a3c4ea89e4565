//! What the first bytes of a file say that it is, where it is not what its name says.

/// What a file is that is no plain text in UTF-8; as it follows the file's name. `None`: nothing speaks against it.
pub(super) fn not_text(start: &[u8]) -> Option<&'static str> {
    /// What a file begins with, and what it is then. The longer first where one begins like the other.
    const BEGIN: [(&[u8], &str); 17] = [
        (b"\xFF\xFE\0\0", "is UTF-32, not UTF-8"),
        (b"\0\0\xFE\xFF", "is UTF-32, not UTF-8"),
        (b"\xFF\xFE", "is UTF-16, not UTF-8"),
        (b"\xFE\xFF", "is UTF-16, not UTF-8"),
        (b"\x1F\x8B", "is compressed with gzip, which its name does not say"),
        (b"\x28\xB5\x2F\xFD", "is compressed with zstd, which its name does not say"),
        (b"BZh", "is compressed with bzip2, which is not read"),
        (b"\xFD7zXZ\0", "is compressed with xz, which is not read"),
        (b"\x04\x22\x4D\x18", "is compressed with lz4, which is not read"),
        (b"PK\x03\x04", "is a zip archive or an Excel file, which is not read"),
        (b"\xD0\xCF\x11\xE0", "is an Excel file, which is not read"),
        (b"PAR1", "is a Parquet file, which its name does not say"),
        (b"PARE", "is a Parquet file, which its name does not say"),
        (b"ORC", "is an ORC file, which is not read"),
        (b"Obj\x01", "is an Avro file, which is not read"),
        (b"SQLite format 3\0", "is a SQLite database, which is not read"),
        (b"version https://git-lfs", "is a Git LFS pointer, not the file itself"),
    ];
    // `ORC` and `BZh` may begin a heading; then text follows, and they are binary.
    let is_binary = |at: &[u8]| at.iter().take(64).any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n'));
    let begins = |(begin, _): &&(&[u8], &str)| {
        start.starts_with(begin) && (!begin.iter().all(u8::is_ascii_alphanumeric) || is_binary(&start[begin.len()..]))
    };
    BEGIN.iter().find(begins).map(|(_, what)| *what).or_else(|| no_mark(start))
}

/// What has no mark of its own.
fn no_mark(start: &[u8]) -> Option<&'static str> {
    match start {
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => return Some("is UTF-16, not UTF-8"),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => return Some("is UTF-16, not UTF-8"),
        [first, 0, 0, 0, ..] if *first != 0 => return Some("is UTF-32, not UTF-8"),
        _ => (),
    }
    let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if begins(b"<!doctype html") || begins(b"<html") {
        return Some("is an HTML page: was an error page saved?");
    }
    (begins(b"<?xml") || begins(b"<error>")).then_some("is XML: was a store's error message saved?")
}

/// What a file is that its reader did not take for Parquet.
pub(super) fn not_parquet(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"PAR1") || start.starts_with(b"PARE") {
        return None;
    }
    let is_text = !start.is_empty()
        && std::str::from_utf8(start).map_or_else(|error| start.len() - error.valid_up_to() < 4, |_| true);
    not_text(start).or_else(|| is_text.then_some("is text, not Parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_called_by_its_name() {
        let utf16: Vec<u8> = "userid".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (start, told) in [
            (b"\xFF\xFEu\0s\0".as_slice(), "is UTF-16"),
            (&utf16, "is UTF-16"),
            (b"\xFE\xFF\0u", "is UTF-16"),
            (b"\xFF\xFE\0\0u\0\0\0", "is UTF-32"),
            (b"\x1F\x8B\x08", "is compressed with gzip"),
            (b"\x28\xB5\x2F\xFD", "is compressed with zstd"),
            (b"PK\x03\x04", "is a zip archive"),
            (b"PAR1\x15\x04", "is a Parquet file"),
            (b"ORC\x11\x00", "is an ORC file"),
            (b"  <!DOCTYPE HTML>", "is an HTML page"),
            (b"<?xml version=\"1.0\"?><Error>", "is XML"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        ] {
            assert!(not_text(start).is_some_and(|what| what.starts_with(told)), "{start:?}");
        }
        for start in
            [b"userid,firstname".as_slice(), b"ORC,BZh,x\n", b"BZhu,y\n", b"", b"\xEF\xBB\xBFuserid", b"{\"a\":1}"]
        {
            assert_eq!(not_text(start), None, "{start:?}");
        }
    }
}

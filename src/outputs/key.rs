//! Object keys: the only place where paths of reports are made.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything outside `[A-Za-z0-9._:-]` is percent-encoded in a segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b':').remove(b'-');

/// What the file of a report is called before its batch.
pub(super) const REPORT: &str = "reports-";
/// Hexadecimal digits of a claim.
const CLAIM: usize = 16;

/// The longest name that file systems take, in bytes.
const LONGEST_SEGMENT: usize = 255;

/// Why a path is refused, to be said after the name of the path: `reportPath must not begin with a slash`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `/reports`
    #[error("must not begin with a slash: it is a path inside the store")]
    LeadingSlash,
    /// `a//b`
    #[error("has an empty segment")]
    EmptySegment,
    /// `a/../b`
    #[error("must not contain a segment '{0}'")]
    DotSegment(&'static str),
    /// A line end, a NUL, …
    #[error("contains a control character")]
    ControlCharacter,
    /// No file system would take it.
    #[error("has a segment of {0} bytes, {LONGEST_SEGMENT} are allowed")]
    LongSegment(usize),
}

/// A tag, request id or batch id that makes no file name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is too long for a file name: {bytes} bytes, {LONGEST_SEGMENT} are allowed")]
pub struct KeyError {
    what: &'static str,
    bytes: usize,
}

/// A directory within the store, checked segment by segment; without slashes at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReportPath(String);

impl ReportPath {
    /// Checks a `reportPath`. One slash at the end is allowed, and empty text means the store's root.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.starts_with('/') {
            return Err(PathError::LeadingSlash);
        }
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self(String::new()));
        }
        for segment in path.split('/') {
            match segment {
                "" => return Err(PathError::EmptySegment),
                "." => return Err(PathError::DotSegment(".")),
                ".." => return Err(PathError::DotSegment("..")),
                _ if segment.chars().any(char::is_control) => return Err(PathError::ControlCharacter),
                _ if segment.len() > LONGEST_SEGMENT => {
                    return Err(PathError::LongSegment(segment.len()));
                }
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for ReportPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a stored file, relative to the store's root: segments joined by single slashes, none of them `.` or
/// `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// `{path}/{tag}/{request_id}/{claim}/reports-{batch}.{extension}`.
    pub fn of_report(
        path: &ReportPath,
        tag: &str,
        request_id: &str,
        claim: &str,
        batch: &str,
        extension: &str,
    ) -> Result<Self, KeyError> {
        let file = report_name(batch, extension);
        if file.len() > LONGEST_SEGMENT {
            return Err(KeyError { what: "the batch id", bytes: file.len() });
        }
        let mut key = String::new();
        for segment in [path.0.as_str(), &segment(tag, "tag")?, &segment(request_id, "request_id")?, claim, &file] {
            if !segment.is_empty() {
                if !key.is_empty() {
                    key.push('/');
                }
                key.push_str(segment);
            }
        }
        Ok(Self(key))
    }

    /// Reads a key that was written to a row.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let path = ReportPath::parse(text)?;
        if path.0.is_empty() || text.ends_with('/') { Err(PathError::EmptySegment) } else { Ok(Self(path.0)) }
    }

    /// Reads back what [`ObjectKey::of_report`] made of a request and its claim. `None`: we never made this key. That is
    /// strict, since files are removed by it: tag and request id are encoded as we encode them, and the claim is sixteen
    /// hexadecimal digits, as all are that the queue gives.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        let mut segments = self.0.rsplit('/');
        let (file, claim) = (segments.next()?, segments.next()?);
        let (request_id, tag) = (segments.next()?, segments.next()?);
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !file.starts_with(REPORT) || claim.len() != CLAIM || !claim.bytes().all(is_digit) {
            return None;
        }
        Some(Origin { tag: decoded(tag)?, request_id: decoded(request_id)?, claim: claim.to_owned() })
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the file of a batch is called, without the directories it is in.
#[must_use]
pub fn report_name(batch: &str, extension: &str) -> String {
    format!("{REPORT}{}.{extension}", utf8_percent_encode(batch, SEGMENT))
}

/// Whose file a report is, as its key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's key.
    pub tag: String,
    /// Unique within the tag.
    pub request_id: String,
    /// The claim under which it was made, sixteen hexadecimal digits.
    pub claim: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One segment, encoded. `.` and `..` consist of allowed characters but mean directories, and an empty one would
/// vanish: they are encoded in full.
fn segment(text: &str, what: &'static str) -> Result<String, KeyError> {
    let encoded = match text {
        "" => "%00".to_owned(),
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => utf8_percent_encode(text, SEGMENT).to_string(),
    };
    if encoded.len() > LONGEST_SEGMENT { Err(KeyError { what, bytes: encoded.len() }) } else { Ok(encoded) }
}

/// The text that [`segment`] made this of; `None` where it made it of none.
fn decoded(encoded: &str) -> Option<String> {
    let text = match encoded {
        "%00" => String::new(),
        _ => percent_decode_str(encoded).decode_utf8().ok()?.into_owned(),
    };
    segment(&text, "").is_ok_and(|again| again == encoded).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_paths_are_checked_segment_by_segment() {
        for (text, error) in [
            ("/abs", PathError::LeadingSlash),
            ("/", PathError::LeadingSlash),
            ("a//b", PathError::EmptySegment),
            ("a//", PathError::EmptySegment),
            ("../x", PathError::DotSegment("..")),
            ("a/../b", PathError::DotSegment("..")),
            ("a/..", PathError::DotSegment("..")),
            ("a/./b", PathError::DotSegment(".")),
            ("a\nb", PathError::ControlCharacter),
            ("a/\u{0}", PathError::ControlCharacter),
        ] {
            assert_eq!(ReportPath::parse(text), Err(error), "{text:?}");
        }
        let long = "x".repeat(256);
        assert!(matches!(ReportPath::parse(&long), Err(PathError::LongSegment(256))));
        for (text, path) in [("course-progress-v2/", "course-progress-v2"), ("a/b", "a/b"), ("", ""), ("..a", "..a")] {
            assert_eq!(ReportPath::parse(text).map(|p| p.to_string()), Ok(path.to_owned()));
        }
    }

    fn key(path: &str, tag: &str, request: &str, batch: &str) -> String {
        let path = ReportPath::parse(path).unwrap();
        ObjectKey::of_report(&path, tag, request, "c1", batch, "csv").unwrap().to_string()
    }

    #[test]
    fn keys_are_segments_joined_by_single_slashes() {
        assert_eq!(
            key("course-progress-v2/", "client-1", "6a54", "0192"),
            "course-progress-v2/client-1/6a54/c1/reports-0192.csv"
        );
        assert_eq!(key("", "t", "r", "b"), "t/r/c1/reports-b.csv");
    }

    #[test]
    fn a_tag_or_batch_cannot_climb_or_split() {
        assert_eq!(key("r", "..", ".", "../x"), "r/%2E%2E/%2E/c1/reports-..%2Fx.csv");
        assert_eq!(key("r", "a/b", "é %", ""), "r/a%2Fb/%C3%A9%20%25/c1/reports-.csv");
        assert_eq!(key("r", "", "r", "b"), "r/%00/r/c1/reports-b.csv");
        assert_eq!(key("r", "a:b_c-d.e", "r", "b"), "r/a:b_c-d.e/r/c1/reports-b.csv");
    }

    #[test]
    fn a_batch_id_that_no_file_system_takes_is_refused() {
        let path = ReportPath::parse("r").unwrap();
        let error = ObjectKey::of_report(&path, "t", "r", "c", &"ä".repeat(50), "csv").unwrap_err();
        assert_eq!(error.to_string(), "the batch id is too long for a file name: 312 bytes, 255 are allowed");
    }

    #[test]
    fn a_key_tells_whose_file_it_is() {
        let claim = "0123456789abcdef";
        for path in ["", "r", "a/b/c", "reports-x"] {
            for (tag, request_id) in [("t", "r"), ("", "."), ("..", "a/b"), ("é %", "%00"), ("a:b", "漢字")] {
                let path = ReportPath::parse(path).unwrap();
                let key = ObjectKey::of_report(&path, tag, request_id, claim, "../b", "csv.gz").unwrap();
                let origin = Origin { tag: tag.to_owned(), request_id: request_id.to_owned(), claim: claim.to_owned() };
                assert_eq!(key.origin(), Some(origin), "{key}");
            }
        }
    }

    #[test]
    fn a_key_that_we_never_made_is_nobody_s() {
        for foreign in [
            "reports-b.csv",
            "t/0123456789abcdef/reports-b.csv",
            "r/t/1/c/reports-b.csv",
            "r/t/1/0123456789ABCDEF/reports-b.csv",
            "r/t/1/0123456789abcde/reports-b.csv",
            "r/t/1/0123456789abcdef/report-b.csv",
            "r/t/1/0123456789abcdef/Reports-b.csv",
            "r/t t/1/0123456789abcdef/reports-b.csv",
            "r/t/é/0123456789abcdef/reports-b.csv",
            "r/t/%2e/0123456789abcdef/reports-b.csv",
            "r/t/%41/0123456789abcdef/reports-b.csv",
            "r/t/%FF/0123456789abcdef/reports-b.csv",
            "r/t/%/0123456789abcdef/reports-b.csv",
        ] {
            assert_eq!(ObjectKey::parse(foreign).unwrap().origin(), None, "{foreign}");
        }
    }

    #[test]
    fn keys_read_back_from_rows_are_checked_again() {
        assert!(ObjectKey::parse("r/t/1/c/reports-b.csv").is_ok());
        for bad in ["", "/r", "r/../x", "r/"] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! Object keys: the only place where paths of reports are made.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything outside `[A-Za-z0-9._:-]` is percent-encoded in a segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b':').remove(b'-');

/// Empty text, which would vanish: a character that no text column holds.
const NOTHING: &str = "%00";
/// What the file of a report is called before its batch.
pub(super) const REPORT: &str = "reports-";
/// Hexadecimal digits of a claim.
const CLAIM: usize = 16;

/// The longest name that file systems take, in bytes.
const LONGEST_SEGMENT: usize = 255;
/// The longest report path, in bytes.
const LONGEST_PATH: usize = 300;
/// The most segments of a report path.
const MOST_SEGMENTS: usize = 16;
/// The longest key that every object store takes, in bytes.
const LONGEST_KEY: usize = 1024;

/// Why a path is refused. The text goes on after the name of the path: `reportPath must not begin with a slash`.
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
    /// `a/.b`
    #[error("has a segment that begins with a dot")]
    LeadingDot,
    /// A line end, a NUL, …
    #[error("contains a control character")]
    ControlCharacter,
    /// No file system takes it.
    #[error("has a segment of {0} bytes, {LONGEST_SEGMENT} are allowed")]
    LongSegment(usize),
    /// The path leaves no room for the rest of a key.
    #[error("has {0} bytes, {LONGEST_PATH} are allowed")]
    LongPath(usize),
    /// The path is nested too deeply.
    #[error("has {0} segments, {MOST_SEGMENTS} are allowed")]
    ManySegments(usize),
}

/// Why the file of a batch has no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A tag, request id or batch id is longer than a file name.
    #[error("{what} is too long for a file name: {bytes} bytes, {LONGEST_SEGMENT} are allowed")]
    LongSegment {
        /// Which of them.
        what: &'static str,
        /// Its length, encoded.
        bytes: usize,
    },
    /// All segments together are too long.
    #[error("the key of a file has {0} bytes, {LONGEST_KEY} are allowed: shorten reportPath")]
    LongKey(usize),
}

/// A directory within the store, checked segment by segment; without slashes at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReportPath(String);

impl ReportPath {
    /// Checks a `reportPath`. One slash at the end is allowed, and empty text means the store's root.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let path = checked(text)?;
        if text.len() > LONGEST_PATH {
            return Err(PathError::LongPath(text.len()));
        }
        let segments = path.split('/');
        if segments.clone().any(|segment| segment.starts_with('.')) {
            return Err(PathError::LeadingDot);
        }
        match segments.count() {
            many if many > MOST_SEGMENTS => Err(PathError::ManySegments(many)),
            _ => Ok(Self(path.to_owned())),
        }
    }
}

/// Checks what holds for report paths and for keys, those of earlier versions too; without the slash at the end.
fn checked(text: &str) -> Result<&str, PathError> {
    if text.starts_with('/') {
        return Err(PathError::LeadingSlash);
    }
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Ok(path);
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err(PathError::EmptySegment),
            "." => return Err(PathError::DotSegment(".")),
            ".." => return Err(PathError::DotSegment("..")),
            _ if segment.chars().any(char::is_control) => return Err(PathError::ControlCharacter),
            _ if segment.len() > LONGEST_SEGMENT => return Err(PathError::LongSegment(segment.len())),
            _ => {}
        }
    }
    Ok(path)
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
            return Err(KeyError::LongSegment { what: "the batch id", bytes: file.len() });
        }
        let mut key = String::new();
        for segment in
            [path.0.as_str(), &segment(tag, "the tag")?, &segment(request_id, "the request_id")?, claim, &file]
        {
            if !segment.is_empty() {
                if !key.is_empty() {
                    key.push('/');
                }
                key.push_str(segment);
            }
        }
        if key.len() > LONGEST_KEY { Err(KeyError::LongKey(key.len())) } else { Ok(Self(key)) }
    }

    /// Reads a key that was written to a row, also by an earlier version: those had report paths of any length, and
    /// segments that begin with a dot.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let path = checked(text)?;
        if path.is_empty() || text.ends_with('/') { Err(PathError::EmptySegment) } else { Ok(Self(path.to_owned())) }
    }

    /// Whether a segment begins with a dot. The store keeps its own files under such names, so none is ever given out.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.split('/').any(|segment| segment.starts_with('.'))
    }

    /// Whether the file was made for this request, as its key says.
    #[must_use]
    pub fn is_of(&self, tag: &str, request_id: &str) -> bool {
        self.origin().is_some_and(|origin| origin.tag == tag && origin.request_id == request_id)
    }

    /// Reads back what [`ObjectKey::of_report`] made of a request and its claim. `None`: we never made this key. That is
    /// strict, since files are removed by it: tag and request id are encoded as this or an earlier version encodes them,
    /// and the claim is sixteen hexadecimal digits, as all are that the queue gives.
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

/// What the file of a batch is called, without the directories it is in. No batch has an empty id: the file of rows that are
/// none's is called `%00`, as no text is.
#[must_use]
pub fn report_name(batch: &str, extension: &str) -> String {
    let name = if batch.is_empty() { NOTHING } else { &encoded(batch) };
    format!("{REPORT}{name}.{extension}")
}

/// Whether a batch id can stand in a file's name: it is not empty and not too long.
#[must_use]
pub fn can_name(batch: &str, extension: &str) -> bool {
    !batch.is_empty() && report_name(batch, extension).len() <= LONGEST_SEGMENT
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

/// Percent-encoded, the dot at the beginning too: no name is hidden, and none means a directory.
fn encoded(text: &str) -> String {
    match text.strip_prefix('.') {
        Some(rest) => format!("%2E{}", utf8_percent_encode(rest, SEGMENT)),
        None => utf8_percent_encode(text, SEGMENT).to_string(),
    }
}

/// One segment, encoded.
fn segment(text: &str, what: &'static str) -> Result<String, KeyError> {
    let segment = if text.is_empty() { NOTHING.to_owned() } else { encoded(text) };
    let bytes = segment.len();
    if bytes > LONGEST_SEGMENT { Err(KeyError::LongSegment { what, bytes }) } else { Ok(segment) }
}

/// One segment as earlier versions encoded it: of leading dots only those of `.` and `..`.
fn formerly_encoded(text: &str) -> String {
    match text {
        ".." => "%2E%2E".to_owned(),
        "." => "%2E".to_owned(),
        _ => utf8_percent_encode(text, SEGMENT).to_string(),
    }
}

/// The text that [`segment`], of this or an earlier version, made this of; `None` where none did.
fn decoded(encoded: &str) -> Option<String> {
    if encoded == NOTHING {
        return Some(String::new());
    }
    let text = percent_decode_str(encoded).decode_utf8().ok()?.into_owned();
    let is_ours = segment(&text, "").is_ok_and(|again| again == encoded)
        || (encoded.len() <= LONGEST_SEGMENT && formerly_encoded(&text) == encoded);
    is_ours.then_some(text)
}

#[cfg(test)]
mod tests;

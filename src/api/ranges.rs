//! What a download is answered with: all of the file, a part of it, or nothing (RFC 9110, sections 13 and 14). Pure: it
//! decides by the request's headers and by what is known of the file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The last second that an HTTP date can name: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Its size in bytes.
    pub(super) len: u64,
    /// Names this content: files never change under one name, so its time and size suffice.
    tag: String,
    /// Seconds since 1970, where an HTTP date can say it.
    modified: Option<u64>,
}

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// 200
    Whole,
    /// 206: from the first to the last byte, both included.
    Bytes(u64, u64),
    /// 304
    NotModified,
    /// 412
    Changed,
    /// 416
    Outside,
}

impl Version {
    /// By size and time of change. A time that no HTTP date can say is left out.
    pub(super) fn new(len: u64, modified: Option<SystemTime>) -> Self {
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let stamp = since.map_or(0, |since| since.as_nanos());
        let modified = since.map(|since| since.as_secs()).filter(|seconds| *seconds <= LAST_SECOND);
        Self { len, tag: format!("\"{stamp:x}-{len:x}\""), modified }
    }

    /// The headers that name this version.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let modified = self
            .modified
            .map(|seconds| (header::LAST_MODIFIED, httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))));
        let tag = Some((header::ETAG, self.tag.clone()));
        let both = tag.into_iter().chain(modified);
        both.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
    }

    /// What to answer to a request with these headers. What does not read counts as absent, as RFC 9110 has it.
    pub(super) fn part(&self, method: &Method, headers: &HeaderMap) -> Part {
        match all(headers, &header::IF_MATCH) {
            Some(tags) if !self.is_among(&tags, false) => return Part::Changed,
            Some(_) => {}
            None => {
                if let (Some(at), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), self.modified)
                    && modified > at
                {
                    return Part::Changed;
                }
            }
        }
        match all(headers, &header::IF_NONE_MATCH) {
            Some(tags) if self.is_among(&tags, true) => return Part::NotModified,
            Some(_) => {}
            None => {
                if let (Some(at), Some(modified)) = (date(headers, &header::IF_MODIFIED_SINCE), self.modified)
                    && modified <= at
                {
                    return Part::NotModified;
                }
            }
        }
        // Range means something for GET only.
        if *method != Method::GET || !self.range_still_holds(headers) {
            return Part::Whole;
        }
        self.range(headers)
    }

    /// `If-Range`: a part is of use to the client only if it has a part of this very version.
    fn range_still_holds(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::IF_RANGE).iter();
        match (values.next(), values.next()) {
            (None, _) => true,
            (Some(value), None) => {
                value.as_bytes() == self.tag.as_bytes()
                    || self.modified.is_some() && date(headers, &header::IF_RANGE) == self.modified
            }
            (Some(_), Some(_)) => false,
        }
    }

    fn range(&self, headers: &HeaderMap) -> Part {
        let mut values = headers.get_all(header::RANGE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Part::Whole };
        let Some((first, last)) = value.to_str().ok().and_then(one_range) else { return Part::Whole };
        match (first, last) {
            // No Content-Range can name a part of nothing.
            _ if self.len == 0 => Part::Whole,
            (None, 0) => Part::Outside,
            (None, suffix) => Part::Bytes(self.len.saturating_sub(suffix), self.len - 1),
            (Some(first), _) if first >= self.len => Part::Outside,
            (Some(first), last) => Part::Bytes(first, last.min(self.len - 1)),
        }
    }

    /// Whether a list of entity tags has this version's; `weakly`: tags marked as weak count.
    fn is_among(&self, tags: &str, weakly: bool) -> bool {
        tags.split(',').map(str::trim).any(|tag| {
            let plain = if weakly { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            tag == "*" || plain == self.tag
        })
    }
}

/// All values of a header as one list.
fn all(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// A date in one of HTTP's three forms, in seconds since 1970; a date before that is that second.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let at = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    Some(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// `bytes=0-9`, `bytes=5-`: first and last byte; `bytes=-7`: none and how many of the last. `None`: no range of bytes,
/// several, or one that ends before it begins; a server may answer all of these with the whole file (14.2).
fn one_range(text: &str) -> Option<(Option<u64>, u64)> {
    let (unit, range) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first, last) {
        ("", last) => Some((None, number(last)?)),
        (first, "") => Some((Some(number(first)?), u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last && !is_reversed(range)).then_some((Some(first), last))
        }
    }
}

/// Digits of any length: more than there are bytes anywhere is the largest number.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Whether the first of two numbers is the larger, also where both are beyond any machine's.
fn is_reversed(range: &str) -> bool {
    let Some((first, last)) = range.trim().split_once('-') else { return false };
    let (first, last) = (first.trim_start_matches('0'), last.trim_start_matches('0'));
    (first.len(), first) > (last.len(), last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NOON_SECONDS: u64 = 784_111_777;

    fn version() -> Version {
        Version::new(100, Some(UNIX_EPOCH + Duration::from_secs(NOON_SECONDS)))
    }

    fn part(headers: &[(HeaderName, &str)]) -> Part {
        // Of several values of one name all are kept.
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        version().part(&Method::GET, &map)
    }

    #[test]
    fn ranges_of_every_kind() {
        let huge = "99999999999999999999999999";
        for (range, expected) in [
            ("bytes=0-9", Part::Bytes(0, 9)),
            ("bytes=90-", Part::Bytes(90, 99)),
            ("bytes=99-99", Part::Bytes(99, 99)),
            ("Bytes=0-0", Part::Bytes(0, 0)),
            ("bytes=-7", Part::Bytes(93, 99)),
            ("bytes=-1000", Part::Bytes(0, 99)),
            ("bytes=5-1000", Part::Bytes(5, 99)),
            (&format!("bytes=5-{huge}"), Part::Bytes(5, 99)),
            (&format!("bytes=-{huge}"), Part::Bytes(0, 99)),
            ("bytes=100-", Part::Outside),
            ("bytes=100-200", Part::Outside),
            (&format!("bytes={huge}-"), Part::Outside),
            (&format!("bytes={huge}-{huge}"), Part::Outside),
            (&format!("bytes={huge}1-{huge}"), Part::Whole),
            ("bytes=-0", Part::Outside),
            ("bytes=9-5", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=--5", Part::Whole),
            ("bytes=+1-5", Part::Whole),
            ("bytes=1-5-9", Part::Whole),
            ("bytes=1 - 5", Part::Whole),
            ("bytes", Part::Whole),
            ("lines=0-9", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(&[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(part(&[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=5-6")]), Part::Whole);
        let empty = Version::new(0, None);
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-"))]);
        assert_eq!(empty.part(&Method::GET, &headers), Part::Whole);
        assert_eq!(version().part(&Method::HEAD, &headers), Part::Whole);
    }

    #[test]
    fn a_part_is_answered_only_to_who_has_a_part_of_this_version() {
        let tag = version().tag;
        for (if_range, expected) in [
            (tag.as_str(), Part::Bytes(0, 9)),
            (NOON, Part::Bytes(0, 9)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Part::Bytes(0, 9)),
            (&format!("W/{tag}"), Part::Whole),
            ("\"other\"", Part::Whole),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Part::Whole),
            ("Sun, 06 Nov 1994 08:49:38 GMT", Part::Whole),
            ("Sat, 01 Jan 10000 00:00:00 GMT", Part::Whole),
            ("", Part::Whole),
        ] {
            let found = part(&[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, if_range)]);
            assert_eq!(found, expected, "{if_range}");
        }
        // A version without a date matches none.
        let undated = Version::new(100, None);
        let headers = HeaderMap::from_iter([
            (header::RANGE, HeaderValue::from_static("bytes=0-9")),
            (header::IF_RANGE, HeaderValue::from_static("yesterday")),
        ]);
        assert_eq!(undated.part(&Method::GET, &headers), Part::Whole);
    }

    #[test]
    fn conditions_hold_as_the_standard_says() {
        let tag = version().tag;
        let later = "Fri, 31 Dec 9999 23:59:59 GMT";
        let earlier = "Thu, 01 Jan 1970 00:00:00 GMT";
        for (name, value, expected) in [
            (header::IF_NONE_MATCH, tag.as_str(), Part::NotModified),
            (header::IF_NONE_MATCH, "*", Part::NotModified),
            (header::IF_NONE_MATCH, &format!("\"a\", W/{tag}"), Part::NotModified),
            (header::IF_NONE_MATCH, "\"a\"", Part::Whole),
            (header::IF_MATCH, tag.as_str(), Part::Whole),
            (header::IF_MATCH, &format!("W/{tag}"), Part::Changed),
            (header::IF_MATCH, "\"a\"", Part::Changed),
            (header::IF_MODIFIED_SINCE, NOON, Part::NotModified),
            (header::IF_MODIFIED_SINCE, later, Part::NotModified),
            (header::IF_MODIFIED_SINCE, earlier, Part::Whole),
            (header::IF_UNMODIFIED_SINCE, NOON, Part::Whole),
            (header::IF_UNMODIFIED_SINCE, earlier, Part::Changed),
            (header::IF_MODIFIED_SINCE, "Wed, 99 Foo 99999 99:99:99 GMT", Part::Whole),
            (header::IF_MODIFIED_SINCE, "Mon, 01 Jan 0001 00:00:00 GMT", Part::Whole),
            (header::IF_UNMODIFIED_SINCE, "0", Part::Whole),
        ] {
            assert_eq!(part(&[(name.clone(), value)]), expected, "{name}: {value}");
        }
        // The tag wins over the date.
        assert_eq!(part(&[(header::IF_NONE_MATCH, "\"a\""), (header::IF_MODIFIED_SINCE, later)]), Part::Whole);
    }

    /// Times that no HTTP date can say: before 1970, and after 9999.
    #[test]
    fn odd_times_of_files_are_left_out() {
        for modified in [
            None,
            UNIX_EPOCH.checked_sub(Duration::from_secs(1)),
            UNIX_EPOCH.checked_add(Duration::from_secs(LAST_SECOND + 1)),
        ] {
            let version = Version::new(1, modified);
            assert_eq!(version.headers().map(|(name, _)| name).collect::<Vec<_>>(), [header::ETAG], "{modified:?}");
        }
        let last = Version::new(1, UNIX_EPOCH.checked_add(Duration::from_secs(LAST_SECOND)));
        assert!(last.headers().any(|(_, value)| value == "Fri, 31 Dec 9999 23:59:59 GMT"));
        let first = Version::new(1, Some(UNIX_EPOCH));
        assert!(first.headers().any(|(_, value)| value == "Thu, 01 Jan 1970 00:00:00 GMT"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Against a reading of its own: a part is inside the file, and is what a decimal reading of the range says.
        #[test]
        fn no_range_leads_out_of_the_file(
            len in prop_oneof![Just(0_u64), 1..200_u64, Just(u64::MAX)],
            first in "[0-9]{0,3}|[0-9]{18,40}",
            last in "[0-9]{0,3}|[0-9]{18,40}",
        ) {
            let headers = HeaderMap::from_iter([
                (header::RANGE, HeaderValue::from_str(&format!("bytes={first}-{last}")).unwrap()),
            ]);
            let found = Version::new(len, None).part(&Method::GET, &headers);
            // 40 digits are more than any u128 holds.
            let read = |text: &str| text.parse::<f64>().unwrap();
            #[allow(clippy::cast_precision_loss, reason = "compared with numbers that are small or far away")]
            let size = len as f64;
            match found {
                Part::Bytes(from, to) => {
                    prop_assert!(from <= to && to < len);
                    if !first.is_empty() {
                        prop_assert_eq!(first.parse::<u64>().unwrap(), from);
                        prop_assert!(last.is_empty() || last.parse::<u64>().map_or(to == len - 1, |last| to == last.min(len - 1)));
                    }
                }
                Part::Outside => {
                    let beyond = if first.is_empty() { read(&last) == 0.0 } else { read(&first) >= size };
                    prop_assert!(beyond);
                }
                Part::Whole => {
                    let nothing = first.is_empty() && last.is_empty();
                    let both = !first.is_empty() && !last.is_empty();
                    let no_range = len == 0 || nothing || both && read(&first) >= read(&last);
                    prop_assert!(no_range);
                }
                Part::NotModified | Part::Changed => prop_assert!(false, "no condition was given"),
            }
        }

        /// Headers of any bytes are answered, without a panic.
        #[test]
        fn any_headers_are_answered(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 6)) {
            let names = [
                header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE,
                header::IF_UNMODIFIED_SINCE,
            ];
            let mut headers = HeaderMap::new();
            for (name, value) in names.into_iter().zip(values) {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.insert(name, value);
                }
            }
            if let Part::Bytes(from, to) = version().part(&Method::GET, &headers) {
                prop_assert!(from <= to && to < 100);
            }
        }
    }
}

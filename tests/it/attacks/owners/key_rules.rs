//! The rules of docs/security.md for report paths, read by hand, and what attackers put together paths of: for the tests of
//! keys (`src/outputs/key`) and for those of whole scans.

/// Pieces of hostile names and paths. No database column holds a NUL, so there is none.
pub(crate) const ODD: [&str; 36] = [
    "",
    ".",
    "..",
    "...",
    "/",
    "//",
    "\\",
    "%",
    "%2e",
    "%2E%2E",
    "%2F",
    "%00",
    "\n",
    "\t",
    "\u{7f}",
    "\u{85}",
    "a",
    "b c",
    "é",
    "漢字",
    "\u{202e}",
    "\u{2028}",
    ".a",
    "a.",
    "~",
    "*",
    "?",
    "#",
    "reports-",
    "0123456789abcdef",
    "C:",
    "con",
    "'",
    "\"",
    "$(x)",
    "`x`",
];

/// Whether a text is a report path.
pub(crate) fn is_a_report_path(text: &str) -> bool {
    let inner = if text.len() > 1 && text.ends_with('/') { &text[..text.len() - 1] } else { text };
    let segments: Vec<&str> = inner.split('/').collect();
    let fine = |segment: &&str| {
        let odd = |c: char| (c as u32) < 0x20 || (0x7f..=0x9f).contains(&(c as u32));
        !segment.is_empty() && segment.len() < 256 && segment.as_bytes()[0] != b'.' && !segment.contains(odd)
    };
    text.is_empty() || (text.len() < 301 && segments.len() < 17 && segments.iter().all(fine))
}

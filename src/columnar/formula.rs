//! What a spreadsheet would run as a formula when it opens a CSV file, and the `'` that keeps it from that.
//!
//! Known of the programs: LibreOffice 7.4 runs text that begins with `=`, also after a NUL, and after spaces where it is
//! told to remove them. Excel runs what begins with `=`, `+`, `-` or `@`, a Japanese one their full-width forms too. Both
//! pass over blanks that differ from version to version, so all blanks and invisible characters of Unicode count here.
//!
//! A file is also opened with other separators than its own: by Excel with `;` where the decimal sign is a comma, by
//! LibreOffice with tab, comma and semicolon at once. Quotes only mean something at the beginning of a field then. So the
//! inside of a cell has beginnings of its own:
//!
//! - after `;`, LF and CR, where the rest of the line belongs to the field as well: that is why a number is no exception;
//! - after a tab, but only to LibreOffice, to which quotes are enough.
//!
//! Not here: the spelling of CSV (`spelling`).

use std::borrow::Cow;

/// How a text is kept from being run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// A `'` before the whole.
    whole: bool,
    /// A `'` after a separator within it.
    inside: bool,
    /// Quotes around it, even if nothing in it needs them.
    pub quotes: bool,
}

impl Guard {
    /// Whether there is anything to do.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        self.whole || self.inside || self.quotes
    }
}

/// Whether a text of this first byte may have to be guarded, though no separator is in it: whatever [`guard`] looks for at
/// a beginning begins with one of these. Letters of most scripts do not.
#[must_use]
pub const fn may_begin(first: u8) -> bool {
    matches!(first, 0..=b' ' | b'+' | b'-' | b'=' | b'@' | 0x7f | 0xc2 | 0xcd | 0xd8 | 0xe1..=0xe3 | 0xef | 0xf3)
}

/// Whether a byte is a separator that begins something within a cell.
#[must_use]
pub const fn separates(byte: u8) -> bool {
    matches!(byte, b';' | b'\n' | b'\r' | b'\t')
}

/// How this text is to be guarded.
#[must_use]
pub fn guard(text: &str) -> Guard {
    let begins = text.chars().find(|c| matches!(c, '\t' | '\r' | '\n') || !is_invisible(*c));
    let whole = begins.is_some_and(|c| starts(c) || matches!(c, '\t' | '\r' | '\n')) && !plain_number(text.as_bytes());
    let follows = |separator: fn(char) -> bool| {
        text.match_indices(separator).any(|(at, _)| starts_after_separator(&text[at + 1..]))
    };
    Guard { whole, inside: follows(splits), quotes: follows(|c| c == '\t') }
}

/// The text with each `'` that `guard` is about.
#[must_use]
pub fn guarded(text: &str, guard: Guard) -> Cow<'_, str> {
    if !(guard.whole || guard.inside) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 2);
    if guard.whole {
        out.push('\'');
    }
    let mut rest = text;
    while let Some(at) = rest.find(splits) {
        let (piece, after) = rest.split_at(at + 1);
        out.push_str(piece);
        if starts_after_separator(after) {
            out.push('\'');
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Line ends, and the separator of spreadsheets where the decimal sign is a comma. All of one byte.
const fn splits(c: char) -> bool {
    matches!(c, ';' | '\n' | '\r')
}

/// Whether a formula begins here, after a separator. Quotes that stand before it, which are doubled in a CSV, open and
/// close an empty text.
fn starts_after_separator(text: &str) -> bool {
    let skipped = |c: &char| *c == '"' || is_invisible(*c) && !matches!(c, '\n' | '\r');
    text.chars().find(|c| !skipped(c)).is_some_and(starts)
}

/// The beginnings of a formula, and their full-width forms.
const fn starts(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
}

/// Blanks, control characters, and what Unicode lets programs leave out when they show a text.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// ASCII `[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?`, from end to end.
fn plain_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = |text: &[u8]| usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let text = &text[unsigned(text)..];
    let whole = digits(text);
    let text = &text[whole..];
    let text = match text.strip_prefix(b".") {
        None if whole == 0 => return false,
        None => text,
        Some(text) => {
            let fraction = digits(text);
            if whole + fraction == 0 {
                return false;
            }
            &text[fraction..]
        }
    };
    let Some(exponent) = text.strip_prefix(b"e").or_else(|| text.strip_prefix(b"E")) else { return text.is_empty() };
    let exponent = &exponent[unsigned(exponent)..];
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

#[cfg(test)]
mod tests;

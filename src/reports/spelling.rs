//! How text is spelled in CSV (RFC 4180): when it stands in quotes, and what a spreadsheet would run as a formula. Here
//! and not with the file formats, since learners are kept in this spelling (`lines`).

/// Appends a cell: `prefix` (nothing, or the guard against formulas) and the text, in quotes if the text needs them.
pub fn cell(out: &mut Vec<u8>, prefix: &[u8], text: &str) {
    let bytes = text.as_bytes();
    if !needs_quotes(bytes) {
        out.extend_from_slice(prefix);
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(prefix);
    quoted(out, bytes);
    out.push(b'"');
}

/// Appends a text that stands between quotes.
fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    for (at, part) in bytes.split(|byte| *byte == b'"').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part);
    }
}

/// Looks at every byte, without a branch for each: most texts need none.
fn needs_quotes(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | matches!(byte, b'"' | b',' | b'\r' | b'\n'))
}

/// Whether a spreadsheet might run this as a formula: after any leading spaces it begins with one of `= + - @`, tab,
/// CR or LF, and as a whole it is no plain number.
#[must_use]
pub fn runs(text: &str) -> bool {
    let first = text.bytes().find(|byte| *byte != b' ');
    matches!(first, Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n')) && !plain_number(text.as_bytes())
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

/// Takes the cells of a line apart that [`cell`] has spelled, without prefix, with commas between.
pub fn cells(line: &[u8]) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = end_of_cell(bytes);
        rest = bytes.get(end + 1..);
        Some(plain(&bytes[..end]))
    })
}

/// Where the comma after the first cell is, or the end of the line.
fn end_of_cell(bytes: &[u8]) -> usize {
    let mut quoted = false;
    let end = bytes.iter().position(|byte| {
        // A doubled quote closes and opens again.
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    end.unwrap_or(bytes.len())
}

fn plain(cell: &[u8]) -> std::borrow::Cow<'_, str> {
    match cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")) {
        None => String::from_utf8_lossy(cell),
        Some(inner) => String::from_utf8_lossy(inner).replace("\"\"", "\"").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_as_they_were() {
        let texts = ["", "plain", "a,b", "say \"hi\"", "\"", "\"\"", ",", "two\nlines", "नमस्ते", "=1", " x ", ""];
        let mut line = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                line.push(b',');
            }
            cell(&mut line, b"", text);
        }
        assert_eq!(cells(&line).collect::<Vec<_>>(), texts);
        assert_eq!(cells(b"").collect::<Vec<_>>(), [""]);
        assert_eq!(cells(b",").collect::<Vec<_>>(), ["", ""]);
    }
}

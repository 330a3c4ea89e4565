//! How text is spelled in CSV (RFC 4180), guarded against spreadsheets (`formula`). Here and not with the file formats,
//! since learners are kept in this spelling (`lines`).

use crate::columnar::formula;

/// Appends a cell, in quotes if the text needs them, and says whether it is to be guarded against spreadsheets; with `guard`
/// it is.
pub fn cell(out: &mut Vec<u8>, text: &str, guard: bool) -> bool {
    let bytes = text.as_bytes();
    let (needs_quotes, separates) = look(bytes);
    let suspicious = separates || bytes.first().is_some_and(|first| formula::may_begin(*first));
    let needed = if suspicious { formula::guard(text) } else { formula::Guard::default() };
    let guarded = if guard && needed.is_needed() { formula::guarded(text, needed) } else { text.into() };
    if needs_quotes || guard && needed.quotes {
        out.push(b'"');
        quoted(out, guarded.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(guarded.as_bytes());
    }
    needed.is_needed()
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

/// Whether a text needs quotes, and whether it has a separator that a formula may follow. Looks at every byte, without a
/// branch for each: most texts have neither.
fn look(bytes: &[u8]) -> (bool, bool) {
    bytes.iter().fold((false, false), |(quotes, separates), byte| {
        (quotes | matches!(byte, b'"' | b',' | b'\r' | b'\n'), separates | formula::separates(*byte))
    })
}

/// Takes the cells of a line apart that [`cell`] has spelled, not guarded, with commas between.
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
            cell(&mut line, text, false);
        }
        assert_eq!(cells(&line).collect::<Vec<_>>(), texts);
        assert_eq!(cells(b"").collect::<Vec<_>>(), [""]);
        assert_eq!(cells(b",").collect::<Vec<_>>(), ["", ""]);
    }
}

//! Escapes in quoted text.

use super::Escapes;

/// Appends quoted text with its escapes resolved. What is no escape stays as it is; half of a surrogate pair becomes
/// the replacement character.
pub fn unescape(mut inner: &[u8], escapes: Escapes, out: &mut Vec<u8>) {
    let next = |inner: &[u8]| match escapes {
        Escapes::None => None,
        Escapes::Backslashes => memchr::memchr(b'\\', inner),
        Escapes::DoubledQuotes => memchr::memchr2(b'\\', b'\'', inner),
    };
    while let Some(at) = next(inner) {
        out.extend_from_slice(&inner[..at]);
        let quote = inner[at] == b'\'';
        inner = &inner[at + 1..];
        if quote {
            out.push(b'\'');
            inner = inner.strip_prefix(b"'").unwrap_or(inner);
            continue;
        }
        let Some((&escape, tail)) = inner.split_first() else {
            out.push(b'\\');
            return;
        };
        inner = tail;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'\\' | b'\'' | b'"' | b'/' => out.push(escape),
            b'u' => inner = unescape_unicode(inner, 4, escape, out),
            b'U' => inner = unescape_unicode(inner, 8, escape, out),
            b'x' => inner = unescape_unicode(inner, 2, escape, out),
            other => out.extend_from_slice(&[b'\\', other]),
        }
    }
    out.extend_from_slice(inner);
}

/// Appends the character of `\uXXXX` and its like; what is left of the text.
fn unescape_unicode<'a>(inner: &'a [u8], digits: usize, escape: u8, out: &mut Vec<u8>) -> &'a [u8] {
    let Some(mut code) = hex(inner, digits) else {
        out.extend_from_slice(&[b'\\', escape]);
        return inner;
    };
    let mut rest = &inner[digits..];
    if (0xD800..0xDC00).contains(&code)
        && let Some(low) = rest.strip_prefix(b"\\u").and_then(|tail| hex(tail, 4))
        && (0xDC00..0xE000).contains(&low)
    {
        code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        rest = &rest[6..];
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// The number that the first `digits` bytes are in hexadecimal.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    text.get(..digits)?.iter().try_fold(0_u32, |code, &byte| Some((code << 4) | char::from(byte).to_digit(16)?))
}

/// Whether every backslash begins an escape that JSON knows.
pub(super) fn escapes_of_json(mut inner: &[u8]) -> bool {
    while let Some(at) = memchr::memchr(b'\\', inner) {
        let sound = match inner.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
            Some(b'u') => hex(&inner[at + 2..], 4).is_some(),
            _ => false,
        };
        if !sound {
            return false;
        }
        inner = &inner[at + 2..];
    }
    true
}

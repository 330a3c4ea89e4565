//! Rows in chunks that end with whole rows, and chunks in pieces for the threads.
//!
//! Not here: where the rows come from, and what is in them.

use super::failure::Failure;
use crate::sources::Bounds;

/// Bytes of rows that are fetched before they are taken apart.
const CHUNK: usize = 4 << 20;

/// Bytes of a row, at most: as of a line of text.
const ROW: usize = Bounds::DEFAULT.unit;

/// Appends rows until the buffer has at least this many bytes. `false`: nothing more comes.
pub(super) type Fetch<'a> = dyn FnMut(&mut Vec<u8>, usize) -> Result<bool, Failure> + Send + 'a;

/// Fills a chunk up to its size; what follows its last whole row goes to `rest`. `false`: nothing more comes.
pub(super) fn fill(fetch: &mut Fetch<'_>, chunk: &mut Vec<u8>, rest: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut size = CHUNK;
    while fetch(chunk, size)? {
        // A message of the server is a row, so that the last one is longer than a row may be.
        if chunk.len() > CHUNK + ROW {
            return Err(Failure::lasting(format!("a row has more than {} MiB", ROW >> 20)));
        }
        // The server sends whole rows, but does not promise it.
        if let Some(end) = memchr::memrchr(b'\n', chunk) {
            rest.extend_from_slice(&chunk[end + 1..]);
            chunk.truncate(end + 1);
            return Ok(true);
        }
        size = chunk.len() + 1;
    }
    Ok(false)
}

/// How many rows these are.
pub(super) fn lines(rows: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', rows).count() as u64
}

/// Parts of about the same size that end with whole rows.
pub(super) fn pieces(chunk: &[u8], count: usize) -> Vec<&[u8]> {
    let size = chunk.len().div_ceil(count.max(1)).max(64 * 1024);
    let mut pieces = Vec::with_capacity(count);
    let mut rest = chunk;
    while !rest.is_empty() {
        let from = size.min(rest.len());
        let end = memchr::memchr(b'\n', &rest[from - 1..]).map_or(rest.len(), |at| from + at);
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_rows_and_all_of_them() {
        let row = b"a row of twenty byte\n";
        let chunk = row.repeat(20_000);
        for count in [1, 2, 7] {
            let pieces = pieces(&chunk, count);
            assert_eq!(pieces.len(), count.min(7));
            assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
            assert_eq!(pieces.concat(), chunk);
        }
        assert!(pieces(b"", 2).is_empty());
    }

    #[test]
    fn a_row_that_is_too_long_is_refused() {
        let row = [vec![b'x'; CHUNK + ROW], b"\n".to_vec()].concat();
        let mut fetch = |chunk: &mut Vec<u8>, _| {
            chunk.extend_from_slice(&row);
            Ok(true)
        };
        let failure = fill(&mut fetch, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!((failure.message.as_str(), failure.may_pass), ("a row has more than 64 MiB", false));
    }

    #[test]
    fn a_row_that_comes_in_parts_is_put_together() {
        let rows = b"0123456789\n".repeat(CHUNK / 11 + 2);
        // As long as no message is.
        let mut messages = rows.chunks(1_000_003);
        let mut fetch = |chunk: &mut Vec<u8>, size| {
            while chunk.len() < size {
                let Some(message) = messages.next() else { return Ok(false) };
                chunk.extend_from_slice(message);
            }
            Ok(true)
        };
        let (mut chunk, mut rest) = (Vec::new(), Vec::new());
        assert!(fill(&mut fetch, &mut chunk, &mut rest).unwrap());
        assert!(chunk.ends_with(b"\n") && chunk.len() >= CHUNK - 11);
        let mut last = Vec::new();
        assert!(!fill(&mut fetch, &mut rest, &mut last).unwrap());
        assert_eq!([chunk, rest].concat(), rows);
        assert!(last.is_empty());
    }
}

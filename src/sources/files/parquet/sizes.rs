//! What the values of a page become when they are decoded, as far as its length does not tell: a run of a few bytes may stand
//! for any number of values.
//!
//! On encodings: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

/// The bytes are not what they should be. What is wrong with them the decoder says better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// The longest of `count` texts that stand one after the other, each behind its length (PLAIN).
pub(super) fn longest_plain(mut bytes: &[u8], count: usize) -> Result<usize, Broken> {
    let mut longest = 0;
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Broken)?;
        let length = u32::from_le_bytes(*length) as usize;
        bytes = rest.get(length..).ok_or(Broken)?;
        longest = longest.max(length);
    }
    Ok(longest)
}

/// How many texts a page claims to have of which each says how much of the one before it begins with (`DELTA_BYTE_ARRAY`), and
/// the longest. At most `most` of them are gone through.
pub(super) fn longest_delta(bytes: &[u8], most: usize) -> Result<(usize, usize), Broken> {
    let mut prefixes = Deltas::new(bytes)?;
    let count = prefixes.left();
    if count > most {
        return Ok((count, 0));
    }
    while prefixes.next()?.is_some() {}
    let (mut prefixes, mut suffixes) = (Deltas::new(bytes)?, Deltas::new(prefixes.bytes)?);
    if suffixes.left() != count {
        return Err(Broken);
    }
    let mut longest = 0;
    while let (Some(prefix), Some(suffix)) = (prefixes.next()?, suffixes.next()?) {
        let length = prefix.checked_add(suffix).and_then(|length| usize::try_from(length).ok());
        longest = longest.max(length.ok_or(Broken)?);
    }
    Ok((count, longest))
}

/// How many numbers a page claims to begin with (`DELTA_BINARY_PACKED`).
pub(super) fn claimed(bytes: &[u8]) -> Result<usize, Broken> {
    Ok(Deltas::new(bytes)?.left)
}

/// The most entries that a record has in a page, by its repetition levels (runs and bit-packed groups, up to `width` bits
/// wide): each 0 begins a record.
pub(super) fn largest_record(mut levels: &[u8], width: u8, values: usize) -> Result<usize, Broken> {
    let (mut left, mut here, mut largest) = (values, 0_usize, 0_usize);
    let bytes_of_level = usize::from(width).div_ceil(8);
    while left > 0 {
        let head = unsigned(&mut levels)?;
        let count = usize::try_from(head >> 1).map_err(|_| Broken)?;
        if head & 1 == 0 {
            let (level, rest) = levels.split_at_checked(bytes_of_level).ok_or(Broken)?;
            levels = rest;
            let count = count.min(left);
            left -= count;
            if count == 0 {
                continue;
            }
            if level.iter().all(|byte| *byte == 0) {
                largest = largest.max(here);
                here = 1;
            } else {
                here += count;
            }
        } else {
            let length = count.checked_mul(usize::from(width)).ok_or(Broken)?;
            let (groups, rest) = levels.split_at(length.min(levels.len()));
            levels = rest;
            let bits = |at: usize| {
                (0..usize::from(width)).any(|bit| {
                    let bit = at * usize::from(width) + bit;
                    groups.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
                })
            };
            let there = if width == 0 { count.saturating_mul(8) } else { groups.len() * 8 / usize::from(width) };
            for at in 0..there.min(left) {
                if bits(at) {
                    here += 1;
                } else {
                    largest = largest.max(here);
                    here = 1;
                }
            }
            if there < left && groups.len() < length {
                return Err(Broken);
            }
            left -= there.min(left);
        }
    }
    Ok(largest.max(here))
}

/// Numbers as `DELTA_BINARY_PACKED` has them.
struct Deltas<'a> {
    bytes: &'a [u8],
    per_miniblock: usize,
    miniblocks: usize,
    left: usize,
    /// The number before the next one, but for the first.
    value: i64,
    is_first: bool,
    /// Of the block at hand: the least delta, and the widths of the miniblocks to come.
    least: i64,
    widths: &'a [u8],
    /// The miniblock at hand, and how many of it were read.
    miniblock: &'a [u8],
    width: usize,
    read: usize,
}

impl<'a> Deltas<'a> {
    fn new(mut bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut next = || usize::try_from(unsigned(&mut bytes)?).map_err(|_| Broken);
        let (block, miniblocks, left) = (next()?, next()?, next()?);
        let value = signed(&mut bytes)?;
        if miniblocks == 0 || block < miniblocks {
            return Err(Broken);
        }
        let per_miniblock = block / miniblocks;
        let (widths, miniblock) = (&[][..], &[][..]);
        Ok(Self {
            bytes,
            per_miniblock,
            miniblocks,
            left,
            value,
            is_first: true,
            least: 0,
            widths,
            miniblock,
            width: 0,
            read: per_miniblock,
        })
    }

    /// How many there are still, as the bytes claim.
    const fn left(&self) -> usize {
        self.left
    }

    fn next(&mut self) -> Result<Option<i64>, Broken> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if !std::mem::take(&mut self.is_first) {
            if self.read == self.per_miniblock {
                self.open()?;
            }
            let mut delta = 0_u64;
            for bit in 0..self.width {
                let at = self.read * self.width + bit;
                let byte = self.miniblock.get(at / 8).ok_or(Broken)?;
                delta |= u64::from(byte >> (at % 8) & 1) << bit;
            }
            self.read += 1;
            self.value = self.value.wrapping_add(self.least).wrapping_add(delta.cast_signed());
        }
        Ok(Some(self.value))
    }

    /// Goes on with the next miniblock, of the next block if need be.
    fn open(&mut self) -> Result<(), Broken> {
        if self.widths.is_empty() {
            self.least = signed(&mut self.bytes)?;
            let (widths, rest) = self.bytes.split_at_checked(self.miniblocks).ok_or(Broken)?;
            (self.widths, self.bytes) = (widths, rest);
        }
        let (width, widths) = self.widths.split_first().ok_or(Broken)?;
        (self.width, self.widths) = (usize::from(*width), widths);
        if self.width > 64 {
            return Err(Broken);
        }
        let length = self.per_miniblock.checked_mul(self.width).ok_or(Broken)?.div_ceil(8);
        let (miniblock, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        (self.miniblock, self.bytes) = (miniblock, rest);
        self.read = 0;
        Ok(())
    }
}

fn unsigned(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Broken)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Broken)
}

fn signed(bytes: &mut &[u8]) -> Result<i64, Broken> {
    let number = unsigned(bytes)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels as runs and groups, by draws; what they mean is computed from the levels themselves.
    #[test]
    fn the_largest_record_is_found_however_levels_are_written() {
        let mut draws = fastrand::Rng::with_seed(3);
        for case in 0..2_000 {
            let width = draws.u8(1..4);
            let (mut bytes, mut levels): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
            for _ in 0..draws.usize(1..6) {
                if draws.bool() {
                    let (count, level) = (draws.u8(1..60), u8::from(draws.bool()));
                    bytes.extend([count << 1, level]);
                    levels.extend(std::iter::repeat_n(level, usize::from(count)));
                } else {
                    let groups = draws.u8(1..4);
                    bytes.push(groups << 1 | 1);
                    let these: Vec<u8> = (0..groups * 8).map(|_| draws.u8(..1 << width)).collect();
                    let mut packed = vec![0; usize::from(groups * width)];
                    for (at, level) in these.iter().enumerate() {
                        for bit in 0..usize::from(width) {
                            let place = at * usize::from(width) + bit;
                            packed[place / 8] |= (level >> bit & 1) << (place % 8);
                        }
                    }
                    bytes.extend(packed);
                    levels.extend(these);
                }
            }
            let values = draws.usize(1..=levels.len());
            let (mut largest, mut here) = (0, 0);
            for level in &levels[..values] {
                here = if *level == 0 { 1 } else { here + 1 };
                largest = largest.max(here);
            }
            assert_eq!(largest_record(&bytes, width, values), Ok(largest), "{case}");
        }
        assert_eq!(largest_record(&[0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 1], 1, 1 << 30), Ok(1 << 30), "one run");
        assert_eq!(largest_record(&[3], 1, 9), Err(Broken));
    }

    #[test]
    fn texts_by_their_prefixes() {
        // Prefixes 0, 3, 3 and suffixes 4, 1, 90: in one miniblock each.
        let prefixes = [0x80, 0x01, 0x04, 0x03, 0x00, 0x00, 0x02, 0, 0, 0, 0b0011, 0, 0, 0, 0, 0, 0, 0];
        let suffixes = [0x80, 0x01, 0x04, 0x03, 0x08, 0x05, 0x07, 0, 0, 0, 0x00, 0x2E];
        let bytes = [&prefixes[..], &suffixes[..], &[0; 40][..]].concat();
        assert_eq!(longest_delta(&bytes, 10), Ok((3, 93)));
        assert_eq!(longest_delta(&bytes, 2), Ok((3, 0)));
        assert_eq!(claimed(&bytes), Ok(3));
        assert_eq!(longest_delta(&bytes[..20], 10), Err(Broken));
    }

    #[test]
    fn texts_behind_their_lengths() {
        assert_eq!(longest_plain(&[1, 0, 0, 0, b'a', 3, 0, 0, 0, b'a', b'b', b'c'], 2), Ok(3));
        assert_eq!(longest_plain(&[255, 255, 255, 127, b'a'], 1), Err(Broken));
    }
}

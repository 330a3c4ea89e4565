//! Pages unpacked, up to a bound: the crate's own codecs believe what a page says of its length, or nothing at all.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use lz4_flex::block::DecompressError;
use lz4_flex::frame::FrameDecoder;
use parquet::basic::Compression;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

/// Why a page is not unpacked.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is more than it may be.
    TooLarge,
    Broken(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Unpacks the pages of a column.
pub(super) struct Codec {
    compression: Compression,
    /// Made when it is needed, and used again.
    zstd: Option<Decompressor<'static>>,
}

impl Codec {
    pub(super) const fn new(compression: Compression) -> Self {
        Self { compression, zstd: None }
    }

    /// Appends what is packed to `out`, which may become as long as `most`.
    pub(super) fn unpack(&mut self, packed: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), Fault> {
        let room = most.saturating_sub(out.len());
        match self.compression {
            Compression::SNAPPY => snappy(packed, out, room),
            Compression::GZIP(_) => stream(MultiGzDecoder::new(packed), out, room),
            Compression::ZSTD(_) => self.zstd(packed, out, room),
            Compression::LZ4_RAW => lz4(packed, out, room),
            Compression::LZ4 => lz4_of_old(packed, out, room),
            other => Err(broken(&format!("a page compressed with {other}"))),
        }
    }

    /// A frame mostly says how long it is. There may be several.
    fn zstd(&mut self, packed: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Fault> {
        let start = out.len();
        if let Ok(Some(length)) = get_frame_content_size(packed) {
            let length = usize::try_from(length).ok().filter(|length| *length <= room).ok_or(Fault::TooLarge)?;
            out.reserve(length);
            let decompressor = match &mut self.zstd {
                Some(decompressor) => decompressor,
                none => none.insert(Decompressor::new()?),
            };
            let mut end = Cursor::new(&mut *out);
            end.set_position(start as u64);
            if decompressor.decompress_to_buffer(packed, &mut end).is_ok_and(|read| read == length) {
                return Ok(());
            }
            out.truncate(start);
        }
        let mut frames = zstd::stream::read::Decoder::with_buffer(packed)?;
        frames.window_log_max(WINDOW)?;
        stream(frames, out, room)
    }
}

/// The window of a frame, as a power of two: more than a page may be is in no page.
const WINDOW: u32 = 27;

fn broken(what: &str) -> Fault {
    Fault::Broken(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()))
}

/// Whatever comes, as far as there is room.
fn stream(unpacked: impl Read, out: &mut Vec<u8>, room: usize) -> Result<(), Fault> {
    let read = unpacked.take(room as u64 + 1).read_to_end(out)?;
    if read > room { Err(Fault::TooLarge) } else { Ok(()) }
}

/// It says how long it is.
fn snappy(packed: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Fault> {
    let invalid = |error: snap::Error| broken(&error.to_string());
    let length = snap::raw::decompress_len(packed).map_err(invalid)?;
    if length > room {
        return Err(Fault::TooLarge);
    }
    let start = out.len();
    out.resize(start + length, 0);
    let read = snap::raw::Decoder::new().decompress(packed, &mut out[start..]).map_err(invalid)?;
    out.truncate(start + read);
    Ok(())
}

/// It does not say how long it is: tried with more room until there is enough.
fn lz4(packed: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Fault> {
    const LEAST: usize = 64 << 10;
    // Of a byte come 255 at most.
    let most = room.min(packed.len().saturating_mul(255).saturating_add(64));
    let start = out.len();
    let mut length = packed.len().saturating_mul(4).max(LEAST).min(most);
    loop {
        out.resize(start + length, 0);
        match lz4_flex::block::decompress_into(packed, &mut out[start..]) {
            Ok(read) => {
                out.truncate(start + read);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if length < most => length = length.saturating_mul(4).min(most),
            Err(DecompressError::OutputTooSmall { .. }) if most == room => return Err(Fault::TooLarge),
            Err(error) => {
                out.truncate(start);
                return Err(broken(&error.to_string()));
            }
        }
    }
}

/// What was written under the old name: as Hadoop does, or a frame of LZ4's own, or a bare block.
fn lz4_of_old(packed: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Fault> {
    let start = out.len();
    match hadoop(packed, out, room) {
        Err(Fault::Broken(_)) => out.truncate(start),
        other => return other,
    }
    match stream(FrameDecoder::new(packed), out, room) {
        Err(Fault::Broken(_)) => out.truncate(start),
        other => return other,
    }
    lz4(packed, out, room)
}

/// Blocks, each behind the lengths that it has unpacked and packed.
fn hadoop(mut packed: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Fault> {
    let mut left = room;
    while !packed.is_empty() {
        let (lengths, rest) = packed.split_at_checked(8).ok_or_else(|| broken("a block of LZ4 breaks off"))?;
        let length =
            |at: usize| lengths[at..at + 4].iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let (unpacked, of) = (length(0), length(4));
        let (block, after) = rest.split_at_checked(of).ok_or_else(|| broken("a block of LZ4 breaks off"))?;
        if unpacked / 255 > of {
            return Err(broken("a block of LZ4 is too short"));
        }
        left = left.checked_sub(unpacked).ok_or(Fault::TooLarge)?;
        let start = out.len();
        out.resize(start + unpacked, 0);
        let read = lz4_flex::block::decompress_into(block, &mut out[start..]);
        if read.map_err(|error| broken(&error.to_string()))? != unpacked {
            return Err(broken("a block of LZ4 is shorter than it says"));
        }
        packed = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(codec: Compression, content: &[u8], variant: u8) -> Vec<u8> {
        match codec {
            Compression::SNAPPY => snap::raw::Encoder::new().compress_vec(content).unwrap(),
            Compression::GZIP(_) => {
                // In one member, or two.
                let at = if variant == 0 { 0 } else { content.len() / 2 };
                let member = |content: &[u8]| {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    encoder.write_all(content).unwrap();
                    encoder.finish().unwrap()
                };
                [if at == 0 { Vec::new() } else { member(&content[..at]) }, member(&content[at..])].concat()
            }
            Compression::ZSTD(_) if variant == 0 => zstd::bulk::compress(content, 1).unwrap(),
            // As a stream, whose frame does not say how long it is; or two frames.
            Compression::ZSTD(_) if variant == 1 => zstd::encode_all(content, 1).unwrap(),
            Compression::ZSTD(_) => {
                let (one, two) = content.split_at(content.len() / 2);
                [zstd::bulk::compress(one, 1).unwrap(), zstd::bulk::compress(two, 1).unwrap()].concat()
            }
            Compression::LZ4 if variant == 0 => {
                let mut all = Vec::new();
                for block in content.chunks(100_000) {
                    let packed = lz4_flex::block::compress(block);
                    for length in [block.len(), packed.len()] {
                        all.extend(u32::try_from(length).unwrap().to_be_bytes());
                    }
                    all.extend(packed);
                }
                all
            }
            Compression::LZ4 if variant == 1 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            _ => lz4_flex::block::compress(content),
        }
    }

    /// Of every codec, in every form, pages of lengths around the bound: whole where they fit, and else nothing of them.
    #[test]
    fn what_fits_is_whole_and_nothing_is_unpacked_beyond_the_bound() {
        let mut draws = fastrand::Rng::with_seed(17);
        let codecs = [
            Compression::SNAPPY,
            Compression::GZIP(parquet::basic::GzipLevel::default()),
            Compression::ZSTD(parquet::basic::ZstdLevel::default()),
            Compression::LZ4_RAW,
            Compression::LZ4,
        ];
        for case in 0..60 {
            let most = draws.usize(1..100_000);
            let length = match draws.u8(..4) {
                0 => most,
                1 => most + 1,
                2 => draws.usize(..=most),
                _ => most + draws.usize(1..500_000),
            };
            // Of one byte, or of any.
            let content: Vec<u8> =
                if draws.bool() { vec![b'x'; length] } else { (0..length).map(|_| draws.u8(..7)).collect() };
            let levels = vec![7; draws.usize(..20)];
            for codec in codecs {
                for variant in 0..3 {
                    let mut out = levels.clone();
                    let read =
                        Codec::new(codec).unpack(&packed(codec, &content, variant), &mut out, most + levels.len());
                    if length <= most {
                        assert!(read.is_ok(), "{case} {codec} {variant} {length} of {most}: {read:?}");
                        assert!(out[..levels.len()] == levels && out[levels.len()..] == content);
                    } else {
                        assert!(matches!(read, Err(Fault::TooLarge)), "{case} {codec} {variant} {length} of {most}");
                        assert!(out.capacity() <= 4 * (most + (64 << 10)), "{} for {most}", out.capacity());
                    }
                }
            }
        }
    }
}

//! Bytes of a file in a bucket, fetched before they are read, up to a bound.
//!
//! What a reader will want is known beforehand: all of a file, or for each column some ranges of it. Each of them is a
//! lane, read from its start to its end, all lanes side by side. Lanes are cut into blocks, one request each; what is
//! near to each other shares one. A lane holds the blocks at which it reads, and has the next ones under way.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::stored_file::StoredFile;
use crate::objects::Fetch;

/// Bytes of one request, at most.
const BLOCK: u64 = 1 << 20;
/// Ranges so near to each other are one request: an answer takes as long as some more bytes of it.
const GAP: u64 = 64 << 10;
/// Bytes under way or not yet read, of all lanes of a window together. Each lane has at least two blocks.
const AHEAD: u64 = 8 << 20;
/// Bytes from the end of a file with which reading begins: a Parquet file's footer, mostly with the page index.
const TAIL: u64 = 64 << 10;
/// A file that is read from its end, and is no longer than this, comes whole: its columns would cost more answers.
const SMALL: u64 = 256 << 10;
/// The least bytes of a request that was not foreseen.
const UNFORESEEN: u64 = 8 << 10;

/// Ranges of a file, each read once from its start to its end.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<StoredFile>,
    /// The end of the file and where it begins, if it was read before.
    tail: (u64, Bytes),
    lanes: Mutex<Lanes>,
}

#[derive(Debug)]
struct Lanes {
    blocks: Vec<Block>,
    lanes: Vec<Lane>,
    /// Reading has begun.
    begun: bool,
}

#[derive(Debug)]
struct Block {
    range: Range<u64>,
    held: Held,
    /// Lanes that are not past it.
    readers: usize,
}

#[derive(Debug)]
enum Held {
    No,
    Coming(Fetch),
    Here(Bytes),
}

#[derive(Debug)]
struct Lane {
    start: u64,
    /// Its blocks, by number, ascending.
    blocks: Vec<usize>,
    /// At which of them it reads.
    at: usize,
}

/// What is read first of a file of this length that is read from its end.
pub(super) const fn end(bytes: u64) -> Range<u64> {
    if bytes <= SMALL { 0..bytes } else { bytes - TAIL..bytes }
}

/// What is read first of a file of this length that is read from its start: the first block.
pub(super) const fn start(bytes: u64) -> Range<u64> {
    if bytes <= BLOCK { 0..bytes } else { 0..BLOCK }
}

impl Window {
    /// All of the file.
    pub(super) fn whole(file: Arc<StoredFile>) -> Arc<Self> {
        let all = 0..file.bytes;
        let end = (file.bytes, Bytes::new());
        Self::new(file, end, vec![vec![all]])
    }

    /// The end of the file, and whatever else is asked for.
    pub(super) fn end(file: &StoredFile) -> io::Result<(u64, Bytes)> {
        let range = end(file.bytes);
        let bytes = if file.bytes == 0 { Bytes::new() } else { file.wait(file.fetch(range.clone())?)? };
        Ok((range.start, bytes))
    }

    /// These lanes of the file: the ranges of one ascend, and no two lanes interleave.
    pub(super) fn new(file: Arc<StoredFile>, tail: (u64, Bytes), lanes: Vec<Vec<Range<u64>>>) -> Arc<Self> {
        let lanes = Lanes::cut(lanes, tail.0);
        Arc::new(Self { file, tail, lanes: Mutex::new(lanes) })
    }

    pub(super) fn len(&self) -> u64 {
        self.file.bytes
    }

    /// Some bytes from here on: at most `most`, and at least one unless the file ends here.
    fn some(&self, start: u64, most: u64) -> io::Result<Bytes> {
        if start >= self.tail.0 {
            let from = usize::try_from(start - self.tail.0).unwrap_or(usize::MAX).min(self.tail.1.len());
            let rest = self.tail.1.slice(from..);
            return Ok(rest.slice(..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))));
        }
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((number, ahead)) = lanes.arrive(start) else {
            let next = lanes.next_block(start).unwrap_or(self.tail.0);
            let end = start.saturating_add(most.max(UNFORESEEN)).min(next);
            let bytes = self.file.wait(self.file.fetch(start..end)?)?;
            let most = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            return Ok(bytes.slice(..most));
        };
        for number in lanes.beginnings().into_iter().chain(ahead) {
            let block = &mut lanes.blocks[number];
            if matches!(block.held, Held::No) {
                block.held = Held::Coming(self.file.fetch(block.range.clone())?);
            }
        }
        let block = &mut lanes.blocks[number];
        let bytes = match std::mem::replace(&mut block.held, Held::No) {
            Held::Here(bytes) => bytes,
            Held::Coming(fetch) => self.file.wait(fetch)?,
            Held::No => self.file.wait(self.file.fetch(block.range.clone())?)?,
        };
        block.held = Held::Here(bytes.clone());
        let from = usize::try_from(start - block.range.start).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.slice(from..);
        Ok(rest.slice(..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))))
    }

    /// Exactly these bytes.
    pub(super) fn bytes(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.file.bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let first = self.some(start, end - start)?;
        if first.len() == length {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        while all.len() < length {
            let at = start + all.len() as u64;
            all.extend_from_slice(&self.some(at, end - at)?);
        }
        Ok(all.freeze())
    }
}

impl Lanes {
    /// Cuts lanes into blocks, as far as they lie before `end`.
    fn cut(lanes: Vec<Vec<Range<u64>>>, end: u64) -> Self {
        let mut pieces = Vec::new();
        for (lane, ranges) in lanes.into_iter().enumerate() {
            for range in ranges {
                let (mut start, end) = (range.start, range.end.min(end));
                while start < end {
                    let to = end.min(start + BLOCK);
                    pieces.push((start..to, lane));
                    start = to;
                }
            }
        }
        pieces.sort_unstable_by_key(|(range, lane)| (*lane, range.start));
        let mut found: Vec<(usize, Lane)> = Vec::new();
        let mut by_start: Vec<(Range<u64>, usize)> = pieces;
        by_start.sort_by_key(|(range, _)| range.start);
        let mut blocks: Vec<Block> = Vec::new();
        for (range, lane) in by_start {
            let near = blocks.last_mut().filter(|block| {
                range.start <= block.range.end + GAP && range.end.max(block.range.end) - block.range.start <= BLOCK
            });
            if let Some(block) = near {
                block.range.end = block.range.end.max(range.end);
            } else {
                blocks.push(Block { range: range.clone(), held: Held::No, readers: 0 });
            }
            let number = blocks.len() - 1;
            let place = found.iter().position(|(of, _)| *of == lane).unwrap_or_else(|| {
                found.push((lane, Lane { start: range.start, blocks: Vec::new(), at: 0 }));
                found.len() - 1
            });
            let lane = &mut found[place].1;
            if lane.blocks.last() != Some(&number) {
                lane.blocks.push(number);
                blocks[number].readers += 1;
            }
        }
        let mut lanes: Vec<Lane> = found.into_iter().map(|(_, lane)| lane).collect();
        lanes.sort_unstable_by_key(|lane| lane.start);
        Self { blocks, lanes, begun: false }
    }

    /// When the first byte is asked for: the first blocks of all lanes, up to the memory for them. A reader of one lane soon
    /// reads the others, and would wait for one after the other.
    fn beginnings(&mut self) -> Vec<usize> {
        let mut numbers = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            let mut under_way = 0;
            for number in self.lanes.iter().filter_map(|lane| lane.blocks.first()) {
                under_way += self.blocks[*number].range.end - self.blocks[*number].range.start;
                if under_way > AHEAD {
                    break;
                }
                numbers.push(*number);
            }
        }
        numbers
    }

    /// The lane that reads here lets go of what is behind it. The block that has this byte, and those that should be
    /// under way now; `None`: no block has it.
    fn arrive(&mut self, start: u64) -> Option<(usize, Vec<usize>)> {
        let ahead = AHEAD / self.lanes.len().max(1) as u64;
        let place = self.lanes.partition_point(|lane| lane.start <= start).checked_sub(1)?;
        let Self { blocks, lanes, .. } = self;
        let lane = &mut lanes[place];
        while let Some(block) = lane.blocks.get(lane.at).map(|number| &mut blocks[*number])
            && block.range.end <= start
        {
            block.readers = block.readers.saturating_sub(1);
            if block.readers == 0 {
                block.held = Held::No;
            }
            lane.at += 1;
        }
        let mut under_way = 0;
        let mut wanted = Vec::new();
        for number in &lane.blocks[lane.at..] {
            if wanted.len() >= 2 && under_way >= ahead {
                break;
            }
            under_way += blocks[*number].range.end - blocks[*number].range.start;
            wanted.push(*number);
        }
        // Among blocks that were dropped, too: a reader that goes back gets the bytes once more.
        let number = lane.blocks.iter().copied().find(|number| blocks[*number].range.contains(&start))?;
        Some((number, wanted))
    }

    fn next_block(&self, start: u64) -> Option<u64> {
        let next = self.blocks.partition_point(|block| block.range.start <= start);
        self.blocks.get(next).map(|block| block.range.start)
    }
}

/// Reads on from a place.
#[derive(Debug)]
pub(super) struct Cursor {
    window: Arc<Window>,
    /// Behind what is here.
    at: u64,
    here: Bytes,
}

impl Cursor {
    pub(super) const fn new(window: Arc<Window>, at: u64) -> Self {
        Self { window, at, here: Bytes::new() }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.here.is_empty() && self.at < self.window.len() {
            self.here = self.window.some(self.at, BLOCK)?;
            self.at += self.here.len() as u64;
        }
        let count = buffer.len().min(self.here.len());
        buffer[..count].copy_from_slice(&self.here.split_to(count));
        Ok(count)
    }
}

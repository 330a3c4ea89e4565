//! What reports say about learners: all their texts side by side, one row a learner.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use super::{NONE, reserve};
use crate::reports::columns::{Chunk, Texts};
use crate::reports::interner::Interner;
use crate::reports::schema::Column;
use crate::reports::table::TextBlock;

/// Columns of `user` that are not fields of their own: the key, the parts of the name, the channel.
const APART: [&str; 4] = ["userid", "firstname", "lastname", "userchannel"];

/// The field that holds first and last name.
pub(in crate::reports) const NAME: usize = 0;

/// The learners of a load.
#[derive(Debug, Default)]
pub(in crate::reports) struct Learners {
    /// Field 0 is the name, then the other columns that were asked for.
    texts: TextBlock,
    /// The columns of `user` behind the fields from 1.
    fields: Vec<String>,
    /// The row of each user by rank, [`NONE`] if there is none.
    rows: Vec<u32>,
    /// By row: how many bytes of the name are the first name.
    first_names: Vec<u32>,
    /// By row: number of the channel.
    channels: Vec<u32>,
    channel_names: Interner,
    /// Rows of `user` that were not used because another one has their key.
    pub(super) duplicates: u64,
}

impl Learners {
    /// The row of the user of this rank.
    pub(in crate::reports) fn row(&self, user: u32) -> Option<u32> {
        self.rows.get(user as usize).copied().filter(|row| *row != NONE)
    }

    /// Which field holds a column of `user`.
    pub(in crate::reports) fn field(&self, column: &str) -> Option<usize> {
        self.fields.iter().position(|name| name.eq_ignore_ascii_case(column)).map(|at| at + 1)
    }

    /// The texts of all learners.
    pub(in crate::reports) const fn texts(&self) -> &TextBlock {
        &self.texts
    }

    /// The number of this channel, to compare with [`Learners::channel`]; `None` for the empty one and for one that no
    /// learner has.
    pub(in crate::reports) fn channel_number(&self, channel: &str) -> Option<u32> {
        if channel.is_empty() { None } else { self.channel_names.get(channel) }
    }

    /// The channel of a learner's row.
    pub(in crate::reports) fn channel(&self, row: u32) -> u32 {
        self.channels[row as usize]
    }

    pub(super) fn memory(&self) -> usize {
        let lists = [&self.rows, &self.first_names, &self.channels];
        self.texts.memory() + lists.iter().map(|list| list.capacity() * size_of::<u32>()).sum::<usize>()
    }

    /// First and last name of a row, taken apart again.
    fn names(&self, row: u32) -> (&str, &str) {
        let name = self.texts.get(row as usize, NAME);
        let (first, rest) = name.split_at(self.first_names[row as usize] as usize);
        // Between two names there is one space; where one of them is missing there is none.
        (first, if first.is_empty() { rest } else { rest.get(1..).unwrap_or("") })
    }
}

#[derive(Debug)]
pub(super) struct LearnersBuilder {
    columns: Vec<Column>,
    learners: Mutex<Learners>,
}

impl LearnersBuilder {
    pub(super) fn new(columns: &[Column]) -> Self {
        let own = |column: &&Column| !APART.iter().any(|name| name.eq_ignore_ascii_case(&column.name));
        let fields: Vec<String> = columns.iter().filter(own).map(|column| column.name.to_string()).collect();
        let texts = TextBlock::new(fields.len() + 1);
        Self { columns: columns.to_vec(), learners: Mutex::new(Learners { texts, fields, ..Learners::default() }) }
    }

    /// Takes a chunk; `ranks` says who each row is, [`NONE`] for somebody of no interest.
    pub(super) fn take(&self, chunk: &Chunk<'_>, ranks: &[u32], users: usize) {
        let mut learners = self.learners.lock().unwrap_or_else(PoisonError::into_inner);
        if learners.rows.len() < users {
            learners.rows.resize(users, NONE);
        }
        let row = Rows::new(&self.columns, chunk, &learners.fields);
        for (at, rank) in ranks.iter().enumerate().filter(|(_, rank)| **rank != NONE) {
            if let Some(known) = learners.row(*rank) {
                learners.duplicates += 1;
                if row.compare(at, &learners, known) != Ordering::Greater {
                    continue;
                }
            }
            row.append(at, &mut learners, *rank);
        }
    }

    pub(super) fn finish(self, users: usize) -> Learners {
        let mut learners = self.learners.into_inner().unwrap_or_else(PoisonError::into_inner);
        learners.rows.resize(users, NONE);
        learners
    }
}

/// The columns of a chunk of `user`.
struct Rows<'a> {
    /// Every column of the scan, in the table's order.
    columns: Vec<(&'a str, Texts<'a>)>,
    first: Texts<'a>,
    last: Texts<'a>,
    channel: Texts<'a>,
    fields: Vec<Texts<'a>>,
}

impl<'a> Rows<'a> {
    fn new(columns: &'a [Column], chunk: &Chunk<'a>, fields: &[String]) -> Self {
        Self {
            columns: columns.iter().map(|column| (column.name.as_ref(), chunk.texts(&column.name))).collect(),
            first: chunk.texts("firstname"),
            last: chunk.texts("lastname"),
            channel: chunk.texts("userchannel"),
            fields: fields.iter().map(|name| chunk.texts(name)).collect(),
        }
    }

    /// Compares a row of the chunk with one that is known, column by column.
    fn compare(&self, at: usize, learners: &Learners, known: u32) -> Ordering {
        let (first, last) = learners.names(known);
        for (name, texts) in &self.columns {
            let known = match name.to_ascii_lowercase().as_str() {
                "userid" => continue,
                "firstname" => first,
                "lastname" => last,
                "userchannel" => learners.channel_names.text(learners.channel(known)),
                _ => learners.field(name).map_or("", |field| learners.texts.get(known as usize, field)),
            };
            let order = texts.get(at).cmp(known);
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }

    /// Appends a row of the chunk as the row of this user; an earlier one is forgotten.
    fn append(&self, at: usize, learners: &mut Learners, rank: u32) {
        #[allow(clippy::expect_used, reason = "four thousand million learners do not fit in memory")]
        let row = u32::try_from(learners.channels.len()).expect("fewer than 2^32 learners");
        let (first, last) = (self.first.get(at), self.last.get(at));
        let between = if first.is_empty() || last.is_empty() { "" } else { " " };
        learners.texts.push_parts(&[first, between, last]);
        for field in &self.fields {
            learners.texts.push(field.get(at));
        }
        let channel = learners.channel_names.intern(self.channel.get(at));
        reserve(&mut learners.channels);
        learners.channels.push(channel);
        reserve(&mut learners.first_names);
        #[allow(clippy::cast_possible_truncation, reason = "arrow's text is at most 2 GiB long")]
        learners.first_names.push(first.len() as u32);
        learners.rows[rank as usize] = row;
    }
}

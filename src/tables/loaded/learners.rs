//! What reports say about learners: a line each, spelled once.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use super::NONE;
use super::people::People;
use super::weight::Budget;
use crate::columnar::encoded_rows::{EncodedRows, Layout, PIECE, RowBlock};
use crate::columnar::interner::Interner;
use crate::reports::common::{Common, From, layout, users};
use crate::tables::chunk::{Chunk, ChunkView, DictionaryCache, Texts};
use crate::tables::schema::Column;
use crate::tables::schema::user;

/// Bytes of a line, about.
const LINE_BYTES: usize = 256;

/// The learners of a load.
#[derive(Debug, Default)]
pub(crate) struct Learners {
    common: &'static [Common],
    lines: RowBlock,
    /// By rank.
    rows: Vec<Learner>,
    channel_names: Interner,
    /// Rows of `user` that were not used because another one has their key.
    pub(crate) duplicates: u64,
}

/// Where somebody's line is.
#[derive(Clone, Copy, Debug)]
struct Learner {
    /// [`NONE`]: `user` has no row of them.
    line: u32,
    /// Number of the channel.
    channel: u32,
    /// How many bytes of the name are the first name.
    first_name: u32,
}

const NOBODY: Learner = Learner { line: NONE, channel: NONE, first_name: 0 };

impl Learners {
    /// The shared columns that the lines have.
    pub(crate) const fn common(&self) -> &'static [Common] {
        self.common
    }

    /// The line of the user of this rank.
    pub(crate) fn line(&self, user: u32) -> Option<u32> {
        self.rows.get(user as usize).map(|row| row.line).filter(|line| *line != NONE)
    }

    /// The lines of all learners.
    pub(crate) const fn lines(&self) -> &RowBlock {
        &self.lines
    }

    /// The number of this channel, to compare with [`Learners::channel`]; `None` for the empty one and for one that no
    /// learner has.
    pub(crate) fn channel_number(&self, channel: &str) -> Option<u32> {
        if channel.is_empty() { None } else { self.channel_names.get(channel) }
    }

    /// The channel of the user of this rank.
    pub(crate) fn channel(&self, user: u32) -> u32 {
        self.rows[user as usize].channel
    }

    pub(crate) fn memory(&self) -> usize {
        self.lines.memory() + self.rows.capacity() * size_of::<Learner>()
    }

    /// The texts of the columns of `user` that are used, in the table's order, key aside.
    fn texts<'t>(&'t self, columns: &'t [Column], learner: Learner) -> Vec<Cow<'t, str>> {
        let cells: Vec<Cow<'t, str>> = self.lines.line(learner.line).cells(false).collect();
        let cell = |from: From| {
            let at = self.common.iter().position(|column| column.from == from);
            at.and_then(|at| cells.get(at)).cloned().unwrap_or_default()
        };
        let name = cell(From::Name);
        let (first, rest) = name.split_at_checked(learner.first_name as usize).unwrap_or((&name, ""));
        // Between two names there is one space; where one of them is missing there is none.
        let last = if first.is_empty() { rest } else { rest.get(1..).unwrap_or("") };
        let text = |column: &'t Column| match column.name.as_ref() {
            "userid" => Cow::Borrowed(""),
            "firstname" => first.to_owned().into(),
            "lastname" => last.to_owned().into(),
            "userchannel" => self.channel_names.text(learner.channel).into(),
            _ => cell(From::User(static_name(column))),
        };
        columns.iter().map(text).collect()
    }
}

/// The columns of `user` are named by the program, never by data.
fn static_name(column: &Column) -> &'static str {
    if let Cow::Borrowed(name) = column.name { name } else { "" }
}

#[derive(Debug)]
pub(crate) struct LearnersBuilder {
    common: &'static [Common],
    columns: Vec<Column>,
    layout: Layout,
    learners: Mutex<Learners>,
}

impl LearnersBuilder {
    /// For so many people of whom these shared columns are shown.
    pub(crate) fn new(common: &'static [Common], people: usize) -> Self {
        let layout = layout(common);
        let lines = RowBlock::new(layout.clone());
        let learners = Learners { common, lines, rows: vec![NOBODY; people], ..Learners::default() };
        Self { common, columns: users(common), layout, learners: Mutex::new(learners) }
    }

    /// Takes a chunk; rows of people of no interest are passed over.
    pub(crate) fn take(&self, chunk: &Chunk, people: &People, budget: &Budget) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let ids = chunk.cells(user::USERID);
        let ranks = people.ranks(chunk.rows().map(|row| ids.get(row)));
        let known: Vec<(usize, u32)> = chunk.rows().zip(ranks).filter(|(_, rank)| *rank != NONE).collect();
        for some in known.chunks(PIECE) {
            self.take_some(chunk, some, budget);
        }
    }

    fn take_some(&self, chunk: ChunkView<'_>, rows: &[(usize, u32)], budget: &Budget) {
        let first_names = chunk.cells(user::FIRSTNAME);
        let mut lines = EncodedRows::new(&self.layout);
        lines.reserve(rows.len(), rows.len() * LINE_BYTES);
        let sources: Vec<Cells<'_>> = self.common.iter().map(|column| Cells::new(column.from, chunk)).collect();
        let mut name = String::new();
        for (row, _) in rows {
            for source in &sources {
                lines.push(source.text(*row, &mut name));
            }
        }
        lines.shrink_to_fit();
        let channels = chunk.cells(user::USERCHANNEL);
        let long = rows.iter().map(|(row, _)| channels.get(*row).len().saturating_sub(LINE_BYTES)).sum::<usize>();
        if !budget.bears_texts(long.saturating_add(lines.bytes().saturating_sub(rows.len() * LINE_BYTES))) {
            return;
        }
        let mut learners = self.learners.lock().unwrap_or_else(PoisonError::into_inner);
        let learners = &mut *learners;
        let rows_of = rows.iter().map(|(row, _)| *row);
        let numbers = DictionaryCache::default().each(channels, rows_of, |channels| {
            channels.iter().map(|channel| learners.channel_names.intern(channel)).collect()
        });
        let first_line = learners.lines.append(lines);
        for ((line, (row, rank)), channel) in (first_line..).zip(rows).zip(numbers) {
            #[allow(clippy::cast_possible_truncation, reason = "arrow's text is at most 2 GiB long")]
            let learner = Learner { line, channel, first_name: first_names.get(*row).len() as u32 };
            let known = learners.rows[*rank as usize];
            if known.line != NONE {
                learners.duplicates += 1;
                let order = learners.texts(&self.columns, learner).cmp(&learners.texts(&self.columns, known));
                if order != Ordering::Greater {
                    continue;
                }
            }
            learners.rows[*rank as usize] = learner;
        }
    }

    pub(crate) fn finish(self) -> Learners {
        self.learners.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a chunk has the cells of a shared column.
enum Cells<'a> {
    Name(Texts<'a>, Texts<'a>),
    Column(Texts<'a>),
}

impl<'a> Cells<'a> {
    fn new(from: From, chunk: ChunkView<'a>) -> Self {
        match from {
            From::UserId => Self::Column(chunk.cells(user::USERID)),
            From::Name => Self::Name(chunk.cells(user::FIRSTNAME), chunk.cells(user::LASTNAME)),
            From::User(name) => Self::Column(chunk.texts(name)),
        }
    }

    /// The text of a row; `name` is used again and again.
    fn text<'t>(&'t self, row: usize, name: &'t mut String) -> &'t str {
        match self {
            Self::Column(texts) => texts.get(row),
            Self::Name(first, last) => {
                let (first, last) = (first.get(row), last.get(row));
                if first.is_empty() || last.is_empty() {
                    return if first.is_empty() { last } else { first };
                }
                name.clear();
                name.push_str(first);
                name.push(' ');
                name.push_str(last);
                name
            }
        }
    }
}

//! `user`: what reports say about learners, a row each, spelled once.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::batches::{LoadedBatches, LoadedRows};
use super::budget::Budget;
use super::learner_index::Rank;
use super::needs::TableNeed;
use super::slots::NONE;
use super::table::{LoadedTable, TableLoader};
use crate::columnar::encoded_rows::{EncodedRows, Layout, PIECE, RowBlock};
use crate::columnar::interner::Interner;
use crate::tables::chunk::{Chunk, ChunkView, DictionaryCache, Texts};
use crate::tables::plan::{Reach, Scan};
use crate::tables::schema::user::{FIRSTNAME, LASTNAME, NAMES, USERCHANNEL, USERID};
use crate::tables::schema::{Column, Table, Text, TypedColumn, user_enrolments};

/// Bytes of a row, about.
const ROW_BYTES: usize = 256;

/// A column that a report shows of each learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerColumn {
    /// Its heading.
    pub heading: &'static str,
    /// What it shows.
    pub cell: LearnerCell,
    /// Whether it is empty for learners of other channels, under the privacy policy.
    pub is_private: bool,
}

/// What a column shows of a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnerCell {
    /// The first and the last name, with a space between.
    Name,
    /// A column of `user`.
    Column(TypedColumn<Text>),
}

/// Learners, with these columns of each. Those that are not private stand together.
#[must_use]
pub fn need(shown: &'static [LearnerColumn]) -> TableNeed {
    let shown_columns = shown.iter().filter_map(|column| match column.cell {
        LearnerCell::Column(column) => Some(column),
        LearnerCell::Name => None,
    });
    let mut columns: Vec<TypedColumn<Text>> =
        [FIRSTNAME, LASTNAME, USERCHANNEL].into_iter().chain(shown_columns).collect();
    columns.retain(|column| *column != USERID);
    columns.sort_by_key(|column| NAMES.iter().position(|name| *name == column.name()));
    columns.dedup();
    TableNeed {
        table: Table::User,
        columns: [USERID.key()].into_iter().chain(columns.into_iter().map(TypedColumn::optional)).collect(),
        reach: Reach::Semi { column: USERID, of: (Table::UserEnrolments, user_enrolments::USERID) },
        learner: Some(USERID),
        loader: Some(Arc::new(LearnersLoader(shown))),
    }
}

/// How rows are laid out.
fn layout(shown: &[LearnerColumn]) -> Layout {
    let start = shown.iter().position(|column| !column.is_private).unwrap_or(shown.len());
    let public = shown[start..].iter().take_while(|column| !column.is_private).count();
    Layout { cells: shown.len(), public: start..start + public }
}

/// The learners of a load.
#[derive(Debug)]
pub struct Learners {
    shown: &'static [LearnerColumn],
    rows: RowBlock,
    /// By rank.
    learners: Vec<Learner>,
    channel_names: Interner,
    /// Rows of `user` that were not used because another one has their key.
    duplicates: u64,
}

/// Where a learner's row is.
#[derive(Clone, Copy, Debug)]
struct Learner {
    /// [`NONE`]: `user` has no row of them.
    row: u32,
    /// Number of the channel.
    channel: u32,
    /// How many bytes of the name are the first name.
    first_name: u32,
}

const NOBODY: Learner = Learner { row: NONE, channel: NONE, first_name: 0 };

impl Learners {
    /// The columns that the rows have.
    #[must_use]
    pub const fn shown(&self) -> &'static [LearnerColumn] {
        self.shown
    }

    /// The row of a learner.
    #[must_use]
    pub fn row(&self, user: Rank) -> Option<u32> {
        self.learners.get(user.index()).map(|learner| learner.row).filter(|row| *row != NONE)
    }

    /// The rows of all learners.
    #[must_use]
    pub const fn rows(&self) -> &RowBlock {
        &self.rows
    }

    /// The number of this channel, to compare with [`Learners::channel`]; `None` for the empty one and for one that no
    /// learner has.
    #[must_use]
    pub fn channel_number(&self, channel: &str) -> Option<u32> {
        if channel.is_empty() { None } else { self.channel_names.get(channel) }
    }

    /// The channel of a learner.
    #[must_use]
    pub fn channel(&self, user: Rank) -> u32 {
        self.learners[user.index()].channel
    }

    /// The texts of the columns of `user` that are used, in the table's order, key aside: they say which of two rows is
    /// greater.
    fn texts<'t>(&'t self, columns: &[Column], learner: Learner) -> Vec<Cow<'t, str>> {
        let cells: Vec<Cow<'t, str>> = self.rows.row(learner.row).cells(false).collect();
        let cell = |is_it: &dyn Fn(LearnerCell) -> bool| {
            let at = self.shown.iter().position(|column| is_it(column.cell));
            at.and_then(|at| cells.get(at)).cloned()
        };
        let name = cell(&|cell| cell == LearnerCell::Name).unwrap_or_default();
        let (first, rest) = name.split_at_checked(learner.first_name as usize).unwrap_or((&name, ""));
        // Between two names there is one space; where one of them is missing there is none.
        let last = if first.is_empty() { rest } else { rest.get(1..).unwrap_or("") };
        let text = |column: &Column| {
            let is_shown = |cell| matches!(cell, LearnerCell::Column(of) if of.name() == column.name);
            match column.name.as_ref() {
                name if name == USERID.name() => Cow::Borrowed(""),
                name if name == USERCHANNEL.name() => self.channel_names.text(learner.channel).into(),
                name if name == FIRSTNAME.name() && !first.is_empty() => first.to_owned().into(),
                name if name == LASTNAME.name() && !last.is_empty() => last.to_owned().into(),
                _ => cell(&is_shown).unwrap_or_default(),
            }
        };
        columns.iter().map(text).collect()
    }
}

impl LoadedRows for Learners {}

#[derive(Debug)]
struct LearnersLoader(&'static [LearnerColumn]);

impl TableLoader for LearnersLoader {
    fn begin(&self, scan: &Scan, loaded: &LoadedBatches) -> Box<dyn LoadedTable> {
        let (Self(shown), layout) = (self, layout(self.0));
        let learners = Learners {
            shown,
            rows: RowBlock::new(layout.clone()),
            learners: vec![NOBODY; loaded.learner_index().count()],
            channel_names: Interner::default(),
            duplicates: 0,
        };
        Box::new(LearnersBuilder { shown, columns: scan.columns.clone(), layout, learners: Mutex::new(learners) })
    }
}

#[derive(Debug)]
struct LearnersBuilder {
    shown: &'static [LearnerColumn],
    columns: Vec<Column>,
    layout: Layout,
    learners: Mutex<Learners>,
}

impl LoadedTable for LearnersBuilder {
    /// Rows of learners of no interest are passed over.
    fn take(&self, chunk: &Chunk, loaded: &LoadedBatches, budget: &Budget) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let ids = chunk.cells(USERID);
        let ranks = loaded.learner_index().ranks(chunk.rows().map(|row| ids.get(row)));
        let known: Vec<(usize, Rank)> = chunk.rows().zip(ranks).filter(|(_, rank)| *rank != Rank::NONE).collect();
        for some in known.chunks(PIECE) {
            self.take_some(chunk, some, budget);
        }
    }

    fn finish(self: Box<Self>, loaded: &mut LoadedBatches, _: &Budget) {
        let learners = self.learners.into_inner().unwrap_or_else(PoisonError::into_inner);
        loaded.keep_listed(|enrolled| enrolled.keep_known(|user| learners.row(user).is_some()));
        loaded.add_duplicates(Table::User, learners.duplicates);
        loaded.add(Table::User, learners);
        loaded.count_learners();
    }
}

impl LearnersBuilder {
    /// Takes rows of a chunk, each given with the rank of its learner; at most [`PIECE`].
    fn take_some(&self, chunk: ChunkView<'_>, rows: &[(usize, Rank)], budget: &Budget) {
        let encoded = self.encoded(chunk, rows);
        let channels = chunk.cells(USERCHANNEL);
        let long = rows.iter().map(|(row, _)| channels.get(*row).len().saturating_sub(ROW_BYTES)).sum::<usize>();
        let long = long.saturating_add(encoded.bytes().saturating_sub(rows.len() * ROW_BYTES));
        if !budget.has_room_for_texts(long) {
            return;
        }
        let first_names = chunk.cells(FIRSTNAME);
        let mut learners = self.learners.lock().unwrap_or_else(PoisonError::into_inner);
        let learners = &mut *learners;
        let rows_of = rows.iter().map(|(row, _)| *row);
        let numbers = DictionaryCache::default().each(channels, rows_of, |channels| {
            channels.iter().map(|channel| learners.channel_names.intern(channel)).collect()
        });
        let first_row = learners.rows.append(encoded);
        for ((encoded, (row, rank)), channel) in (first_row..).zip(rows).zip(numbers) {
            #[allow(clippy::cast_possible_truncation, reason = "arrow's text is at most 2 GiB long")]
            let learner = Learner { row: encoded, channel, first_name: first_names.get(*row).len() as u32 };
            let known = learners.learners[rank.index()];
            if known.row != NONE {
                learners.duplicates += 1;
                let order = learners.texts(&self.columns, learner).cmp(&learners.texts(&self.columns, known));
                if order != Ordering::Greater {
                    continue;
                }
            }
            learners.learners[rank.index()] = learner;
        }
    }

    /// What is shown of these rows.
    fn encoded(&self, chunk: ChunkView<'_>, rows: &[(usize, Rank)]) -> EncodedRows {
        let mut encoded = EncodedRows::new(&self.layout);
        encoded.reserve(rows.len(), rows.len() * ROW_BYTES);
        let cells: Vec<Cells<'_>> = self.shown.iter().map(|column| Cells::new(column.cell, chunk)).collect();
        let mut name = String::new();
        for (row, _) in rows {
            for cell in &cells {
                encoded.push(cell.text(*row, &mut name));
            }
        }
        encoded.shrink_to_fit();
        encoded
    }
}

/// Where a chunk has the cells of a column that is shown.
enum Cells<'a> {
    Name(Texts<'a>, Texts<'a>),
    Column(Texts<'a>),
}

impl<'a> Cells<'a> {
    fn new(cell: LearnerCell, chunk: ChunkView<'a>) -> Self {
        match cell {
            LearnerCell::Name => Self::Name(chunk.cells(FIRSTNAME), chunk.cells(LASTNAME)),
            LearnerCell::Column(column) => Self::Column(chunk.cells(column)),
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

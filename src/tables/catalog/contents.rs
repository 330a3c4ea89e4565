//! Contents in memory: one row of texts each, found by identifier.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::columnar::interner::Interner;
use crate::columnar::text_block::TextBlock;
use crate::tables::chunk::ChunkView;
use crate::tables::decimal::Decimal;
use crate::tables::schema::content::{CHANNEL, CONTENT_TYPE, FRAMEWORK, IDENTIFIER, LEAF_NODES_COUNT, NAME};
use crate::tables::schema::{Column, ColumnType, Kind, Presence, TypedColumn};

/// The order of the table's columns; further metadata comes after them, by name.
const ORDER: [&str; 10] = [
    IDENTIFIER.name(),
    NAME.name(),
    CHANNEL.name(),
    FRAMEWORK.name(),
    CONTENT_TYPE.name(),
    "primaryCategory",
    "status",
    LEAF_NODES_COUNT.name(),
    "createdOn",
    "userConsent",
];

/// The columns that are always read.
fn always() -> [Column; 6] {
    [
        IDENTIFIER.key(),
        NAME.optional(),
        CHANNEL.optional(),
        FRAMEWORK.optional(),
        CONTENT_TYPE.optional(),
        LEAF_NODES_COUNT.optional(),
    ]
}

/// The columns to read where filters name these fields, each once whatever its case, in the table's order.
pub(crate) fn columns(metadata: &BTreeSet<String>) -> Vec<Column> {
    let mut columns: BTreeMap<(usize, String), Column> = BTreeMap::new();
    let further = metadata.iter().map(|name| Column {
        name: Cow::Owned(name.clone()),
        kind: Kind::Json,
        presence: Presence::Optional,
    });
    for column in always().into_iter().chain(further) {
        let place = ORDER.iter().position(|name| name.eq_ignore_ascii_case(&column.name)).unwrap_or(ORDER.len());
        columns.entry((place, column.name.to_ascii_lowercase())).or_insert(column);
    }
    columns.into_values().collect()
}

/// The contents, ordered by the bytes of their identifiers.
#[derive(Debug)]
pub struct Contents {
    columns: Vec<Column>,
    /// Rows as they came; fields in the order of `columns`.
    texts: TextBlock,
    /// For each row.
    leaf_nodes: Vec<Option<i64>>,
    /// The row of each content.
    rows: Vec<u32>,
    identifiers: Interner,
    /// The content of each number of `identifiers`.
    positions: Vec<u32>,
    fixed: Fixed,
}

/// Where the columns that are always read stand.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    name: usize,
    channel: usize,
    framework: usize,
    content_type: usize,
}

impl Contents {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The content with this identifier.
    #[must_use]
    pub fn position(&self, identifier: &str) -> Option<usize> {
        Some(self.positions[self.identifiers.get(identifier)? as usize] as usize)
    }

    /// Its identifier.
    #[must_use]
    pub fn identifier(&self, content: usize) -> &str {
        self.text(content, 0)
    }

    /// Its name, empty if it has none.
    #[must_use]
    pub fn name(&self, content: usize) -> &str {
        self.text(content, self.fixed.name)
    }

    /// Its channel, empty if it has none.
    #[must_use]
    pub fn channel(&self, content: usize) -> &str {
        self.text(content, self.fixed.channel)
    }

    /// Its `contentType`, empty if it has none.
    #[must_use]
    pub fn content_type(&self, content: usize) -> &str {
        self.text(content, self.fixed.content_type)
    }

    /// How many leaf nodes it has, where that is known.
    #[must_use]
    pub fn leaf_nodes(&self, content: usize) -> Option<i64> {
        self.leaf_nodes[self.rows[content] as usize]
    }

    /// Its frameworks: one, several or none.
    #[must_use]
    pub fn frameworks(&self, content: usize) -> Vec<String> {
        let plain = |value: Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        let json = self.text(content, self.fixed.framework);
        match json_value(json) {
            Some(Value::Array(list)) => list.into_iter().filter_map(plain).collect(),
            value => value.and_then(plain).into_iter().collect(),
        }
    }

    /// The values of a metadata field, whatever its case; one that was not read has none.
    pub(crate) fn metadata(&self, field: &str) -> Metadata<'_> {
        let at = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(field));
        Metadata { contents: self, at: at.map(|at| (at, self.columns[at].kind)) }
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.texts.memory() + self.identifiers.memory() + self.rows.len() * (8 + size_of::<Option<i64>>())
    }

    fn text(&self, content: usize, field: usize) -> &str {
        self.texts.get(self.rows[content] as usize, field)
    }
}

/// One metadata field of all contents.
#[derive(Clone, Copy)]
pub(crate) struct Metadata<'a> {
    contents: &'a Contents,
    at: Option<(usize, Kind)>,
}

impl Metadata<'_> {
    /// The value of a content, `None` where nothing is there.
    pub(crate) fn get(self, content: usize) -> Option<Value> {
        let (at, kind) = self.at?;
        let text = self.contents.text(content, at);
        match kind {
            Kind::Count => self.contents.leaf_nodes(content).map(Value::from),
            Kind::Json => json_value(text),
            _ => (!text.is_empty()).then(|| Value::String(text.to_owned())),
        }
    }
}

/// A value of kind JSON. Text that is none (which no source should deliver) counts as itself.
fn json_value(text: &str) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    match serde_json::from_str(text) {
        Ok(Value::Null) => None,
        Ok(value) => Some(value),
        Err(_) => Some(Value::String(text.to_owned())),
    }
}

/// Takes rows of `content`.
#[derive(Debug)]
pub(crate) struct ContentsBuilder {
    columns: Vec<Column>,
    texts: TextBlock,
    leaf_nodes: Vec<Option<i64>>,
    identifiers: Interner,
    /// The row of each number of `identifiers`.
    rows: Vec<u32>,
    duplicates: u64,
}

impl ContentsBuilder {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            texts: TextBlock::new(columns.len()),
            leaf_nodes: Vec::new(),
            identifiers: Interner::default(),
            rows: Vec::new(),
            duplicates: 0,
        }
    }

    pub(crate) fn take(&mut self, chunk: ChunkView<'_>) {
        let text = |column: &Column| (column.kind != Kind::Count).then(|| chunk.texts(&column.name));
        let texts: Vec<_> = self.columns.iter().map(text).collect();
        let leaf_nodes = chunk.cells(LEAF_NODES_COUNT);
        for row in chunk.rows() {
            for column in &texts {
                self.texts.push(column.map_or("", |column| column.get(row)));
            }
            self.leaf_nodes.push(leaf_nodes.get(row));
            self.finish_row(self.leaf_nodes.len() - 1);
        }
    }

    /// Of rows with one identifier the greatest is used.
    fn finish_row(&mut self, row: usize) {
        let number = self.identifiers.intern(self.texts.get(row, 0)) as usize;
        #[allow(clippy::expect_used, reason = "four thousand million contents do not fit in memory")]
        let here = u32::try_from(row).expect("fewer than 2^32 rows of content");
        if number == self.rows.len() {
            self.rows.push(here);
            return;
        }
        self.duplicates += 1;
        if self.compare(row, self.rows[number] as usize) == Ordering::Greater {
            self.rows[number] = here;
        }
    }

    fn compare(&self, left: usize, right: usize) -> Ordering {
        let column = |(at, column): (usize, &Column)| match column.kind {
            Kind::Count => self.leaf_nodes[left].cmp(&self.leaf_nodes[right]),
            Kind::Json => compare_json(self.texts.get(left, at), self.texts.get(right, at)),
            _ => self.texts.get(left, at).cmp(self.texts.get(right, at)),
        };
        self.columns.iter().enumerate().map(column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The contents, and how many rows were not used because another one has their key.
    pub(crate) fn finish(self) -> (Contents, u64) {
        let Self { columns, texts, leaf_nodes, identifiers, mut rows, duplicates } = self;
        let fixed = Fixed {
            name: position(&columns, NAME),
            channel: position(&columns, CHANNEL),
            framework: position(&columns, FRAMEWORK),
            content_type: position(&columns, CONTENT_TYPE),
        };
        rows.sort_unstable_by(|left, right| texts.get(*left as usize, 0).cmp(texts.get(*right as usize, 0)));
        let mut positions = vec![0; rows.len()];
        for (position, row) in (0..).zip(&rows) {
            if let Some(number) = identifiers.get(texts.get(*row as usize, 0)) {
                positions[number as usize] = position;
            }
        }
        (Contents { columns, texts, leaf_nodes, rows, identifiers, positions, fixed }, duplicates)
    }
}

/// Where a column stands that is always read.
fn position<T: ColumnType>(columns: &[Column], column: TypedColumn<T>) -> usize {
    let name = column.name();
    columns.iter().position(|asked| asked.name == name).unwrap_or_default()
}

/// Numbers as numbers, anything else by its text; nothing there is smallest.
fn compare_json(left: &str, right: &str) -> Ordering {
    if left == right || left.is_empty() || right.is_empty() {
        return left.cmp(right);
    }
    if let (Some(left), Some(right)) = (Decimal::parse(left), Decimal::parse(right)) {
        return left.cmp(&right);
    }
    let text = |json: &str| match json_value(json) {
        Some(Value::String(text)) => text,
        _ => json.to_owned(),
    };
    text(left).cmp(&text(right)).then_with(|| left.cmp(right))
}

//! A scan as a statement.
//!
//! Not here: running it, and what comes of its rows.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Schema};

use super::dialect::{as_bytes, as_text, bytes, quoted};
use super::transport::{KeyRelation, LONGEST, LocalRows, Statement};
use crate::sources::spellings::Spellings;
use crate::tables::key_range::KeyRange;
use crate::tables::keys::Keys;
use crate::tables::plan::{LearnerRange, Scan, ScanReach};

/// The names under which the keys of a scan and of the table that it follows from stand in a statement.
const SCAN_KEYS: &str = "exhaustd_keys";
const ORIGIN_KEYS: &str = "exhaustd_origin_keys";

/// A relation of the engine, and how it has the columns of a scan.
pub(super) struct Described<'a> {
    /// As it stands after `FROM`.
    relation: &'a str,
    schema: &'a Schema,
    spellings: Spellings,
    /// For each spelling, its column in the relation.
    places: Vec<Option<usize>>,
}

impl<'a> Described<'a> {
    /// Finds the columns of a scan.
    ///
    /// # Errors
    /// Which column must be there and is not, or which two may be meant by one name.
    pub(super) fn new(scan: &Scan, relation: &'a str, schema: &'a Schema) -> Result<Self, String> {
        let spellings = Spellings::of(scan);
        let places = spellings.among(|| schema.fields().iter().map(|field| field.name().as_bytes()));
        let places = places.map_err(|clash| clash.to_string())?;
        if let Some(names) = spellings.missing(scan, &spellings.columns(|at| places[at].is_some())) {
            return Err(format!("has no column {names}"));
        }
        Ok(Self { relation, schema, spellings, places })
    }

    /// The columns of the statement's rows, by their places in the relation.
    fn selected(&self) -> Vec<usize> {
        let mut selected: Vec<usize> = self.places.iter().copied().flatten().collect();
        selected.sort_unstable();
        selected.dedup();
        selected
    }

    /// For each spelling, its column among those of the statement's rows.
    pub(super) fn places(&self) -> Vec<Option<usize>> {
        let selected = self.selected();
        self.places.iter().map(|place| selected.binary_search(&(*place)?).ok()).collect()
    }

    fn column(&self, place: usize) -> String {
        format!("t.{}", quoted(self.schema.field(place).name()))
    }

    /// A column of the scan as text, of its first spelling that has any. `None`: the engine may write it as another text
    /// than we do, so nothing can be left to it.
    fn text(&self, scan: &Scan, name: &str) -> Option<String> {
        let column = scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        let spellings: Range<usize> = self.spellings.of_column(column);
        let texts = self.places[spellings].iter().copied().flatten().map(|place| {
            use DataType as T;
            match self.schema.field(place).data_type() {
                T::Utf8 | T::LargeUtf8 | T::Utf8View => Some(self.column(place)),
                T::Int8 | T::Int16 | T::Int32 | T::Int64 => Some(as_text(&self.column(place))),
                _ => None,
            }
        });
        match texts.collect::<Option<Vec<String>>>()?.as_slice() {
            [] => None,
            [text] => Some(text.clone()),
            [first @ .., last] => {
                let first: Vec<String> = first.iter().map(|text| format!("nullif({text}, '')")).collect();
                Some(format!("coalesce({}, {last})", first.join(", ")))
            }
        }
    }

    /// The column of the scan's key as the statement's rows have it, where it has one spelling.
    pub(super) fn key(&self, scan: &Scan) -> Option<String> {
        let name = match &scan.reach {
            ScanReach::Keys { column, .. } | ScanReach::Semi { column, .. } => column,
            ScanReach::Everything => return None,
        };
        let column = scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        let mut places = self.places[self.spellings.of_column(column)].iter().copied().flatten();
        let place = places.next().filter(|_| places.next().is_none())?;
        Some(quoted(self.schema.field(place).name()))
    }

    /// The conditions on the rows of a scan, beside those of a semi join.
    fn conditions(&self, scan: &Scan, keys: &str, keyless: Keyless) -> Vec<String> {
        let keyed = match &scan.reach {
            ScanReach::Keys { column, .. } => {
                self.text(scan, column).map(|text| among(&text, &format!("SELECT key FROM {keys} AS k"), keyless))
            }
            ScanReach::Everything | ScanReach::Semi { .. } => None,
        };
        // The keys of a semi join are those of the range already. Rows without one come with each range: another may have no keys.
        let range = scan.learners.as_ref().filter(|_| !matches!(scan.reach, ScanReach::Semi { .. }));
        let range = range.and_then(|learners| self.range(scan, learners));
        keyed.into_iter().chain(range).collect()
    }

    fn range(&self, scan: &Scan, LearnerRange { column, range }: &LearnerRange) -> Option<String> {
        Some(in_range(&self.text(scan, column)?, range))
    }

    /// Whether the engine leaves out rows of learners outside of the scan's range.
    pub(super) fn applies_range(&self, scan: &Scan) -> bool {
        scan.learners.as_ref().is_some_and(|learners| self.range(scan, learners).is_some())
    }
}

/// The statement of a scan by its keys, or of a whole table.
pub(super) fn by_keys(scan: &Scan, described: &Described<'_>, keyless: Keyless) -> Statement {
    let keys = scan.only().map(|(_, keys)| keys_as(SCAN_KEYS, keys));
    let conditions = described.conditions(scan, SCAN_KEYS, keyless);
    let is_keyed = conditions.iter().any(|condition| condition.contains(SCAN_KEYS));
    Statement {
        text: select(described, &conditions),
        keys: keys.into_iter().filter(|_| is_keyed).collect(),
        longest: LONGEST,
    }
}

/// The statement of a scan whose keys follow from another table of the engine. `None`: the engine cannot compare them.
pub(super) fn joined(
    scan: &Scan,
    described: &Described<'_>,
    origin: &Scan,
    described_origin: &Described<'_>,
) -> Option<Statement> {
    let ScanReach::Semi { column, of, .. } = &scan.reach else { return None };
    let (text, key) = (described.text(scan, column)?, described_origin.text(origin, &of.column)?);
    let of_origin = described_origin.conditions(origin, ORIGIN_KEYS, Keyless::LeftOut);
    let limited = of_origin.iter().any(|condition| condition.contains(ORIGIN_KEYS));
    let mut rows = of_origin;
    rows.push(format!("{key} IS NOT NULL"));
    let rows = rows.join(" AND ");
    let origin_rows = format!("SELECT {key} AS key FROM {} AS t WHERE {rows}", described_origin.relation);
    let mut conditions = described.conditions(scan, SCAN_KEYS, Keyless::Taken);
    conditions.push(among(&text, &format!("SELECT k.key FROM ({origin_rows}) AS k"), Keyless::Taken));
    let keys = origin.only().filter(|_| limited);
    let keys = keys.map(|(_, keys)| keys_as(ORIGIN_KEYS, keys));
    Some(Statement { text: select(described, &conditions), keys: keys.into_iter().collect(), longest: LONGEST })
}

impl Statement {
    /// Whether it selects from the keys of its scan.
    pub(super) fn has_keys_of_scan(&self) -> bool {
        self.keys.iter().any(|relation| relation.name == SCAN_KEYS)
    }
}

/// The same rows, put in order by the column `key`, so that a reader of some batches opens few of the files.
pub(super) fn in_order(rows: Statement, key: Option<&str>) -> Statement {
    let Some(key) = key else { return rows };
    let select = rows.text.strip_prefix("SELECT ").unwrap_or(&rows.text);
    Statement { text: format!("SELECT /*+ REPARTITION_BY_RANGE({key}) */ {select} SORT BY {key}"), ..rows }
}

/// The statement that writes rows as Parquet into a place of the engine.
pub(super) fn insert(into: &str, rows: &str) -> String {
    format!("INSERT OVERWRITE DIRECTORY '{into}' USING parquet {rows}")
}

fn keys_as(name: &str, keys: &Arc<dyn Keys>) -> KeyRelation {
    KeyRelation { name: name.to_owned(), rows: LocalRows::Keys(Arc::clone(keys)) }
}

fn select(described: &Described<'_>, conditions: &[String]) -> String {
    let mut columns: Vec<String> = described.selected().into_iter().map(|place| described.column(place)).collect();
    if columns.is_empty() {
        // None of the columns is there, and none has to be: the number of rows counts all the same.
        columns.push("1 AS nothing".to_owned());
    }
    let rows = format!("SELECT {} FROM {} AS t", columns.join(", "), described.relation);
    if conditions.is_empty() { rows } else { format!("{rows} WHERE {}", conditions.join(" AND ")) }
}

/// What becomes of rows without a key: they are unusable, and whose they are is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyless {
    /// They come, and are counted.
    Taken,
    /// They have been counted, or count nowhere.
    LeftOut,
}

fn among(text: &str, keys: &str, keyless: Keyless) -> String {
    match keyless {
        Keyless::Taken => format!("({text} IN ({keys}) OR {text} IS NULL OR {text} = '')"),
        Keyless::LeftOut => format!("{text} IN ({keys})"),
    }
}

/// Rows without a learner are in the first range, so that they are counted once.
fn in_range(text: &str, range: &KeyRange) -> String {
    let bounds = [(">", &range.after), ("<=", &range.up_to)];
    let bounds = bounds.into_iter().filter_map(|(than, bound)| Some((than, bound.as_deref()?)));
    let bounds: Vec<String> =
        bounds.map(|(than, bound)| format!("{} {than} {}", as_bytes(text), bytes(bound))).collect();
    let within = if bounds.is_empty() { "1 = 1".to_owned() } else { bounds.join(" AND ") };
    if range.after.is_some() { format!("({within})") } else { format!("({within} OR {text} IS NULL)") }
}

//! `job_stats`: what a finished request says about how it was made. The shape is the specification's, see
//! `docs/reports.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::reports::Counts;
use crate::reports::filters::LeftOut;
use crate::requests::ClaimedRequest;
use crate::sources::ScanStats;
use crate::tables::quality::RowsRead;
use crate::tables::schema::Table;

/// Counts of odd rows: table → reason → number.
pub type OddRows = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// A row that was not used because another one has its key.
const DUPLICATE: &str = "duplicate key";

/// What the requests of one group share.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupStats {
    /// The claim's short name, as in the object keys.
    pub id: String,
    /// Requests of this job in the claim.
    pub requests: usize,
    /// How often shared data was loaded.
    pub loads: u32,
    /// Distinct files generated so far.
    pub batches_generated: u64,
    /// Files delivered by copying one that was generated for another request.
    pub batches_shared: u64,
    /// From the submission of the oldest request to the claim.
    pub wait_ms: i64,
    /// Wall time of loading.
    pub load_ms: u64,
    /// Generating and encoding, added up over threads.
    pub generate_ms: u64,
    /// Putting files in their place, added up over threads.
    pub store_ms: u64,
}

impl GroupStats {
    /// Of the requests of one job that were claimed together, under the claim's short name.
    #[must_use]
    pub(super) fn of(claim: &str, requests: &[ClaimedRequest]) -> Self {
        let longest = requests.iter().filter_map(|request| Some(request.claimed - request.submitted?)).max();
        Self {
            id: claim.to_owned(),
            requests: requests.len(),
            wait_ms: longest.map_or(0, |wait| wait.num_milliseconds().max(0)),
            ..Self::default()
        }
    }
}

impl GroupStats {
    /// Adds what another part of the same request took.
    pub(super) fn add(&mut self, part: &Self) {
        self.loads += part.loads;
        self.batches_generated += part.batches_generated;
        self.batches_shared += part.batches_shared;
        self.load_ms += part.load_ms;
        self.generate_ms += part.generate_ms;
        self.store_ms += part.store_ms;
    }
}

/// What loading came across, by table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoadStats(BTreeMap<Table, TableStats>);

/// What loading came across in one table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct TableStats {
    /// What the load of another range of learners does not come across.
    of_range: OddValues,
    /// What every range of learners of the same batch comes across.
    of_all: OddValues,
}

/// Rows and dates that are not as they should be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OddValues {
    /// Unusable, odd and duplicate rows, by reason.
    rows: BTreeMap<String, u64>,
    /// Dates that do not read.
    dates: u64,
}

impl OddValues {
    fn add(&mut self, reason: &str, rows: u64) {
        if rows > 0 {
            *self.rows.entry(reason.to_owned()).or_default() += rows;
        }
    }

    fn merge(&mut self, other: &Self) {
        other.rows.iter().for_each(|(reason, rows)| self.add(reason, *rows));
        self.dates += other.dates;
    }
}

impl LoadStats {
    /// Tables that were read.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        self.0.keys().copied()
    }

    /// Unusable, odd and duplicate rows.
    #[must_use]
    pub fn odd_rows(&self) -> OddRows {
        let rows = self.0.iter().map(|(table, stats)| (table.name(), stats.all().rows));
        rows.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// Dates that do not read.
    #[must_use]
    pub fn unreadable_dates(&self) -> u64 {
        self.0.values().map(|stats| stats.all().dates).sum()
    }

    /// Adds what another load came across.
    pub fn merge(&mut self, other: &Self) {
        for (table, theirs) in &other.0 {
            let mine = self.0.entry(*table).or_default();
            mine.of_range.merge(&theirs.of_range);
            mine.of_all.merge(&theirs.of_all);
        }
    }

    /// Adds what another part of the same request came across. Every part has read the whole catalogue.
    pub(super) fn add_part(&mut self, mut part: Self) {
        for table in [Table::CourseBatch, Table::Content] {
            if self.0.contains_key(&table) {
                part.0.remove(&table);
            }
        }
        self.merge(&part);
    }

    /// Leaves what the load of a range of learners adds to those of other ranges of the batch, which have read tables that
    /// are `known`. The tables of this load are known then.
    pub fn leave_new(&mut self, known: &mut BTreeSet<Table>) {
        for (table, stats) in &mut self.0 {
            if !known.insert(*table) {
                stats.of_all = OddValues::default();
            }
        }
    }

    /// Adds what one scan came across; which rows it has `read`.
    pub fn add(&mut self, table: Table, scanned: &ScanStats, read: RowsRead) {
        let TableStats { of_range, of_all } = self.0.entry(table).or_default();
        if read == RowsRead::OfLearners {
            scanned.without_key.iter().for_each(|(reason, rows)| of_all.add(reason, *rows));
        }
        let mine = if read == RowsRead::All { of_all } else { of_range };
        mine.dates += scanned.unreadable_dates;
        scanned.odd.iter().for_each(|(reason, rows)| mine.add(reason, *rows));
        for (reason, rows) in &scanned.bad {
            let counted = scanned.without_key.get(reason).filter(|_| read == RowsRead::OfLearners);
            mine.add(reason, rows - counted.unwrap_or(&0));
        }
    }

    /// Adds duplicate keys.
    pub fn add_duplicates(&mut self, duplicates: &BTreeMap<Table, u64>) {
        for (table, rows) in duplicates {
            let TableStats { of_range, of_all } = self.0.entry(*table).or_default();
            // One tree is of a whole course. Others are looked for among the rows of a range.
            let mine = if *table == Table::ContentHierarchy { of_all } else { of_range };
            mine.add(DUPLICATE, *rows);
        }
    }

    /// Adds rows that cannot be used although their source could read them: trees of courses.
    pub fn add_unusable(&mut self, unusable: &BTreeMap<(Table, &'static str), u64>) {
        for ((table, reason), rows) in unusable {
            self.0.entry(*table).or_default().of_all.add(reason, *rows);
        }
    }
}

impl TableStats {
    fn all(&self) -> OddValues {
        let mut all = self.of_range.clone();
        all.merge(&self.of_all);
        all
    }
}

/// What one request delivered.
#[derive(Clone, Debug, Default)]
pub struct RequestStats {
    /// Files.
    pub batches: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows, and where the other enrolments went.
    pub counts: Counts,
    /// Batches that were asked for and not delivered.
    pub left_out: LeftOut,
    /// In how many parts daemons worked on it; 0: in one piece.
    pub parts: usize,
}

/// The JSON of one request.
#[must_use]
pub fn job_stats(group: &GroupStats, load: &LoadStats, request: &RequestStats) -> Value {
    let counts = &request.counts;
    let mut bad_rows = load.odd_rows();
    for (table, columns) in &counts.cells {
        for (column, cells) in columns.iter().filter(|(_, cells)| cells.unreadable > 0) {
            let reasons = bad_rows.entry(table.name()).or_default();
            reasons.insert(format!("{column} does not read"), cells.unreadable);
        }
    }
    let mut stats = json!({
        "group": {
            "id": group.id,
            "requests": group.requests,
            "loads": group.loads,
            "batches_generated": group.batches_generated,
            "batches_shared": group.batches_shared,
            "wait_ms": group.wait_ms,
            "load_ms": group.load_ms,
            "generate_ms": group.generate_ms,
            "store_ms": group.store_ms,
        },
        "batches": request.batches,
        "rows": counts.rows,
        "bytes": request.bytes,
        "enrolled": counts.enrolled,
        "left_out": counts.by_reason(),
        "attempts_without_enrolment": counts.attempts_without_enrolment,
        "batches_left_out": BTreeMap::from(request.left_out.by_reason()),
        "bad_rows": bad_rows,
        "unreadable_dates": load.unreadable_dates(),
    });
    if request.parts > 0 {
        stats["parts"] = json!(request.parts);
    }
    stats
}

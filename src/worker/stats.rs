//! `job_stats`: what a finished request says about how it was made. The shape is the specification's, see
//! `docs/reports.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::reports::Counts;
use crate::reports::filters::LeftOut;
use crate::requests::ClaimedRequest;
use crate::sources::ScanStats;
use crate::tables::schema::Table;

/// Counts of odd rows: table → reason → number.
pub type OddRows = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// A row that was not used because another one has its key.
const DUPLICATE: &str = "duplicate key";

/// What the requests of one group share.
#[derive(Clone, Debug, Default)]
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

/// What loading came across.
#[derive(Clone, Debug, Default)]
pub struct LoadStats {
    /// Tables that were read.
    pub tables: BTreeSet<Table>,
    /// Those of which only rows of one range of learners were read.
    pub of_range: BTreeSet<Table>,
    /// Unusable, odd and duplicate rows.
    pub odd_rows: OddRows,
    /// Dates that do not read.
    pub unreadable_dates: u64,
}

impl LoadStats {
    /// Adds what another load came across.
    pub fn merge(&mut self, other: Self) {
        self.tables.extend(other.tables);
        self.of_range.extend(other.of_range);
        self.unreadable_dates += other.unreadable_dates;
        for (table, reasons) in other.odd_rows {
            let mine = self.odd_rows.entry(table).or_default();
            for (reason, n) in reasons {
                *mine.entry(reason).or_default() += n;
            }
        }
    }

    /// Leaves what another range of learners of the same batch adds: odd rows of tables that were read by range, and
    /// duplicates among the rows of learners, which are found in the rows of a range.
    pub fn leave_of_range(&mut self) {
        if !self.of_range.contains(&Table::UserEnrolments) {
            self.unreadable_dates = 0;
        }
        let of_range = &self.of_range;
        for (table, reasons) in &mut self.odd_rows {
            let by_range = of_range.iter().any(|of| of.name() == *table);
            // One tree is of a whole course.
            let of_learners = *table != Table::ContentHierarchy.name();
            reasons.retain(|reason, _| by_range || of_learners && reason == DUPLICATE);
        }
        self.odd_rows.retain(|_, reasons| !reasons.is_empty());
    }

    /// Adds what one scan came across.
    pub fn add(&mut self, table: Table, tally: &ScanStats) {
        self.tables.insert(table);
        self.unreadable_dates += tally.unreadable_dates;
        for (reason, n) in tally.bad.iter().chain(&tally.odd) {
            self.add_rows(table, reason.clone(), *n);
        }
    }

    /// Adds duplicate keys.
    pub fn add_duplicates(&mut self, duplicates: &BTreeMap<Table, u64>) {
        for (&table, &n) in duplicates {
            self.add_rows(table, DUPLICATE.to_owned(), n);
        }
    }

    /// Adds rows of a table that are odd for this reason.
    pub fn add_rows(&mut self, table: Table, reason: String, n: u64) {
        if n > 0 {
            *self.odd_rows.entry(table.name()).or_default().entry(reason).or_default() += n;
        }
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
}

/// The JSON of one request.
#[must_use]
pub fn job_stats(group: &GroupStats, load: &LoadStats, request: &RequestStats) -> Value {
    let counts = &request.counts;
    let mut bad_rows = load.odd_rows.clone();
    for (table, columns) in &counts.cells {
        for (column, cells) in columns.iter().filter(|(_, cells)| cells.unreadable > 0) {
            let reasons = bad_rows.entry(table.name()).or_default();
            reasons.insert(format!("{column} does not read"), cells.unreadable);
        }
    }
    json!({
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
        "unreadable_dates": load.unreadable_dates,
    })
}

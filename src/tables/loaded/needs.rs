//! What a report needs, as a list of tables; and the plan of a load that follows from it.

use std::sync::Arc;

use super::table::TableLoader;
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::key_range::KeyRange;
use crate::tables::plan::{KeySet, LearnerRange, LoadPlan, Reach, Scan, ScanReach, SemiOrigin};
use crate::tables::schema::{Column, Table, Text, TypedColumn};

/// The order in which tables are loaded, since each says what of the next is needed: enrolments, which learners are
/// looked for in all others; the tree of a course, which of its activities count. Learners come last: what is said of
/// them is most of what stays, and the rows of the others have become few by then.
const ORDER: &[Table] =
    &[Table::UserEnrolments, Table::ContentHierarchy, Table::UserActivityAgg, Table::AssessmentAggregator, Table::User];

/// What a report needs: tables, and of each the columns and how its rows are reached.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The tables, in any order, none of them twice. The catalogue is read in any case.
    pub tables: Vec<TableNeed>,
}

/// What a report needs of a table.
#[derive(Clone, Debug)]
pub struct TableNeed {
    /// The table.
    pub table: Table,
    /// The columns, in the order of the table: of rows with one key the greatest in that order is used.
    pub columns: Vec<Column>,
    /// Which rows.
    pub reach: Reach,
    /// The column with the learner's id, where rows are of one learner each.
    pub learner: Option<TypedColumn<Text>>,
    /// How it is loaded. `None`: the catalogue has it.
    pub loader: Option<Arc<dyn TableLoader>>,
}

impl TableNeed {
    /// Columns of a table of the catalogue, which is read as a whole; all of them are among those that it reads anyway.
    /// They become as strictly required as is said here.
    #[must_use]
    pub const fn of_catalog(table: Table, columns: Vec<Column>) -> Self {
        Self { table, columns, reach: Reach::Everything, learner: None, loader: None }
    }

    /// The keys by which it is known which batch a row is of.
    pub(super) const fn keys(&self) -> Option<KeySet> {
        match self.reach {
            Reach::Keys { of, .. } => Some(of),
            Reach::Everything | Reach::Semi { .. } => None,
        }
    }
}

impl Needs {
    /// The tables that are read, those of the catalogue first.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let loaded = self.in_order().into_iter().map(|(need, _)| need.table);
        [Table::CourseBatch, Table::Content].into_iter().chain(loaded).collect()
    }

    /// The columns that are needed of a table.
    #[must_use]
    pub fn columns(&self, table: Table) -> &[Column] {
        self.tables.iter().find(|need| need.table == table).map_or(&[], |need| &need.columns)
    }

    /// Tables of which only rows of the batches are read.
    #[must_use]
    pub fn of_batches(&self) -> Self {
        let by_batch = |need: &&TableNeed| matches!(need.keys(), Some(KeySet::Batches | KeySet::Contexts));
        Self { tables: self.tables.iter().filter(by_batch).cloned().collect() }
    }

    /// What tells which columns the report has where they follow from the rows of all learners of a batch.
    #[must_use]
    pub fn that_find_columns(&self) -> Self {
        let finds = |(_, loader): &(&TableNeed, &Arc<dyn TableLoader>)| loader.finds_columns();
        Self { tables: self.in_order().into_iter().filter(finds).map(|(need, _)| need.clone()).collect() }
    }

    /// The plan of a load of these batches, or of some of their learners.
    #[must_use]
    pub fn plan(&self, catalog: &Catalog, batches: &[BatchIdx], learners: &KeyRange) -> LoadPlan {
        let mut plan = LoadPlan::default();
        for (need, _) in self.in_order() {
            let batches = batches.iter().map(|batch| catalog.batch(*batch));
            let reach = match need.reach {
                Reach::Everything => ScanReach::Everything,
                Reach::Keys { column, of } => {
                    let keys = of.of(batches.map(|batch| (batch.id.as_str(), batch.course_id.as_str())));
                    ScanReach::Keys { column: column.name().into(), keys }
                }
                Reach::Semi { column, of: (table, of) } => match plan.scans.iter().find(|scan| scan.table == table) {
                    Some(scan) => {
                        let of = Arc::new(SemiOrigin { column: of.name().into(), scan: scan.clone() });
                        ScanReach::Semi { column: column.name().into(), keys: None, of }
                    }
                    // More rows, never fewer.
                    None => ScanReach::Everything,
                },
            };
            let range =
                |column: TypedColumn<Text>| LearnerRange { column: column.name().into(), range: learners.clone() };
            let learners = need.learner.filter(|_| !learners.is_everybody()).map(range);
            plan.scans.push(Scan { table: need.table, columns: need.columns.clone(), reach, learners });
        }
        plan
    }

    /// The tables that are loaded, in the order in which they are, and how.
    pub(super) fn in_order(&self) -> Vec<(&TableNeed, &Arc<dyn TableLoader>)> {
        let mut loaded: Vec<_> = self.tables.iter().filter_map(|need| Some((need, need.loader.as_ref()?))).collect();
        loaded.sort_by_key(|(need, _)| ORDER.iter().position(|table| *table == need.table));
        loaded
    }

    /// Bytes of an enrolment with everything that commonly comes with it.
    pub(super) fn bytes_per_enrolment(&self) -> u64 {
        self.in_order().into_iter().map(|(_, loader)| loader.bytes_per_enrolment()).sum()
    }
}

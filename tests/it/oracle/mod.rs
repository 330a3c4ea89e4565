//! The reports computed a second time, in SQL alone, from the specification and nothing else: what the program must
//! come to, byte for byte. The statements stand in the `.sql` files beside this one, the rule above each.
//!
//! What the specification leaves open is settled here as said at the statement, and fixtures keep away from it.

#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod fixtures;
mod load;
mod sample;

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Text};

pub(crate) use load::Dialect;

/// Which attempt of a learner at an assessment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The one with the best score.
    Best,
    /// The last one.
    Latest,
}

/// The fixtures' and the sample data's tables in a database of their own.
pub(crate) struct Oracle {
    db: SqliteConnection,
}

/// What becomes of the enrolments of a batch; the rest are the rows of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All rows of the batch in `user_enrolments` that can be used.
    pub(crate) enrolled: u64,
    /// Rows of the report.
    pub(crate) rows: u64,
    pub(crate) other_course: u64,
    pub(crate) inactive: u64,
    pub(crate) no_user: u64,
    pub(crate) duplicate: u64,
    /// Listed learners without an attempt that counts; 0 for the course report.
    pub(crate) no_attempt: u64,
    /// Attempts that count, of people without an enrolment that passes; 0 for the course report.
    pub(crate) attempts_without_enrolment: u64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Oracle {
    /// Tables as CSV (RFC 4180) or JSON lines, one file for each; time zone UTC.
    pub(crate) fn load(directory: &Path) -> Self {
        Self::load_as(directory, Dialect::Rfc4180, 0)
    }

    /// The same in another dialect and time zone (minutes east of UTC).
    pub(crate) fn load_as(directory: &Path, dialect: Dialect, zone_minutes: i64) -> Self {
        let mut db = SqliteConnection::establish(":memory:").unwrap();
        db.batch_execute(&format!(
            "CREATE TABLE setting AS SELECT {zone_minutes} * 60000000 AS zone_us;
             CREATE TABLE raw (tbl TEXT, doc TEXT);
             CREATE TABLE asked (batch TEXT, privacy INTEGER, attempt TEXT);"
        ))
        .unwrap();
        load::tables(directory, dialect, |table, rows| {
            sql_query("INSERT INTO raw SELECT ?, value FROM json_each(?)")
                .bind::<Text, _>(table)
                .bind::<Text, _>(rows)
                .execute(&mut db)
                .unwrap();
        });
        db.batch_execute(include_str!("tables.sql")).unwrap();
        Self { db }
    }

    /// The course report of a batch as a CSV file.
    pub(crate) fn course(&mut self, batch: &str, privacy: bool) -> String {
        self.ask(batch, privacy, Attempt::Best);
        self.run(include_str!("course.sql"));
        self.file()
    }

    /// The assessment report of a batch as a CSV file, under the privacy policy.
    pub(crate) fn assessment(&mut self, batch: &str, attempt: Attempt) -> String {
        self.assessment_shown(batch, attempt, true)
    }

    /// The assessment report with or without the privacy policy.
    pub(crate) fn assessment_shown(&mut self, batch: &str, attempt: Attempt, privacy: bool) -> String {
        self.ask(batch, privacy, attempt);
        self.run(include_str!("assessment.sql"));
        self.file()
    }

    /// What becomes of the enrolments in the course report.
    pub(crate) fn counts_course(&mut self, batch: &str) -> Counts {
        self.ask(batch, true, Attempt::Best);
        let rows = self.count("SELECT count(*) AS n FROM learner");
        Counts { rows, ..self.fates() }
    }

    /// What becomes of the enrolments, and of attempts, in the assessment report.
    pub(crate) fn counts_assessment(&mut self, batch: &str) -> Counts {
        self.ask(batch, true, Attempt::Best);
        self.run(include_str!("assessment.sql"));
        let rows = self.count("SELECT count(DISTINCT userid) AS n FROM cell");
        let no_attempt =
            self.count("SELECT count(*) AS n FROM learner WHERE userid NOT IN (SELECT user_id FROM attempt)");
        let attempts_without_enrolment =
            self.count("SELECT count(*) AS n FROM attempt WHERE user_id NOT IN (SELECT userid FROM learner)");
        Counts { rows, no_attempt, attempts_without_enrolment, ..self.fates() }
    }

    /// Every batch, by id.
    pub(crate) fn batches(&mut self) -> Vec<String> {
        let lines: Vec<Line> =
            sql_query("SELECT batchid AS text FROM course_batch ORDER BY 1").load(&mut self.db).unwrap();
        lines.into_iter().map(|line| line.text).collect()
    }

    fn ask(&mut self, batch: &str, privacy: bool, attempt: Attempt) {
        self.run("DELETE FROM asked");
        let known = sql_query("INSERT INTO asked SELECT batchid, ?, ? FROM course_batch WHERE batchid = ?")
            .bind::<Bool, _>(privacy)
            .bind::<Text, _>(if attempt == Attempt::Best { "best" } else { "latest" })
            .bind::<Text, _>(batch)
            .execute(&mut self.db)
            .unwrap();
        assert_eq!(known, 1, "no batch {batch}");
        self.run(include_str!("listed.sql"));
    }

    fn file(&mut self) -> String {
        self.run(include_str!("lines.sql"));
        // Texts compare by their bytes; the header has no user id, and nothing comes before everything.
        let lines: Vec<Line> = sql_query("SELECT text FROM line ORDER BY userid").load(&mut self.db).unwrap();
        lines.into_iter().map(|line| line.text + "\n").collect()
    }

    fn fates(&mut self) -> Counts {
        let mut of = |fate: &str| {
            self.count(&format!("SELECT count(*) AS n FROM enrolment WHERE fate = '{fate}' OR '{fate}' = 'all'"))
        };
        Counts {
            enrolled: of("all"),
            other_course: of("other_course"),
            inactive: of("inactive"),
            no_user: of("no_user"),
            duplicate: of("duplicate"),
            ..Counts::default()
        }
    }

    fn run(&mut self, statements: &str) {
        self.db.batch_execute(statements).unwrap();
    }

    fn count(&mut self, query: &str) -> u64 {
        let count: Count = sql_query(query).get_result(&mut self.db).unwrap();
        u64::try_from(count.n).unwrap()
    }
}

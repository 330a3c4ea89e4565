//! The data: each cell as the text that dumps have, and as what a typed store holds; and what must come of it, written
//! by hand. The configured time zone is Asia/Kolkata (UTC+05:30).

use exhaust::tables::schema::{Column, Kind, Table};

/// What a typed column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Bool,
    Int,
    /// Up to six decimals.
    Decimal,
    /// An instant, microseconds since 1970.
    Instant,
    /// A local time, microseconds since 1970 of the same clock face in UTC.
    Local,
    List,
    /// Names to counts.
    Counts,
    /// Names to instants.
    Instants,
}

/// A value of a typed column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Typed {
    Null,
    Text(&'static str),
    Bool(bool),
    Int(i64),
    /// In millionths.
    Decimal(i64),
    Micros(i64),
    List(&'static [&'static str]),
    Counts(&'static [(&'static str, i64)]),
    Instants(&'static [(&'static str, i64)]),
}

/// A cell, in both spellings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// `""` is nothing: CSV has no other spelling for it.
    pub(crate) text: &'static str,
    pub(crate) typed: Typed,
}

/// A table of the platform with its contents.
pub(crate) struct Set {
    pub(crate) table: Table,
    /// As the store names them (case does not matter), with the type of a typed column.
    pub(crate) stored: &'static [(&'static str, Type)],
    pub(crate) rows: Vec<Vec<Cell>>,
    /// What a scan asks for.
    pub(crate) asked: Vec<Column>,
    /// The column that a scan may be limited by, and the keys of such a scan.
    pub(crate) only: (&'static str, &'static [&'static str]),
    /// The rows that must come, cells parted by `|`; whether they are of the keys above.
    pub(crate) expected: &'static [(&'static str, bool)],
}

const fn nothing() -> Cell {
    Cell { text: "", typed: Typed::Null }
}

const fn text(text: &'static str) -> Cell {
    Cell { text, typed: Typed::Text(text) }
}

const fn cell(text: &'static str, typed: Typed) -> Cell {
    Cell { text, typed }
}

/// Data of which every value reads, for every form.
pub(crate) fn readable() -> Vec<Set> {
    vec![enrolments(), activity(), attempts(), content()]
}

/// `date -u -d '2020-06-30 07:50:04' +%s` is 1593503404.
const JUNE: i64 = 1_593_503_404_062_000;
/// The clock face 2020-07-01 00:00:00 read as UTC: 1593561600. In Kolkata it was 18:30 UTC of the day before.
const JULY_LOCAL: i64 = 1_593_561_600_000_000;

fn enrolments() -> Set {
    use Typed::{Bool, List, Micros};
    Set {
        table: Table::UserEnrolments,
        stored: &[
            ("batchid", Type::Text),
            ("UserID", Type::Text),
            ("courseid", Type::Text),
            ("addedby", Type::Text),
            ("active", Type::Bool),
            ("enrolleddate", Type::Instant),
            ("completedon", Type::Local),
            ("certificates", Type::List),
        ],
        rows: vec![
            vec![
                text("b1"),
                text("u1"),
                text("c1"),
                text("nobody asks for this"),
                cell("True", Bool(true)),
                cell("2020-06-30 07:50:04:062+0000", Micros(JUNE)),
                cell("2020-07-01", Micros(JULY_LOCAL)),
                cell("['x', 'y']", List(&["x", "y"])),
            ],
            vec![
                text("b1"),
                text("u2"),
                text("c1"),
                nothing(),
                cell(" FALSE ", Bool(false)),
                nothing(),
                nothing(),
                nothing(),
            ],
            vec![
                text("b2"),
                text("it's \"u\", \\ {3}"),
                text("c1\r\nline\tend \\N"),
                text("\\\"\n"),
                cell("1", Bool(true)),
                cell("2020-06-30T13:20:04.062+05:30", Micros(JUNE)),
                cell("2020-07-01T00:00:00", Micros(JULY_LOCAL)),
                cell("[]", List(&[])),
            ],
            vec![
                text("b3"),
                text("மாணவர்"),
                text("c2"),
                text("x"),
                cell("0", Bool(false)),
                cell("2020-06-30T07:50:04.062Z", Micros(JUNE)),
                nothing(),
                cell(r#"[{"name":"a","url":"b"}]"#, List(&["one"])),
            ],
        ],
        asked: vec![
            Column::key("batchid"),
            Column::key("courseid"),
            Column::key("userid"),
            Column::required("active", Kind::Bool),
            Column::optional("enrolleddate", Kind::Instant),
            Column::optional("completedon", Kind::Instant),
            Column::optional("certificates", Kind::Entries),
            Column::optional("issued_certificates", Kind::Entries),
        ],
        only: ("batchid", &["b2", "b3", "b4", "it's \"not\" \\ there"]),
        expected: &[
            ("b1|c1|u1|true|2020-06-30T07:50:04.062Z|2020-06-30T18:30:00Z|2|-", false),
            ("b1|c1|u2|false|-|-|-|-", false),
            ("b2|c1\r\nline\tend \\N|it's \"u\", \\ {3}|true|2020-06-30T07:50:04.062Z|2020-06-30T18:30:00Z|0|-", true),
            ("b3|c2|மாணவர்|false|2020-06-30T07:50:04.062Z|-|1|-", true),
        ],
    }
}

fn activity() -> Set {
    use Typed::{Counts, Instants};
    Set {
        table: Table::UserActivityAgg,
        stored: &[
            ("activity_type", Type::Text),
            ("activity_id", Type::Text),
            ("user_id", Type::Text),
            ("context_id", Type::Text),
            ("agg", Type::Counts),
            ("agg_last_updated", Type::Instants),
        ],
        rows: vec![
            vec![
                text("Course"),
                text("a1"),
                text("u1"),
                text("cb:b1"),
                cell("{'completedCount': 4}", Counts(&[("completedCount", 4)])),
                cell("{'completedCount': '2020-06-30 07:50:04.062000+0000'}", Instants(&[("completedCount", JUNE)])),
            ],
            vec![
                text("Course"),
                text("a2"),
                text("u1"),
                text("cb:b2"),
                cell(r#"{"other": 7, "completedCount": 0}"#, Counts(&[("other", 7), ("completedCount", 0)])),
                nothing(),
            ],
        ],
        asked: vec![
            Column::key("context_id"),
            Column::key("user_id"),
            Column::key("activity_id"),
            Column::required("agg", Kind::CompletedCount),
            Column::optional("agg_last_updated", Kind::LastUpdated),
        ],
        only: ("context_id", &["cb:b1"]),
        expected: &[("cb:b1|u1|a1|4|2020-06-30T07:50:04.062Z", true), ("cb:b2|u1|a2|0|-", false)],
    }
}

fn attempts() -> Set {
    use Typed::{Decimal, Micros};
    Set {
        table: Table::AssessmentAggregator,
        stored: &[
            ("content_id", Type::Text),
            ("attempt_id", Type::Text),
            ("user_id", Type::Text),
            ("batch_id", Type::Text),
            ("last_attempted_on", Type::Instant),
            ("total_max_score", Type::Decimal),
            ("total_score", Type::Decimal),
            ("grand_total", Type::Text),
        ],
        rows: vec![
            vec![
                text("q1"),
                text("a1"),
                text("u1"),
                text("b1"),
                cell("2020-06-30 07:50:04.062+0000", Micros(JUNE)),
                cell("10", Decimal(10_000_000)),
                cell("7.5", Decimal(7_500_000)),
                text("7.5/10"),
            ],
            vec![
                text("q1"),
                text("a2"),
                text("u1"),
                text("b1"),
                nothing(),
                cell("0.30", Decimal(300_000)),
                cell("0.000001", Decimal(1)),
                nothing(),
            ],
        ],
        asked: vec![
            Column::key("batch_id"),
            Column::key("user_id"),
            Column::key("content_id"),
            Column::key("attempt_id"),
            Column::required("total_score", Kind::Decimal),
            Column::required("total_max_score", Kind::Decimal),
            Column::optional("grand_total", Kind::Text),
            Column::optional("last_attempted_on", Kind::Instant),
        ],
        only: ("batch_id", &["b2"]),
        expected: &[
            ("b1|u1|q1|a1|7500000|10000000|7.5/10|2020-06-30T07:50:04.062Z", false),
            ("b1|u1|q1|a2|1|300000|-|-", false),
        ],
    }
}

fn content() -> Set {
    use Typed::{Int, List};
    Set {
        table: Table::Content,
        stored: &[
            ("identifier", Type::Text),
            ("name", Type::Text),
            ("leafnodescount", Type::Int),
            ("gradeLevel", Type::List),
            ("contentType", Type::Text),
        ],
        rows: vec![
            vec![
                text("do_1"),
                text(" Kurs \"eins\" "),
                cell("9", Int(9)),
                cell("['Class 1', 'Class 2']", List(&["Class 1", "Class 2"])),
                text("Course"),
            ],
            vec![text("do_2"), text("012"), nothing(), nothing(), text("")],
        ],
        asked: vec![
            Column::key("identifier"),
            Column::optional("name", Kind::Text),
            Column::optional("leafNodesCount", Kind::Count),
            Column::optional("gradeLevel", Kind::Json),
            Column::optional("contentType", Kind::Json),
            Column::optional("nowhere", Kind::Json),
        ],
        only: ("identifier", &["do_2"]),
        expected: &[(r#"do_1| Kurs "eins" |9|["Class 1","Class 2"]|"Course"|-"#, false), ("do_2|012|-|-|-|-", true)],
    }
}

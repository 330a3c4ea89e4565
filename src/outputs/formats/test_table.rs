//! One small table with every kind of cell, for the tests of the formats.

use std::borrow::Cow;

use chrono::NaiveDate;

use crate::columnar::encoded_rows::{EncodedRows, Layout, RowBlock};
use crate::tables::finished::{Finished, Listed, TableColumn, Values};

/// Two rows; the first cell of the second one is hidden.
pub(super) fn with<T>(work: impl FnOnce(&Finished<'_>) -> T) -> T {
    let mut block = RowBlock::new(Layout { cells: 2, public: 1..2 });
    let mut lines = EncodedRows::new(block.layout());
    for text in ["0131234567890123456", "=1, \"x\"\n", "private", "b\u{1}_x000D_\r"] {
        lines.push(text);
    }
    block.append(lines);
    let column = |heading, values| TableColumn { heading: Cow::Borrowed(heading), from_data: false, values };
    work(&Finished {
        rows: 2,
        listed: Some(Listed {
            headings: vec!["User ID", "Name"],
            lines: &block,
            keys: vec![0, 1],
            hidden: Some(vec![false, true]),
        }),
        columns: vec![
            column("Same", Values::Constant("s")),
            column("Date", Values::Date(vec![NaiveDate::from_ymd_opt(2018, 2, 1), None])),
            column("Int", Values::Int(vec![Some(100), None])),
            column("Percent", Values::Percent(vec![Some(-33), None])),
            column("T \"ü\"", Values::Text(vec!["007".into(), "".into()])),
        ],
    })
}

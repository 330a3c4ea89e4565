//! Text for people: tables with aligned columns, sizes, times.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

/// Rows under headings, columns aligned on the left. Control characters are replaced: clients wrote most of this text.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// A time, or nothing.
pub(super) fn time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A time for programs, to the millisecond.
pub(super) fn iso(at: Option<DateTime<Utc>>) -> Option<String> {
    at.map(|at| at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_show() {
        let rows = [["long tag".to_owned(), "1".to_owned()], ["é\u{1b}[0m".to_owned(), String::new()]];
        assert_eq!(table(["TAG", "N"], &rows), "TAG       N\nlong tag  1\né·[0m\n");
    }
}

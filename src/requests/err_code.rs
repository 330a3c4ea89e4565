//! Kinds of failures: a stable word for each, which is in rows beside `err_message`. Programs and operators group failures by
//! it; messages may change at any time.
//!
//! This file is the one place where they are listed. `docs/api.md` has the same table, which a test compares. What a failure
//! is of which kind is said where the failure arises.

/// Defines the codes once: the enum, [`ErrCode::ALL`], words and meanings.
macro_rules! err_codes {
    ($($name:ident = $text:literal: $meaning:literal,)+) => {
        /// The kind of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrCode {
            $(#[doc = $meaning] $name,)+
        }

        impl ErrCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word, and what it says of a request.
            const fn described(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$name => ($text, $meaning),)+
                }
            }
        }
    };
}

err_codes! {
    NoData = "no_data": "No batch is left to report on, or the query returned no rows.",
    BadRequest = "bad_request": "`request_data` is empty or wrong, or a name or path in it is too long.",
    Forbidden = "forbidden": "The API key that made the request may not ask for this report.",
    SourceUnavailable = "source_unavailable": "The platform's tables cannot be read now; it was tried `max_attempts` times.",
    SourceBroken = "source_broken": "A table is missing or damaged, too many of its rows are unusable, or a query is wrong.",
    StoreUnavailable = "store_unavailable": "Files cannot be stored now: the store does not answer, or is full.",
    StoreRefused = "store_refused": "The store refuses the credentials, or takes no file of this name or size.",
    Protection = "protection": "The `encryptionKey` is missing, unsuitable, wiped, or cannot be opened.",
    Crashed = "crashed": "The request ended its daemon several times while nothing else was worked on.",
    Cancelled = "cancelled": "Somebody cancelled the request; `err_message` says who.",
    TooLarge = "too_large": "More batches, rows or bytes than a request, a file or the memory may have.",
    Timeout = "timeout": "It took longer than it may.",
    FileMissing = "file_missing": "The request was COMPLETED, and a file of it is not in the store any more.",
    Internal = "internal": "A defect of the program. Please report it.",
}

impl ErrCode {
    /// As rows, answers and metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.described().0
    }

    /// Reads a code; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_code() {
        let row = |(word, meaning): (&str, &str)| format!("| `{word}` | {meaning} |");
        let rows: Vec<String> = ErrCode::ALL.iter().map(|code| row(code.described())).collect();
        let page = include_str!("../../docs/api.md");
        let table: Vec<&str> =
            page.lines().skip_while(|line| *line != "| err_code | meaning |").skip(2).take(rows.len() + 1).collect();
        assert_eq!(table.join("\n").trim_end(), rows.join("\n"), "docs/api.md, Failures");
    }

    #[test]
    fn every_code_reads_and_fits_its_column() {
        for code in ErrCode::ALL {
            assert_eq!(ErrCode::parse(code.as_str()), Some(*code));
            assert!(code.as_str().len() <= 30, "the column's length");
        }
        assert_eq!(ErrCode::parse("NO_DATA"), None);
    }
}

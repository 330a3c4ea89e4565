//! The states of a request. This file is the one place where they are listed: what asks which of them are open or final
//! asks here, and the SQL lists below are compared with the answers when the program is compiled.
//!
//! A new state is found by the compiler: [`Status::is_open`] and [`Status::is_final`] match all states, and a list that
//! lacks one does not compile. `migrations/` repeats the lists in the conditions of indexes, which a test compares.

/// The open states as an SQL list, word by word as the partial indexes have it.
macro_rules! open_statuses {
    () => {
        "'SUBMITTED', 'PROCESSING'"
    };
}

/// The final states as an SQL list, as the index `job_request_finished` has it.
macro_rules! final_statuses {
    () => {
        "'COMPLETED', 'FAILED'"
    };
}

/// [`Status::SUCCESS`] for SQL.
macro_rules! success {
    () => {
        "SUCCESS"
    };
}

pub(super) use {final_statuses, open_statuses, success};

/// Defines the states once: the enum, [`Status::ALL`] and [`Status::as_str`].
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// The states of a request. Nothing else is ever written.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Status {
            $($(#[$doc])* $name,)+
        }

        impl Status {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As the table spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

statuses! {
    /// Waits.
    Submitted = "SUBMITTED",
    /// Claimed by a daemon.
    Processing = "PROCESSING",
    /// Every file is stored.
    Completed = "COMPLETED",
    /// Ended without a report.
    Failed = "FAILED",
}

impl Status {
    /// Another spelling of [`Status::Completed`], in rows of other systems. It is read and never written.
    pub const SUCCESS: &'static str = success!();

    /// Whether the request waits or is being worked on: it counts towards a client's limit of open requests.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Submitted | Self::Processing => true,
            Self::Completed | Self::Failed => false,
        }
    }

    /// Whether the request has ended: nothing but a resubmission changes its row, and retention may remove it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Submitted | Self::Processing => false,
            Self::Completed | Self::Failed => true,
        }
    }

    /// Reads the table's spelling, and [`Status::SUCCESS`]; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == Self::SUCCESS {
            return Some(Self::Completed);
        }
        Self::ALL.iter().copied().find(|status| status.as_str() == text)
    }
}

const _: () = assert!(lists(open_statuses!(), false), "open_statuses! is not the list of the open states");
const _: () = assert!(lists(final_statuses!(), true), "final_statuses! is not the list of the final states");

/// Whether `sql` is the list of the final states, or else of the open ones, in the order of [`Status::ALL`].
const fn lists(sql: &str, finals: bool) -> bool {
    let mut rest = sql.as_bytes();
    let mut at = 0;
    let mut is_first = true;
    while at < Status::ALL.len() {
        let status = Status::ALL[at];
        assert!(status.is_open() != status.is_final(), "a state is either open or final");
        if status.is_final() == finals {
            let Some(after) = after_quoted(rest, status.as_str().as_bytes(), is_first) else { return false };
            rest = after;
            is_first = false;
        }
        at += 1;
    }
    rest.is_empty()
}

/// What follows `'name'`, before which a comma stands unless it is the first; `None` where something else stands there.
const fn after_quoted<'a>(sql: &'a [u8], name: &[u8], is_first: bool) -> Option<&'a [u8]> {
    let opening: &[u8] = if is_first { b"'" } else { b", '" };
    let Some(sql) = after(sql, opening) else { return None };
    let Some(sql) = after(sql, name) else { return None };
    after(sql, b"'")
}

/// What follows `prefix`. (`strip_prefix` of slices is not const.)
const fn after<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let Some((head, rest)) = text.split_at_checked(prefix.len()) else { return None };
    let mut at = 0;
    while at < prefix.len() {
        if head[at] != prefix[at] {
            return None;
        }
        at += 1;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_as_it_is_written() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(*status));
        }
        assert_eq!(Status::parse("SUCCESS"), Some(Status::Completed));
        assert_eq!([Status::parse("submitted"), Status::parse("")], [None, None]);
    }

    /// Both databases use a partial index only where a statement repeats its condition.
    #[test]
    fn indexes_have_the_same_lists() {
        let (open, ended) = (concat!("IN (", open_statuses!(), ")"), concat!("IN (", final_statuses!(), ")"));
        for files in [super::super::postgres::MIGRATIONS, super::super::sqlite::MIGRATIONS] {
            let statements = files.concat();
            let lists: Vec<&str> =
                statements.match_indices("status IN (").map(|(at, _)| &statements[at + "status ".len()..]).collect();
            assert!(
                lists.iter().any(|list| list.starts_with(open)) && lists.iter().any(|list| list.starts_with(ended))
            );
            assert!(lists.iter().all(|list| list.starts_with(open) || list.starts_with(ended)), "{lists:?}");
        }
    }
}

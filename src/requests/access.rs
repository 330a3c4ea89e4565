//! Who may see which rows, and within which limits; and globs in the language of each backend.

use serde_json::json;
use wildmatch::WildMatch;

use super::types::RequestRow;

/// Which rows a caller may see. In globs `*` is any run of characters and `?` one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// Globs of tags; empty: every tag.
    pub tags: Vec<String>,
    /// Globs of channels; `None`: every channel. Otherwise only rows for one of these channels are visible, and only if they
    /// were made by a key with the same list of channels or without one: the files of another key may hold more channels.
    pub channels: Option<Vec<String>>,
}

impl Reader {
    /// Sees every row.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether any row of this tag is visible.
    #[must_use]
    pub fn covers_tag(&self, tag: &str) -> bool {
        self.tags.is_empty() || matches(&self.tags, tag)
    }

    /// Whether any row for this channel is visible.
    #[must_use]
    pub fn covers_channel(&self, channel: &str) -> bool {
        self.channels.as_ref().is_none_or(|channels| matches(channels, channel))
    }

    /// Whether this row is visible.
    #[must_use]
    pub fn sees(&self, row: &RequestRow) -> bool {
        self.covers_tag(&row.tag)
            && (self.channels.is_none()
                || row.requested_channel.as_deref().is_some_and(|channel| self.covers_channel(channel))
                    && row
                        .allowed_channels
                        .as_ref()
                        .is_none_or(|allowed| Some(allowed) == self.allowed_channels().as_ref()))
    }

    /// The value of `allowed_channels` in rows that this reader makes.
    #[must_use]
    pub fn allowed_channels(&self) -> Option<String> {
        self.channels.as_ref().map(|channels| json!(channels).to_string())
    }
}

fn matches(globs: &[String], text: &str) -> bool {
    globs.iter().any(|glob| WildMatch::new(glob).matches(text))
}

/// A glob for SQLite's GLOB, where a bracket begins a set of characters.
pub(super) fn sqlite_glob(glob: &str) -> String {
    glob.replace('[', "[[]")
}

/// A glob as a pattern for LIKE.
pub(super) fn like_pattern(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for c in glob.chars() {
        match c {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    pattern
}

/// Who submits or resubmits, and within which limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Which rows the client sees: it changes no other row.
    pub reader: Reader,
    /// Limit of open requests under the reader's tags, over all processes on one database; `None`: no limit.
    pub open_requests: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_spelled_in_each_language() {
        assert_eq!(sqlite_glob("a[b]*?"), "a[[]b]*?");
        assert_eq!(like_pattern(r"100%_\*?"), r"100\%\_\\%_");
    }

    #[test]
    fn a_reader_with_channels_sees_what_was_made_for_them() {
        let reader = Reader { tags: vec!["a-*".to_owned()], channels: Some(vec!["c?".to_owned()]) };
        let row = |tag: &str, channel: Option<&str>, allowed: Option<&str>| RequestRow {
            tag: tag.to_owned(),
            requested_channel: channel.map(str::to_owned),
            allowed_channels: allowed.map(str::to_owned),
            ..RequestRow::default()
        };
        assert!(reader.sees(&row("a-1", Some("c1"), None)));
        assert!(reader.sees(&row("a-1", Some("c1"), Some(r#"["c?"]"#))));
        for unseen in [
            row("b-1", Some("c1"), None),
            row("a-1", Some("d1"), None),
            row("a-1", None, None),
            row("a-1", Some("c1"), Some(r#"["c?","d"]"#)),
        ] {
            assert!(!reader.sees(&unseen), "{unseen:?}");
            assert!(Reader::everything().sees(&unseen));
        }
    }
}

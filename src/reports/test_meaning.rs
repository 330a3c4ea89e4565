//! What a jobConfig does, for tests that judge whether two mean the same: what the daemon goes by, in one order, and which
//! batches it selects from a small platform whose metadata has values of every kind.

use std::cell::LazyCell;

use serde_json::Value;

use super::job_config::JobConfig;
use super::test_tables::Tables;
use crate::tables::schema::Table;

/// What an accepted jobConfig was read as, with the order taken out of everything that has none.
pub(crate) fn normal_form(config: &JobConfig) -> String {
    let JobConfig { report_path, output_format, include_expired, ids, channels, frameworks, content } = config;
    let content = content.as_ref().map(super::content_filter::ContentFilter::normal_form);
    format!("{report_path:?} {output_format:?} {include_expired} {ids:?} {channels:?} {frameworks:?} {content:?}")
}

/// A platform with a batch for each content.
pub(crate) struct Platform(LazyCell<Tables>);

impl Default for Platform {
    fn default() -> Self {
        Self(LazyCell::new(|| {
            // identifier, channel, framework, leafNodesCount, name, flag (the last one as JSON)
            let contents = [
                ("1", "ch1", "\"TPD\"", "1", "1", "true"),
                ("1.0", "ch2", "\"tpd\"", "10", "2025-03-01", "1"),
                ("01", "ch1", "\"é\"", "0", "10", "1.0"),
                ("9007199254740993", "c", "\"e\u{301}\"", "", "false", "9007199254740993"),
                ("a", "ch1", "\"a\"", "2", "a", "0.1"),
                ("A", "ch2", "", "100", "A", "0.1000000000000000055511151231257827"),
                ("é", "", "[\"TPD\", \"a\"]", "", "é", "[\"1\", \"a\", false]"),
                ("e\u{301}", "ch1", "\"b\"", "3", "e\u{301}", "\"2025-03-01T00:00:00Z\""),
            ];
            let mut tables = Tables::default();
            for (id, channel, framework, count, name, flag) in contents {
                tables = tables.row(Table::CourseBatch, &[("courseid", id), ("batchid", id)]);
                let cells = [
                    ("identifier", id),
                    ("channel", channel),
                    ("framework", framework),
                    ("leafNodesCount", count),
                    ("name", name),
                    ("flag", flag),
                ];
                tables = tables.row(Table::Content, &cells);
            }
            tables
        }))
    }
}

impl Platform {
    /// The batches that an accepted jobConfig selects, or why there are none.
    pub(crate) fn selects(&self, config: &Value) -> Result<Vec<String>, String> {
        self.0.resolve(&config.to_string(), None).map_err(|error| error.to_string())
    }
}

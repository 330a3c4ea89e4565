//! The one list of the keys that jobs.toml may have.

use super::errors::near_miss;

/// Sections and their keys. A dot leads into a table inside a section.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("", &["timezone", "job", "database", "source", "store", "worker", "api", "secrets"]),
    (
        "job",
        &[
            "id",
            "report",
            "schedule",
            "aliases",
            "mode",
            "config",
            "report_path",
            "max_attempts",
            "max_batches",
            "on_submit",
            "own_channel_only",
            "require_encryption",
            "zip",
            "compress",
            "options",
        ],
    ),
    ("job.options", &["apply_privacy_policy", "attempt", "assessment_content_types", "formula_guard", "crlf", "bom"]),
    ("database", &["url", "migrate", "pooler", "direct_url"]),
    ("source", &["kind", "url", "csv_dialect", "schema", "max_bad_rows", "tables"]),
    ("source.max_bad_rows", &["share", "at_least"]),
    (
        "source.tables",
        &[
            "course_batch",
            "content",
            "content_hierarchy",
            "user",
            "user_enrolments",
            "user_activity_agg",
            "assessment_aggregator",
        ],
    ),
    ("source.tables.course_batch", ONE_TABLE),
    ("source.tables.content", ONE_TABLE),
    ("source.tables.content_hierarchy", ONE_TABLE),
    ("source.tables.user", ONE_TABLE),
    ("source.tables.user_enrolments", ONE_TABLE),
    ("source.tables.user_activity_agg", ONE_TABLE),
    ("source.tables.assessment_aggregator", ONE_TABLE),
    ("store", &["url", "signed_url_ttl", "link_key"]),
    (
        "worker",
        &[
            "claim",
            "lease",
            "threads",
            "memory",
            "max_request_data",
            "max_crashes",
            "adopt_after",
            "stop_timeout",
            "per_tag",
            "per_channel",
            "retention",
        ],
    ),
    ("worker.per_tag", &["requests", "bytes"]),
    ("worker.per_channel", &["requests", "bytes"]),
    ("api", &["listen", "public_url", "metrics_public", "trusted_proxies", "link_hosts", "keys"]),
    ("api.keys", &["name", "sha256", "tags", "channels", "per_minute", "open_requests", "not_after"]),
    ("secrets", &["key"]),
];

/// What may be said of one table by itself.
const ONE_TABLE: &[&str] = &["csv_dialect"];

/// Keys whose value is a list or a table; in a variable they are written as in TOML.
const STRUCTURED: &[&str] = &[
    "job.aliases",
    "job.config",
    "job.options",
    "job.options.assessment_content_types",
    "source.max_bad_rows",
    "source.tables",
    "source.tables.course_batch",
    "source.tables.content",
    "source.tables.content_hierarchy",
    "source.tables.user",
    "source.tables.user_enrolments",
    "source.tables.user_activity_agg",
    "source.tables.assessment_aggregator",
    "api.link_hosts",
    "api.trusted_proxies",
    "api.keys",
    "api.keys.tags",
    "api.keys.channels",
];

/// Keys whose value is a table, or what one key of that table would hold.
const SHORT: &[(&str, &str)] = &[("worker.per_tag", "requests"), ("worker.per_channel", "requests")];

/// How a variable holds a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// As in TOML.
    Toml,
    /// A table as in TOML, anything else as it is.
    Short,
}

/// Every key, sections included, with its section in front: `timezone`, `job.options.attempt`, `api.keys.name`.
#[must_use]
pub fn known_keys() -> Vec<String> {
    SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(|key| dotted(section, key))).collect()
}

/// The keys of a section.
pub(super) fn keys_of(section: &str) -> &'static [&'static str] {
    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

/// How a section is written in the file.
pub(super) fn written(section: &str) -> String {
    match section {
        "" => "the top level".to_owned(),
        "job" | "api.keys" => format!("[[{section}]]"),
        "job.options" => "`options` of [[job]]".to_owned(),
        "source.max_bad_rows" => "`max_bad_rows` of [source]".to_owned(),
        "worker.per_tag" => "`per_tag` of [worker]".to_owned(),
        "worker.per_channel" => "`per_channel` of [worker]".to_owned(),
        _ => match section.strip_prefix("source.tables.") {
            Some(table) => format!("`{table}` of [source.tables]"),
            None => format!("[{section}]"),
        },
    }
}

/// The section of one table of the platform.
pub(super) fn of_table(table: &str) -> &'static str {
    let is_it = |section: &str| section.strip_prefix("source.tables.") == Some(table);
    SECTIONS.iter().find(|(section, _)| is_it(section)).map_or("source.tables", |(section, _)| section)
}

/// What is to be said of a key that its section does not have: the fault, and what was probably meant.
pub(super) fn unknown_key(section: &str, key: &str) -> (String, Option<String>) {
    let elsewhere = SECTIONS.iter().find(|(name, keys)| *name != section && keys.contains(&key));
    let meant = near_miss(key, keys_of(section).iter().copied());
    let here = if section.is_empty() { "at the top level".to_owned() } else { format!("in {}", written(section)) };
    match (elsewhere, meant) {
        (Some((name, _)), None) => (format!("unknown key `{key}` {here}; it belongs in {}", written(name)), None),
        (_, meant) => (format!("unknown key `{key}` {here}"), meant),
    }
}

/// How a variable holds a key's value. `None`: no such key, or a whole section.
pub(super) fn form(dotted: &str) -> Option<Form> {
    if STRUCTURED.contains(&dotted) {
        return Some(Form::Toml);
    }
    if SHORT.iter().any(|(key, _)| *key == dotted) {
        return Some(Form::Short);
    }
    let is_section = SECTIONS.iter().any(|(section, _)| *section == dotted);
    (!is_section && known_keys().iter().any(|known| known == dotted)).then_some(Form::Plain)
}

/// The key of a table for which a value in the table's place stands. `name`: the table's, without its section.
pub(super) fn stands_for(name: &str) -> Option<&'static str> {
    SHORT.iter().find(|(key, _)| key.rsplit('.').next() == Some(name)).map(|(_, inner)| *inner)
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_itself_a_key() {
        for (section, _) in SECTIONS.iter().filter(|(section, _)| !section.is_empty()) {
            assert!(known_keys().iter().any(|key| key == section), "{section}");
        }
        for key in STRUCTURED.iter().chain(SHORT.iter().map(|(key, _)| key)) {
            assert!(known_keys().iter().any(|known| known == key), "{key}");
        }
    }

    #[test]
    fn every_table_has_a_section() {
        let names = crate::tables::schema::Table::ALL.map(crate::tables::schema::Table::name);
        assert_eq!(keys_of("source.tables"), names);
        for name in names {
            assert_eq!(of_table(name), format!("source.tables.{name}"));
        }
    }

    #[test]
    fn unknown_keys_are_explained() {
        assert_eq!(
            unknown_key("job", "shedule"),
            ("unknown key `shedule` in [[job]]".to_owned(), Some("schedule".to_owned()))
        );
        assert_eq!(
            unknown_key("job", "formula_guard"),
            ("unknown key `formula_guard` in [[job]]; it belongs in `options` of [[job]]".to_owned(), None)
        );
        assert_eq!(
            unknown_key("", "listen"),
            ("unknown key `listen` at the top level; it belongs in [api]".to_owned(), None)
        );
        assert_eq!(unknown_key("store", "colour"), ("unknown key `colour` in [store]".to_owned(), None));
    }
}

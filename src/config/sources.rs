//! `[source]`, the further sources `[source.<name>]`, and `[source.tables]`, which says what comes from where.

use std::collections::BTreeMap;

use super::checked::{MaxBadRows, NamedSource, Sources};
use crate::document::Fallback::{Is, Says};
use crate::document::{Form, Key, Keys, Section, Table as Document, Urls, Value, listed, near_miss, restart};
use crate::sources::configured::{KINDS, SourceConfig};
use crate::sources::kind::{Kind, RoutedTable};
use crate::tables::schema::Table;

/// The keys of `[source]` whatever its kind.
pub(super) const KEYS: &[Key] = &[
    restart(
        "kind",
        Form::Text,
        Is("\"files\""),
        "What the tables are in: `\"files\"` (CSV, JSON lines or Parquet in a directory or an object store), \
         `\"postgres\"` (a PostgreSQL schema) or `\"sql\"` (an engine that is asked in SQL: Spark, Databricks, Sail). Each kind has keys of its own, below.",
    ),
    restart(
        "max_bad_rows",
        Form::Table(&[
            restart(
                "share",
                Form::Share,
                Is("0.001"),
                "Share of the rows that the request wants of a table, from 0 to 1.",
            ),
            restart("at_least", Form::Number, Is("10"), "Their number."),
        ]),
        Says(""),
        "How many unusable rows of a table are tolerated, below.",
    ),
    restart("tables", Form::Section(&[]), Says(""), "Where single tables come from, below."),
];

/// The keys of `[source.<name>]` whatever its kind.
const NAMED_KEYS: &[Key] = &[restart("kind", Form::Text, Says("needed"), "As in `[source]`.")];

/// A `[source.<name>]`.
const NAMED: Key = restart("<name>", Form::Section(NAMED_KEYS), Says(""), "A further source.");

/// The keys of an entry of `[source.tables]` whatever the kind of its source.
pub(super) const TABLE_KEYS: &[Key] = &[restart(
    "from",
    Form::Text,
    Says("`[source]` itself"),
    "The name of the source that has the table: `\"lake\"` for `[source.lake]`.",
)];

/// An entry of `[source.tables]`.
const TABLE: Key = restart("<table>", Form::Table(TABLE_KEYS), Says(""), "One table.");

/// Names that no source may have: keys of `[source]` that later versions will have.
const RESERVED: [&str; 2] = ["archive", "clustered"];

/// Adds to the keys of `[source]` what depends on the document: the keys of its kind, the sources under names, the tables.
/// Keys of another kind than a source has are refused; `of_any_kind`: all are taken, since a variable may change the kind.
pub(super) fn add_keys(keys: &mut Keys, document: &Document, of_any_kind: bool) {
    let Some(source) = keys.inside_mut("source") else { return };
    let own = document.get("source").and_then(|(_, node)| node.table());
    let kind = own.and_then(kind_of).unwrap_or(KINDS[0]);
    source.also(kind.keys);
    // Keys of the other kinds may stay here: so a variable can change the kind.
    for kind in KINDS {
        source.also_unread(kind.keys);
    }
    let mut kinds = BTreeMap::new();
    for (name, table) in own.into_iter().flat_map(tables_in) {
        if source.entry(name).is_some() {
            continue;
        }
        if let Some(what) = refusal(name, table) {
            source.refuse(name, what);
            continue;
        }
        let kind = kind_of(table);
        source.add_named(name, &NAMED, kind.map_or(&[], |kind| kind.keys));
        if let Some(named) = source.inside_mut(name) {
            add_others(named, kind.filter(|_| !of_any_kind), |kind| kind.keys);
        }
        kinds.insert(name, kind);
    }
    let Some(tables) = source.inside_mut("tables") else { return };
    let entries = own.and_then(|own| own.get("tables")).and_then(|(_, node)| node.table());
    for table in Table::ALL {
        let entry = entries.and_then(|entries| entries.get(table.name())).and_then(|(_, node)| node.table());
        let from = entry.and_then(|entry| text(entry, "from"));
        let kind = from.map_or(Some(kind), |from| kinds.get(from).copied().flatten());
        tables.add_named(table.name(), &TABLE, kind.map_or(&[], |kind| kind.table_keys));
        let Some(inside) = tables.inside_mut(table.name()) else { continue };
        if from.is_none() {
            // As in [source]. The other keys say where the table is, and must not be passed over.
            inside.also_unread(crate::sources::files::KIND.table_keys);
        }
        add_others(inside, kind.filter(|_| !of_any_kind), |kind| kind.table_keys);
    }
}

/// Refuses the keys of all kinds but this one. Where the kind is not known all keys are taken.
fn add_others(keys: &mut Keys, kind: Option<&Kind>, keys_of: impl Fn(&Kind) -> &'static [Key]) {
    for other in KINDS {
        for key in keys_of(other).iter().filter(|_| kind.is_some()) {
            if keys.entry(key.name).is_none() {
                let has_it = |kind: &&&Kind| keys_of(kind).iter().any(|own| own.name == key.name);
                let kinds: Vec<String> =
                    KINDS.iter().filter(has_it).map(|kind| format!("`kind = \"{}\"`", kind.name)).collect();
                keys.refuse(key.name, format!("`{}` is only for sources of {}", key.name, kinds.join(" or ")));
            }
        }
        if kind.is_none() {
            keys.also_unread(keys_of(other));
        }
    }
}

/// Why a table of `[source]` is no further source; `None`: it is one.
fn refusal(name: &str, table: &Document) -> Option<String> {
    if let Some(what) = refused_name(name) {
        return Some(what);
    }
    if table.contains_key("kind") {
        return None;
    }
    let meant = near_miss(name, KEYS.iter().map(|key| key.name));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    Some(format!("unknown key `{name}` in [source]; a further source of this name needs `kind`{meant}"))
}

/// Why no source may have a name.
fn refused_name(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("no source can be called `{name}`: a later version has a key of this name"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') || name.is_empty() {
        return Some(format!("`{name}` is no name of a source: it has the letters a to z, digits and `_`"));
    }
    None
}

/// Whether a further source may have this name.
pub(super) fn may_be_called(name: &str) -> bool {
    let is_key = |keys: &[Key]| keys.iter().any(|key| key.name == name);
    refused_name(name).is_none() && !is_key(KEYS) && !KINDS.iter().any(|kind| is_key(kind.keys))
}

/// The tables inside a table, by name.
fn tables_in(table: &Document) -> impl Iterator<Item = (&str, &Document)> {
    table.iter().filter_map(|(name, (_, node))| Some((name.as_str(), node.table()?)))
}

fn kind_of(source: &Document) -> Option<&'static Kind> {
    let name = text(source, "kind")?;
    KINDS.iter().copied().find(|kind| kind.name == name)
}

fn text<'a>(table: &'a Document, key: &str) -> Option<&'a str> {
    match &table.get(key)?.1.value {
        Value::Text(text) | Value::Loose(text) => Some(text),
        _ => None,
    }
}

/// Reads the section, and every source under it.
pub(super) fn sources(section: &Section<'_>, urls: &Urls<'_>) -> Sources {
    let names: Vec<&str> = section.named(NAMED.name).collect();
    let tables = section.section("tables");
    let mut of: BTreeMap<Option<&str>, Vec<RoutedTable<'_>>> = BTreeMap::new();
    for table in Table::ALL {
        let entry = tables.node(table.name()).map(|_| tables.section(table.name()));
        let from = entry.as_ref().and_then(|entry| from(entry, &names));
        of.entry(from).or_default().push(RoutedTable { table, entry });
    }
    let mut sources = Sources { used: Vec::new(), unused: Vec::new(), max_bad_rows: max_bad_rows(section) };
    for name in std::iter::once(None).chain(names.into_iter().map(Some)) {
        let named = name.map(|name| section.section(name));
        let own = named.as_ref().unwrap_or(section);
        let tables = of.remove(&name).unwrap_or_default();
        let kinds: Vec<(&str, &Kind)> = KINDS.iter().map(|kind| (kind.name, *kind)).collect();
        let config = own.one_of("kind", &kinds).and_then(|kind| SourceConfig::read(kind, own, &tables, urls));
        let tables: Vec<Table> = tables.into_iter().map(|routed| routed.table).collect();
        let name = name.map_or_else(|| "source".to_owned(), |name| format!("source.{name}"));
        if tables.is_empty() {
            sources.unused.extend((name != "source").then_some(name));
        } else if let Some(config) = config {
            sources.used.push(NamedSource { name, tables, config });
        }
    }
    sources
}

/// The name of the source that an entry of `[source.tables]` asks for, if it is one of these.
fn from<'n>(entry: &Section<'_>, names: &[&'n str]) -> Option<&'n str> {
    let (name, place) = entry.filled("from")?;
    let found = names.iter().copied().find(|known| *known == name);
    if found.is_none() {
        let there = if names.is_empty() {
            "there is none beside [source]".to_owned()
        } else {
            format!("there are {}", listed(names.iter().copied()))
        };
        let what = format!("unknown source `{name}`; {there}");
        entry.faults.add_meant(place, what, near_miss(name, names.iter().copied()));
    }
    found
}

fn max_bad_rows(section: &Section<'_>) -> MaxBadRows {
    let section = section.section("max_bad_rows");
    MaxBadRows {
        share: section.share("share").unwrap_or_default(),
        at_least: section.number("at_least", 0).unwrap_or_default(),
    }
}

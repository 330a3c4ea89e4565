//! What jobs.toml says of a PostgreSQL source.

use std::collections::BTreeMap;

use super::copy::quoted;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::Text;
use crate::document::{Secret, Section, Urls, restart};
use crate::sources::kind::{Kind, RoutedTable};
use crate::tables::schema::Table;

/// A schema of a PostgreSQL database.
pub const KIND: Kind = Kind {
    name: "postgres",
    answers_queries: true,
    keys: &[
        restart("url", Text, Says("needed"), "`postgres://user@host/database`."),
        restart(
            "password",
            Text,
            Says("that of `url`"),
            "The password of the URL's user. From the environment alone: `EXHAUST__SOURCE__PASSWORD`, of a named source \
             `EXHAUST__SOURCE__<NAME>__PASSWORD`.",
        ),
        restart("schema", Text, Is("\"public\""), "The schema that has the tables."),
    ],
    table_keys: &[
        restart("table", Text, Says("its own name"), "What the table, or view, is called there."),
        restart("schema", Text, Says("that of its source"), "The schema that has it."),
    ],
};

/// Where the tables are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `postgres://…` URL.
    pub url: Secret,
    /// The password, where the URL does not have it.
    pub password: Option<Secret>,
    /// The schema and the names of the tables in it.
    pub relations: Relations,
}

/// Under which names a database has the platform's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relations {
    schema: String,
    of: BTreeMap<Table, Relation>,
}

/// A table or view of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl Relation {
    /// As it stands in statements: `"schema"."name"`.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

impl Relations {
    /// All in one schema, under their own names.
    #[must_use]
    pub const fn in_schema(schema: String) -> Self {
        Self { schema, of: BTreeMap::new() }
    }

    /// Where a table is.
    #[must_use]
    pub fn of(&self, table: Table) -> Relation {
        let own = || Relation { schema: self.schema.clone(), name: table.name().to_owned() };
        self.of.get(&table).cloned().unwrap_or_else(own)
    }
}

impl Config {
    pub(crate) fn read(section: &Section<'_>, tables: &[RoutedTable<'_>], urls: &Urls<'_>) -> Option<Self> {
        let schema = section.filled("schema").map(|(schema, _)| schema.to_owned());
        let url = match (section.node("url"), section.node("kind")) {
            (None, Some(kind)) => {
                section.faults.add(&kind.place, "`kind = \"postgres\"` needs `url = \"postgres://…\"`");
                None
            }
            _ => section.filled("url").and_then(|(url, place)| urls.postgres(url, place)),
        };
        let password = section.environment_secret("password");
        let mut relations = Relations::in_schema(schema?);
        for RoutedTable { table, entry } in tables {
            let Some(entry) = entry else { continue };
            let own = relations.of(*table);
            let named = |key, own| entry.filled(key).map_or(own, |(name, _)| name.to_owned());
            let relation = Relation { schema: named("schema", own.schema), name: named("table", own.name) };
            relations.of.insert(*table, relation);
        }
        Some(Self { url: url?, password, relations })
    }

    /// The schema, without those of single tables.
    pub(crate) fn place(&self) -> String {
        format!("schema {}", self.relations.schema)
    }

    /// What a table is called in the database.
    pub(crate) fn place_of(&self, table: Table) -> String {
        self.relations.of(table).quoted()
    }
}

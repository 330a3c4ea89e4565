//! The kinds of source, one line each: what jobs.toml says of one, read and opened.

use std::sync::Arc;

use super::kind::{Kind, RoutedTable};
use super::{Settings, Source};
use crate::document::{Section, Urls};
use crate::tables::schema::Table;

macro_rules! kinds {
    ($($name:ident = $folder:ident;)*) => {
        /// What jobs.toml says of one source, by its kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum SourceConfig {
            $(#[allow(missing_docs, reason = "the folder says what it is")] $name(super::$folder::Config),)*
        }

        /// Every kind, the one that is meant where none is named first.
        pub const KINDS: &[&Kind] = &[$(&super::$folder::KIND),*];

        impl SourceConfig {
            /// Reads a section of this kind; `tables` are those that come from it. `None`: something is wrong, which is
            /// noted.
            pub(crate) fn read(
                kind: &Kind,
                section: &Section<'_>,
                tables: &[RoutedTable<'_>],
                urls: &Urls<'_>,
            ) -> Option<Self> {
                $(if kind.name == super::$folder::KIND.name {
                    return super::$folder::Config::read(section, tables, urls).map(Self::$name);
                })*
                None
            }

            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> &'static Kind {
                match self {
                    $(Self::$name(_) => &super::$folder::KIND,)*
                }
            }

            /// Why it answers no queries of reports in SQL; `None`: it does.
            #[must_use]
            pub fn refuses_queries(&self) -> Option<String> {
                match self {
                    Self::Sql(config) if config.is_command() => {
                        Some("a source with `transport = \"command\"` answers no queries of reports".to_owned())
                    }
                    _ if self.kind().answers_queries => None,
                    _ => Some(format!("a source of kind {} answers no queries of reports", self.kind().name)),
                }
            }

            /// Where it is, for people: a directory, a bucket, a schema. Holds no secret.
            #[must_use]
            pub fn place(&self) -> String {
                match self {
                    $(Self::$name(config) => config.place(),)*
                }
            }

            /// The same for one of its tables.
            #[must_use]
            pub fn place_of(&self, table: Table) -> String {
                match self {
                    $(Self::$name(config) => config.place_of(table),)*
                }
            }

            /// Opens it. Nothing is reached yet.
            ///
            /// # Errors
            /// What is wrong with its URL or credentials, without showing them.
            pub fn open(&self, settings: Settings) -> Result<Arc<dyn Source>, String> {
                match self {
                    $(Self::$name(config) => super::$folder::open(config, settings),)*
                }
            }
        }
    };
}

kinds! {
    Files = files;
    Postgres = postgres;
    Sql = sql;
}

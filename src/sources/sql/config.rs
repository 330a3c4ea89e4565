//! What jobs.toml says of an engine.

use std::collections::BTreeMap;

use super::command::Program;
use super::dialect::quoted;
use super::spark_connect::EngineUrl;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Text, Texts};
use crate::document::{Place, Secret, Section, Urls, restart};
use crate::sources::files::{FilesLocation, location};
use crate::sources::kind::{Kind, RoutedTable};
use crate::sources::stage::{Stage, file_url};
use crate::tables::schema::Table;

/// The tables of an engine that is asked in SQL.
pub const KIND: Kind = Kind {
    name: "sql",
    answers_queries: true,
    keys: &[
        restart(
            "transport",
            Text,
            Says("needed"),
            "How the engine is reached: `\"spark-connect\"` (Spark, Databricks, Sail), or `\"command\"`: by a program of your own.",
        ),
        restart(
            "url",
            Text,
            Says("needed for `spark-connect`"),
            "`sc://host:15002`; with `/;use_ssl=true` the connection is encrypted, `;user_id=NAME` says as whom to work.",
        ),
        restart(
            "command",
            Texts,
            Says("needed for `command`"),
            "The program that stages tables, and its arguments; no shell reads them.",
        ),
        restart(
            "input",
            Text,
            Says("statements"),
            "What the program of `command` gets on standard input: statements in Spark's SQL, or with `\"plan\"` what is wanted of a \
             table as JSON.",
        ),
        restart(
            "retry_codes",
            Texts,
            Says("none"),
            "Exit codes of the program that may pass, beside 75, such as `[\"1\"]`; every other one but 0 fails the requests.",
        ),
        restart(
            "token",
            Text,
            Says("none"),
            "What the engine is shown as bearer token. From the environment alone: `EXHAUST__SOURCE__<NAME>__TOKEN`.",
        ),
        restart(
            "catalog",
            Text,
            Says("the engine's own"),
            "Where the tables are: a schema, or a catalogue and a schema, such as `\"lake.courses\"`.",
        ),
        restart(
            "mode",
            Text,
            Is("\"stage\""),
            "How rows come. `\"stage\"`: the engine writes what a group of requests needs as Parquet below `stage`, which is then \
             read. `\"stream\"`: as Arrow over the connection.",
        ),
        restart(
            "stage",
            Text,
            Says("needed for `mode = \"stage\"`"),
            "Where the engine writes: a directory that both see, plain or as `file://PATH`; or `s3://bucket/prefix`, \
             `az://container/prefix`, `gs://bucket/prefix`. Personal data, removed when the group is done.",
        ),
        restart(
            "stage_as",
            Text,
            Says("as `stage`"),
            "What the engine calls the same place, such as `\"s3a://bucket/prefix\"`. Needed for a directory where the engine \
             may be on another machine: it says that every worker of the engine has the directory.",
        ),
    ],
    table_keys: &[
        restart("table", Text, Says("its own name"), "What the table, or view, is called there."),
        restart(
            "relation",
            Text,
            Says("none"),
            "What stands after `FROM`, as it is, in place of the table's name: ``\"parquet.`/lake/user`\"``.",
        ),
    ],
};

/// An engine and where it has the tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How it is reached.
    pub access: Access,
    /// Under which names it has the tables.
    pub relations: EngineRelations,
    /// Where it puts what is read; `None`: rows are streamed.
    pub stage: Option<Stage>,
}

/// How an engine is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// By the protocol of Spark Connect.
    SparkConnect {
        /// Where it is.
        url: EngineUrl,
        /// What it is shown.
        token: Option<Secret>,
    },
    /// By a program, which gets a plan as JSON.
    Plan(Program),
    /// By a program, which gets statements.
    Statements(Program),
}

/// The tables of an engine, as they stand after `FROM`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineRelations {
    /// Parts of the name before that of the table, in quotes.
    catalog: String,
    /// Tables that are called otherwise.
    of: BTreeMap<Table, String>,
    /// The tables that are read there.
    pub(super) tables: Vec<Table>,
}

impl<T: IntoIterator<Item = (Table, String)>> From<T> for EngineRelations {
    /// These tables, each given with what stands after `FROM`.
    fn from(tables: T) -> Self {
        let of: BTreeMap<Table, String> = tables.into_iter().collect();
        Self { catalog: String::new(), tables: of.keys().copied().collect(), of }
    }
}

impl EngineRelations {
    /// Where a table is.
    pub(super) fn of(&self, table: Table) -> String {
        self.of.get(&table).cloned().unwrap_or_else(|| self.named(table.name()))
    }

    fn named(&self, name: &str) -> String {
        format!("{}{}", self.catalog, quoted(name))
    }
}

impl Config {
    pub(crate) fn read(section: &Section<'_>, tables: &[RoutedTable<'_>], urls: &Urls<'_>) -> Option<Self> {
        let is_command = needed(section, "transport")
            .and_then(|_| section.one_of("transport", &[("spark-connect", false), ("command", true)]));
        let access = if is_command? { command(section, tables) } else { spark_connect(section) };
        let catalog = section.filled("catalog").map_or_else(String::new, |(catalog, _)| {
            catalog.split('.').flat_map(|part| [quoted(part), ".".to_owned()]).collect()
        });
        let tables_there = tables.iter().map(|routed| routed.table).collect();
        let mut relations = EngineRelations { catalog, of: BTreeMap::new(), tables: tables_there };
        for RoutedTable { table, entry } in tables {
            let Some(entry) = entry else { continue };
            let named = entry.filled("table").map(|(name, _)| relations.named(name));
            let relation = entry.filled("relation").map(|(relation, place)| (relation.to_owned(), place));
            if let (Some(_), Some((_, place))) = (&named, &relation) {
                entry.faults.add(place, "`table` and `relation` exclude each other");
            }
            if let Some(relation) = relation.map(|(relation, _)| relation).or(named) {
                relations.of.insert(*table, relation);
            }
        }
        let access = access?;
        // What a program of the operator's does with a directory is its own business.
        let is_here = match &access {
            Access::SparkConnect { url, .. } => is_here(url),
            Access::Plan(_) => true,
            Access::Statements(_) => false,
        };
        let stage = stage(section, urls, is_here)?;
        Some(Self { access, relations, stage })
    }

    /// Whether it is reached by a program, which answers nothing.
    pub(crate) const fn is_command(&self) -> bool {
        !matches!(self.access, Access::SparkConnect { .. })
    }

    /// Host and port, or the program.
    pub(crate) fn place(&self) -> String {
        match &self.access {
            Access::SparkConnect { url, .. } => format!("engine {}", url.authority),
            Access::Plan(program) | Access::Statements(program) => {
                format!("command {}", program.command.first().map_or("", String::as_str))
            }
        }
    }

    /// What a table is called there.
    pub(crate) fn place_of(&self, table: Table) -> String {
        match self.access {
            Access::SparkConnect { .. } | Access::Statements(_) => self.relations.of(table),
            Access::Plan(_) => self.place(),
        }
    }
}

fn spark_connect(section: &Section<'_>) -> Option<Access> {
    refuse(section, &["command", "input", "retry_codes"], "is for `transport = \"command\"`");
    let url = needed(section, "url").and_then(|(url, place)| {
        EngineUrl::parse(url).map_err(|what| section.faults.add(place, format!("`url`: {what}"))).ok()
    });
    let token = section.environment_secret("token");
    Some(Access::SparkConnect { url: url?, token })
}

fn command(section: &Section<'_>, tables: &[RoutedTable<'_>]) -> Option<Access> {
    refuse(section, &["url", "token"], "is for `transport = \"spark-connect\"`");
    let is_plan = match section.node("input") {
        Some(_) => section.one_of("input", &[("plan", true)])?,
        None => false,
    };
    if is_plan {
        let why = "is for statements: with `input = \"plan\"` the command knows its tables";
        refuse(section, &["catalog"], why);
        tables
            .iter()
            .filter_map(|routed| routed.entry.as_ref())
            .for_each(|entry| refuse(entry, &["table", "relation"], why));
    }
    if let Some(("stream", place)) = section.filled("mode") {
        section.faults.add(place, "`transport = \"command\"` needs `mode = \"stage\"`");
    }
    let command = is_there(section, "command").then(|| section.texts("command"))??;
    if command.is_empty()
        && let Some(node) = section.node("command")
    {
        section.faults.add(&node.place, "`command` names no program");
        return None;
    }
    let command = command.into_iter().map(|(text, _)| text.to_owned()).collect();
    let program = Program { command, retry_codes: retry_codes(section) };
    Some(if is_plan { Access::Plan(program) } else { Access::Statements(program) })
}

fn retry_codes(section: &Section<'_>) -> Vec<u8> {
    if section.node("retry_codes").is_none() {
        return Vec::new();
    }
    let code = |(text, place): (&str, &Place)| {
        let code = text.parse().ok().filter(|code| *code > 0);
        if code.is_none() {
            section.faults.add(place, "an exit code in `retry_codes` is a number from 1 to 255");
        }
        code
    };
    section.texts("retry_codes").unwrap_or_default().into_iter().filter_map(code).collect()
}

/// Notes keys that this way to reach an engine does not have.
fn refuse(section: &Section<'_>, keys: &[&str], why: &str) {
    for key in keys {
        if let Some(node) = section.node(key) {
            section.faults.add(&node.place, format!("`{key}` {why}"));
        }
    }
}

/// Whether an engine is on this machine.
fn is_here(engine: &EngineUrl) -> bool {
    let host = engine.authority.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where the engine puts tables, by mode. The outer `None`: something is wrong, which is noted.
#[allow(clippy::option_option, reason = "no stage, against none that reads")]
fn stage(section: &Section<'_>, urls: &Urls<'_>, is_here: bool) -> Option<Option<Stage>> {
    let mode = section.one_of("mode", &[("stage", true), ("stream", false)])?;
    let (url, place) = match (mode, section.filled("stage")) {
        (false, _) => return Some(None),
        (true, Some(stage)) => stage,
        (true, None) => {
            if section.node("stage").is_none() {
                let place = section.node("kind").map_or(&section.place, |kind| &kind.place);
                let what = "`mode = \"stage\"` needs `stage`, where the engine puts tables; or set `mode = \"stream\"`";
                section.faults.add(place, what);
            }
            return None;
        }
    };
    let location = location(urls, url, place)?;
    let own = match &location {
        FilesLocation::Directory(directory) => file_url(directory).ok()?,
        FilesLocation::Objects(_) => url.to_owned(),
    };
    if matches!(location, FilesLocation::Directory(_)) && section.node("stage_as").is_none() && !is_here {
        // Where one worker of an engine does not see the directory, the engine reports success, and its rows are missing.
        let what = "`stage` is a directory, and the engine may be on another machine: if every worker of the engine has it, \
                    say so with `stage_as = \"file://…\"`; else stage in an object store";
        section.faults.add(place, what);
        return None;
    }
    let (engine_url, place) = section.filled("stage_as").map_or((own.as_str(), place), |(url, place)| (url, place));
    // It stands in statements between quotes.
    if engine_url.chars().any(|c| c.is_control() || "'\\".contains(c)) {
        section.faults.add(place, "the place must not have quotes, backslashes or control characters");
        return None;
    }
    Some(Some(Stage::new(location, engine_url)))
}

/// A key without which there is no engine.
fn needed<'a, 's>(section: &'s Section<'a>, key: &str) -> Option<(&'a str, &'a Place)>
where
    'a: 's,
{
    is_there(section, key).then(|| section.filled(key))?
}

/// Whether a key is set without which there is no engine.
fn is_there(section: &Section<'_>, key: &str) -> bool {
    let is_there = section.node(key).is_some();
    if !is_there {
        let place = section.node("kind").map_or(&section.place, |kind| &kind.place);
        section.faults.add(place, format!("`kind = \"sql\"` needs `{key}`"));
    }
    is_there
}

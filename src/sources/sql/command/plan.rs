//! What a program is told of a scan, as docs/engines.md describes it.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::sources::spellings::Spellings;
use crate::sources::sql::statement::Keyless;
use crate::tables::keys::Keys;
use crate::tables::plan::Scan;
use crate::tables::schema::{Presence, Table};

/// Of this form. Another number means that programs have to be changed.
const VERSION: u32 = 1;

/// What is wanted of a table.
pub(super) fn plan(scan: &Scan, keyless: Keyless) -> Value {
    let spellings = Spellings::of(scan);
    let names = |column: usize| -> Vec<&str> {
        spellings.all()[spellings.of_column(column)].iter().map(|spelling| &*spelling.name).collect()
    };
    let columns = scan.columns.iter().enumerate().map(|(at, column)| {
        let needed = column.presence != Presence::Optional;
        json!({"names": names(at), "needed": needed})
    });
    let columns: Vec<Value> = columns.collect();
    let rows = scan.only().map(|(name, keys)| {
        let column = scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        json!({
            "names": column.map_or_else(|| vec![name], names),
            "keys": keys_file(scan.table),
            "number": keys.len(),
            "without_key": keyless == Keyless::Taken,
        })
    });
    json!({"version": VERSION, "tables": [{"table": scan.table.name(), "columns": columns, "rows": rows}]})
}

/// The name of the file with the keys of a table, in the stage.
pub(super) fn keys_file(table: Table) -> String {
    format!("keys/{}.jsonl", table.name())
}

/// Writes keys, one object a line.
pub(super) fn write_keys(keys: &dyn Keys, to: &mut dyn Write) -> io::Result<()> {
    keys.iter().try_for_each(|key| writeln!(to, "{}", json!({"key": key})))
}

//! Statements in SQL for a program that runs all that comes on its standard input, such as spark-sql.
//!
//! Nothing but files comes back from it: also the columns of tables are learned from files without rows.

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;

use super::Program;
use crate::sources::GivenUp;
use crate::sources::files::schema_of;
use crate::sources::sql::dialect::literal_keys;
use crate::sources::sql::statement::insert;
use crate::sources::sql::transport::{EngineError, LocalRows, Statement};
use crate::sources::stage::Stage;
use crate::tables::keys::{Keys, keys};
use crate::tables::schema::Table;

/// Bytes of keys in one statement. More of them are several statements, each of which reads the table.
pub(in crate::sources::sql) const CAP: usize = 8 << 20;

/// Runs statements by a program.
#[derive(Clone, Debug)]
pub(in crate::sources::sql) struct Statements {
    program: Program,
}

impl Statements {
    pub(in crate::sources::sql) const fn new(program: Program) -> Self {
        Self { program }
    }

    /// Runs statements that write, each into its place, as the engine calls it.
    ///
    /// # Errors
    /// The program cannot be run, fails or is given up.
    pub(in crate::sources::sql) fn write(
        &self,
        rows: &[(Statement, String)],
        stage: &Stage,
        given_up: &GivenUp,
    ) -> Result<(), EngineError> {
        let inserts = rows.iter().map(|(rows, into)| insert(into, &with_keys(rows)));
        self.run(inserts, stage, given_up)
    }

    /// The columns of relations.
    ///
    /// # Errors
    /// As for [`Self::write`]; or the program leaves no file for a relation.
    pub(in crate::sources::sql) fn schemas(
        &self,
        relations: &BTreeMap<Table, String>,
        stage: &Stage,
        given_up: &GivenUp,
    ) -> Result<BTreeMap<Table, SchemaRef>, EngineError> {
        let looks = relations.iter().map(|(table, relation)| {
            let into = format!("{}/{}", stage.engine_url(), table.name());
            insert(&into, &format!("SELECT * FROM {relation} AS t WHERE 1 = 0"))
        });
        self.run(looks, stage, given_up)?;
        let failed =
            |error: String| EngineError::passing("the columns of a table cannot be read from the stage", &error);
        let schema = |table: &Table| {
            let files = stage.files(table.name()).map_err(|error| failed(error.to_string()))?;
            let schema = schema_of(stage.location(), *table, &files).map_err(|error| failed(error.detail))?;
            let schema = schema.ok_or_else(|| {
                let told = format!("nothing was written for table {table}");
                EngineError::lasting("`stage` has no file: every worker must see it (`stage_as`)", &told)
            })?;
            Ok((*table, schema))
        };
        relations.keys().map(schema).collect()
    }

    fn run(
        &self,
        statements: impl Iterator<Item = String>,
        stage: &Stage,
        given_up: &GivenUp,
    ) -> Result<(), EngineError> {
        // Times without zone in texts that the engine makes are in UTC.
        let mut input = "SET spark.sql.session.timeZone=UTC;\n".to_owned();
        for statement in statements {
            input += &statement;
            input += ";\n";
        }
        self.program.run(input.as_bytes(), stage, given_up)
    }
}

/// The text of a statement with the keys in it.
fn with_keys(statement: &Statement) -> String {
    statement.keys.iter().fold(statement.text.clone(), |text, relation| match &relation.rows {
        LocalRows::Keys(keys) => text.replace(&relation.name, &format!("({})", literal_keys(keys.iter()))),
        // Reports in SQL are not asked of a program.
        LocalRows::Batches(_) => text,
    })
}

/// Divides keys into portions of at most `most` bytes of statement text each. A key that is longer is a portion by itself.
pub(in crate::sources::sql) fn portions(all: &dyn Keys, most: usize) -> Vec<std::sync::Arc<dyn Keys>> {
    let (mut portions, mut portion, mut bytes) = (Vec::new(), Vec::new(), 0);
    for key in all.iter() {
        // As hexadecimal digits, and a comma.
        let more = 2 * key.len() + 1;
        if bytes + more > most && !portion.is_empty() {
            portions.push(keys(std::mem::take(&mut portion)));
            bytes = 0;
        }
        portion.push(key);
        bytes += more;
    }
    if !portion.is_empty() || portions.is_empty() {
        portions.push(keys(portion));
    }
    portions
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::sources::files::FilesLocation;
    use crate::sources::sql::statement::{Described, Keyless, by_keys, in_order};
    use crate::tables::plan::Scan;
    use crate::tables::schema::{Column, Kind};

    #[test]
    fn the_program_gets_statements_with_keys_as_digits() {
        let directory = tempfile::tempdir().unwrap();
        let stage = Stage::new(
            FilesLocation::Directory(directory.path().to_owned()),
            &format!("file://{}", directory.path().display()),
        );
        let columns = vec![Column::key("userid"), Column::optional("district", Kind::Text)];
        let scan = Scan::of_keys(Table::User, columns, "userid", keys(["u'ä"]));
        let field = |name: &str| arrow_schema::Field::new(name, arrow_schema::DataType::Utf8, true);
        let schema = arrow_schema::Schema::new(vec![field("userid"), field("other"), field("district")]);
        let described = Described::new(&scan, "`lake`.`user`", &schema).unwrap();
        let rows = in_order(by_keys(&scan, &described, Keyless::Taken), described.key(&scan).as_deref());
        let command = ["sh", "-c", "cat > \"$EXHAUST_STAGE/input\""].map(str::to_owned).to_vec();
        let statements = Statements::new(Program { command, retry_codes: Vec::new() });
        statements.write(&[(rows, "file:///s/user".to_owned())], &stage, &(Arc::new(|| false) as GivenUp)).unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("input")).unwrap(),
            "SET spark.sql.session.timeZone=UTC;\n\
             INSERT OVERWRITE DIRECTORY 'file:///s/user' USING parquet SELECT /*+ REPARTITION_BY_RANGE(`userid`) */ t.`userid`, \
             t.`district` FROM `lake`.`user` AS t WHERE (t.`userid` IN (SELECT key FROM (SELECT decode(unhex(x), 'UTF-8') AS key \
             FROM (SELECT explode(split('7527C3A4', ',')) AS x) AS d WHERE x <> '') AS k) OR t.`userid` IS NULL OR \
             t.`userid` = '') SORT BY `userid`;\n"
        );
    }

    #[test]
    fn no_key_is_lost_between_portions() {
        let all: Vec<String> = (0..100).map(|number| format!("key-{number:03}")).collect();
        let of = |most: usize| portions(keys(&all).as_ref(), most);
        let some = of(160);
        assert_eq!(some.len(), 10);
        let mut found: Vec<&str> = some.iter().flat_map(|portion| portion.iter()).collect();
        found.sort_unstable();
        assert_eq!(found, all);
        assert_eq!((of(1).len(), of(1 << 20).len()), (100, 1));
        assert_eq!(portions(keys([""; 0]).as_ref(), 10).len(), 1);
    }
}

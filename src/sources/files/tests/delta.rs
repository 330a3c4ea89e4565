//! Delta tables, and other folders whose truth is in a log.

use std::fs::{self, File};

use ::parquet::arrow::ArrowWriter;
use arrow_array::{RecordBatch, StringArray};
use serde_json::{Value, json};

use super::*;

/// A table of learners below a directory.
struct Lake(tempfile::TempDir);

impl Lake {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("user/_delta_log")).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("user").join(name)
    }

    /// Writes a file of learners; what the log says where it is added.
    fn file(&self, name: &str, users: &[&str]) -> Value {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let users: ArrayRef = Arc::new(StringArray::from(users.to_vec()));
        let batch = RecordBatch::try_from_iter([("userid", users)]).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let size = fs::metadata(&path).unwrap().len();
        json!({ "add": { "path": name.replace('%', "%25").replace(' ', "%20"), "partitionValues": {}, "size": size } })
    }

    fn commit(&self, version: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        fs::write(self.path(&format!("_delta_log/{version:020}.json")), lines.join("\n")).unwrap();
    }

    fn read(&self) -> Result<Vec<String>, String> {
        let columns = vec![Column::key("userid"), Column::optional("block", Kind::Text)];
        let read = read(self.0.path(), &scan(Table::User, columns, None));
        read.map(|read| read.rows).map_err(|error| {
            assert!(!error.may_pass);
            assert!(error.detail.contains(&self.0.path().display().to_string()));
            error.message.strip_prefix("table user: ").unwrap().to_owned()
        })
    }
}

fn protocol() -> Value {
    json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } })
}

fn metadata(partitions: &[&str]) -> Value {
    json!({ "metaData": { "format": { "provider": "parquet" }, "partitionColumns": partitions, "configuration": {} } })
}

fn removed(added: &Value) -> Value {
    json!({ "remove": { "path": added["add"]["path"], "dataChange": true } })
}

#[test]
fn the_log_says_which_files_count() {
    let lake = Lake::new();
    let (old, new, never) = (lake.file("a.parquet", &["u1", "u2"]), lake.file("b c.parquet", &["u1"]), "c.parquet");
    lake.file(never, &["u9"]);
    lake.commit(0, &[protocol(), metadata(&[]), old.clone()]);
    assert_eq!(lake.read().unwrap(), ["u1|", "u2|"]);
    // In one commit the order of its lines means nothing.
    lake.commit(1, &[new.clone(), removed(&old), json!({ "commitInfo": {} })]);
    fs::write(lake.path("_delta_log/00000000000000000001.crc"), "{}").unwrap();
    fs::write(lake.path("_delta_log/.00000000000000000002.json.tmp"), "{").unwrap();
    assert_eq!(lake.read().unwrap(), ["u1|"]);
    lake.commit(2, &[removed(&new)]);
    assert!(lake.read().unwrap().is_empty(), "all rows are deleted");
    lake.commit(3, &[old]);
    assert_eq!(lake.read().unwrap(), ["u1|", "u2|"]);
    fs::remove_file(lake.path("a.parquet")).unwrap();
    assert_eq!(lake.read().unwrap_err(), "user/a.parquet is not there");
    fs::write(lake.path("a.parquet"), "").unwrap();
    assert!(lake.read().unwrap_err().starts_with("user/a.parquet has 0 bytes, and "));
}

#[test]
fn partition_columns_come_from_the_log() {
    let lake = Lake::new();
    let mut actions = vec![protocol(), metadata(&["block"])];
    for (name, user, value) in [
        ("block=a%20b/p.parquet", "u1", json!("a b")),
        ("anywhere.parquet", "u2", json!("x")),
        ("other.parquet", "u3", Value::Null),
    ] {
        let mut added = lake.file(name, &[user]);
        added["add"]["partitionValues"]["block"] = value;
        actions.push(added);
    }
    lake.commit(0, &actions);
    assert_eq!(lake.read().unwrap(), ["u1|a b", "u2|x", "u3|"]);
    let by_block = Scan {
        reach: Some(("block".into(), keys_of(["x".to_owned()]))).into(),
        learners: None,
        ..scan(Table::User, vec![Column::key("userid"), Column::key("block")], None)
    };
    let read = read(lake.0.path(), &by_block).unwrap();
    assert_eq!((read.rows, bad(&read.stats)), (vec!["u2|x".to_owned()], vec![("empty block", 1)]));
    actions[2]["add"]["partitionValues"] = json!({});
    lake.commit(0, &actions);
    assert!(lake.read().unwrap_err().contains("without a value of its partition column 'block'"));
}

#[test]
fn what_is_not_understood_is_refused() {
    let lake = Lake::new();
    let file = lake.file("a.parquet", &["u1"]);
    let refused = |actions: &[Value], expected: &str| {
        lake.commit(0, actions);
        let told = lake.read().unwrap_err();
        assert!(told.contains("_delta_log") && told.contains(expected), "{told}");
    };
    let features = |features: &[&str]| json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features } });
    let mut mapped = metadata(&[]);
    mapped["metaData"]["configuration"]["delta.columnMapping.mode"] = json!("name");
    let mut vector = file.clone();
    vector["add"]["deletionVector"] = json!({ "storageType": "u", "pathOrInlineDv": "x", "offset": 1 });
    let mut absolute = file.clone();
    absolute["add"]["path"] = json!("s3://other/a.parquet");
    let mut above = file.clone();
    above["add"]["path"] = json!("..%2Fuser/a.parquet");
    refused(&[protocol(), mapped, file.clone()], "uses column mapping");
    refused(&[features(&["deletionVectors"]), metadata(&[]), vector.clone()], "uses deletion vectors");
    refused(&[features(&["typeWidening"]), metadata(&[]), file.clone()], "uses the feature typeWidening");
    refused(
        &[json!({ "protocol": { "minReaderVersion": 4 } }), metadata(&[]), file.clone()],
        "asks for a newer reader",
    );
    refused(&[protocol(), metadata(&[]), absolute], "names files outside the table");
    refused(&[protocol(), metadata(&[]), above], "names files outside the table");
    refused(&[protocol(), metadata(&[]), file.clone(), json!({ "sidecar": {} })], "has an action 'sidecar'");
    refused(&[metadata(&[]), file.clone()], "no protocol");
    refused(&[json!([1])], "line 1 is broken JSON");
    fs::write(lake.path("_delta_log/00000000000000000000.json"), "").unwrap();
    assert_eq!(
        lake.read().unwrap_err(),
        "…er/_delta_log/00000000000000000000.json is empty: its upload probably broke off"
    );
    // A feature that is not used, and a vector that was purged.
    let harmless =
        features(&["deletionVectors", "columnMapping", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"]);
    lake.commit(0, &[harmless, metadata(&[]), vector.clone()]);
    let mut purged = removed(&vector);
    purged["remove"]["deletionVector"] = vector["add"]["deletionVector"].clone();
    lake.commit(1, &[purged, file.clone()]);
    assert_eq!(lake.read().unwrap(), ["u1|"]);
    // Commits that are not all there.
    let lacks = "user/_delta_log lacks commits (only a checkpoint has them?)";
    fs::write(lake.path("_delta_log/00000000000000000007.checkpoint.parquet"), "").unwrap();
    assert!(lake.read().unwrap_err().starts_with(lacks));
    fs::remove_file(lake.path("_delta_log/00000000000000000007.checkpoint.parquet")).unwrap();
    lake.commit(3, &[file]);
    assert!(lake.read().unwrap_err().starts_with(lacks));
    fs::remove_file(lake.path("_delta_log/00000000000000000003.json")).unwrap();
    fs::remove_file(lake.path("_delta_log/00000000000000000000.json")).unwrap();
    assert!(lake.read().unwrap_err().starts_with(lacks));
    fs::remove_dir_all(lake.path("_delta_log")).unwrap();
    fs::create_dir(lake.path("_delta_log")).unwrap();
    assert!(lake.read().unwrap_err().starts_with(lacks), "files beside an empty log");
}

#[test]
fn other_logs_are_refused_by_name() {
    for (beside, told) in [
        (".hoodie/hoodie.properties", "user is a Hudi table"),
        (".hoodie_partition_metadata", "user is a Hudi table"),
        ("_spark_metadata/0", "user was written by a Spark stream"),
        ("metadata/v1.metadata.json", "user is an Iceberg table"),
        ("metadata/00000-2f.gz.metadata.json", "user is an Iceberg table"),
    ] {
        let directory = holding(&[("user/a.csv", b"userid\nu1\n"), (&format!("user/{beside}"), b"{}")]);
        let error = read(directory.path(), &scan(Table::User, vec![Column::key("userid")], None)).err().unwrap();
        assert!(error.message.starts_with(&format!("table user: {told}")), "{}", error.message);
    }
}

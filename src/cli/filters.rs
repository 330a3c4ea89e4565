//! The flags for the batches of a request, the same for `submit` and `explain`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::CommandError;
use crate::config::Config;
use crate::config::checked::Job;
use crate::intake;

/// Which batches, and how they are delivered. All conditions hold together.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArguments {
    /// A batch, by id; may be given several times.
    #[arg(long = "batch", value_name = "ID")]
    batches: Vec<String>,
    /// Batches whose course has this framework; may be given several times.
    #[arg(long = "framework", value_name = "NAME")]
    frameworks: Vec<String>,
    /// Batches whose course belongs to this channel; may be given several times.
    #[arg(long = "channel", value_name = "ID")]
    channels: Vec<String>,
    /// Also batches that have ended.
    #[arg(long)]
    include_expired: bool,
    /// Where the files go within the store, in place of the job's path.
    #[arg(long, value_name = "PATH")]
    report_path: Option<String>,
    /// The file format: csv, json (JSON lines), parquet or xlsx.
    #[arg(long, value_name = "NAME", default_value = "csv")]
    pub(super) format: String,
    /// The jobConfig as JSON, for everything that the flags cannot say; not together with them.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["batches", "frameworks", "channels", "include_expired", "report_path"])]
    job_config: Option<String>,
}

impl FilterArguments {
    /// The jobConfig that the flags stand for.
    pub(super) fn job_config(&self) -> Result<Value, CommandError> {
        if let Some(text) = &self.job_config {
            return serde_json::from_str(text)
                .map_err(|error| CommandError::Usage(format!("--job-config is not JSON: {error}")));
        }
        let mut filters = Map::new();
        for (key, values) in [("ids", &self.batches), ("frameworks", &self.frameworks), ("channels", &self.channels)] {
            if !values.is_empty() {
                filters.insert(key.to_owned(), json!(values));
            }
        }
        let mut config = Map::new();
        if !filters.is_empty() {
            config.insert("batchFilters".to_owned(), Value::Object(filters));
        }
        if self.include_expired {
            config.insert("includeExpired".to_owned(), Value::Bool(true));
        }
        if let Some(path) = &self.report_path {
            config.insert("reportPath".to_owned(), json!(path));
        }
        Ok(Value::Object(config))
    }

    /// The `request_data` of a row.
    pub(super) fn request_data(&self) -> Result<String, CommandError> {
        Ok(json!({ "jobConfig": self.job_config()?, "output_format": self.format }).to_string())
    }
}

/// The configured job of this id or alias.
pub(super) fn find_job<'a>(config: &'a Config, name: &str) -> Result<&'a Arc<Job>, CommandError> {
    intake::find_job(&config.jobs, name).map_err(|error| CommandError::Usage(error.to_string()))
}

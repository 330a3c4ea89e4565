//! `exhaustd explain`: what a request would mean, without writing anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::filters::{FilterArguments, find_job};
use super::in_parts::{self, InParts};
use super::print::outln;
use super::progress::Progress;
use super::scan_words::{learners, reach, scan_line};
use super::text::table;
use super::{CommandError, explain_sql, load_config, open_to_read};
use crate::config::Config;
use crate::config::checked::Job;
use crate::intake::{self, KeyLength, Order, Terms};
use crate::outputs::Password;
use crate::reports::filters::{Scope, Selection, resolve};
use crate::reports::query::{Placeholder, QueryReport};
use crate::reports::{self, Counts, JobReport, Report, ReportError};
use crate::requests::{Clock, RequestKey, SystemClock};
use crate::sources::routed::{Member, Routed};
use crate::sources::{Source, SourceError};
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::key_range::KeyRange;
use crate::tables::loaded::LoadedBatches;
use crate::tables::plan::{LoadPlan, Scan};
use crate::tables::quality::Quality;
use crate::tables::schema::Table;
use crate::worker::key_ranges::{LEAST, LargeBatch, LearnerRanges};
use crate::worker::load::{self, Learners, LoadLimits, LoadRequest, Loaded};
use crate::worker::stats::LoadStats;
use crate::worker::{GroupMetrics, memory, open, plan, verdict};

/// Dry run of a request: which batches it means, what would be loaded, how many learners each report would list.
/// Reads the source; writes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The job's id or alias in jobs.toml. Not needed with --request.
    #[arg(required_unless_present = "request")]
    job: Option<String>,
    #[command(flatten)]
    filters: FilterArguments,
    /// Explain a request that is in the table, in place of filters.
    #[arg(long, num_args = 2, value_names = ["TAG", "ID"])]
    request: Option<Vec<String>>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a request would mean.
struct Explanation {
    job: String,
    batches: Vec<BatchLine>,
    selection: Selection,
    /// What is read: for the catalogue, then for the batches.
    plan: Vec<Scan>,
    /// What engines are asked for it, by table.
    statements: Vec<(Table, String)>,
    /// The sources that stage their tables: nothing is counted where there is one.
    staging: Vec<String>,
    /// Whether several daemons would work on it in parts. `None`: it is too small for that.
    in_parts: Option<InParts>,
    stats: LoadStats,
}

struct BatchLine {
    id: String,
    course: String,
    /// `None`: not counted.
    counts: Option<Counts>,
}

/// The row, or what stands for one.
struct Asked {
    job: Arc<Job>,
    order: Order,
    channel: String,
    key_channels: Option<Vec<String>>,
    /// Of a request that is in the table.
    tag: Option<String>,
    requested_by: Option<String>,
}

/// What is chosen from the catalogue.
struct Chosen {
    source: Arc<Routed>,
    catalog: Arc<Catalog>,
    selection: Selection,
    plan: Vec<Scan>,
    stats: LoadStats,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let asked = asked(arguments, &config)?;
    let progress = Progress::spinner();
    if let Some(report) = asked.job.report.query() {
        return of_query(&config, &asked, report, progress, arguments.json);
    }
    let explanation = explain(&config, &asked, &progress)?;
    drop(progress);
    if arguments.json {
        outln!("{}", as_json(&explanation));
    } else {
        print(&explanation);
    }
    Ok(())
}

fn asked(arguments: &Arguments, config: &Config) -> Result<Asked, CommandError> {
    let (mut of_tag, mut requested_by) = (None, None);
    let (name, request_data, channel, key_channels) = match (arguments.request.as_deref(), &arguments.job) {
        (Some([tag, request_id]), _) => {
            let key = RequestKey { tag: tag.clone(), request_id: request_id.clone() };
            let row = open_to_read(config)?
                .find(&key)?
                .ok_or_else(|| CommandError::Failed(format!("there is no request {key}")))?;
            let key_channels = row.allowed_channels.as_deref().map(intake::key_channels);
            if let Some(bytes) = row.unread_data {
                let most = config.worker.max_request_data;
                return Err(CommandError::Usage(intake::Refusal::TooLarge { bytes, most }.to_string()));
            }
            (of_tag, requested_by) = (Some(tag.clone()), row.requested_by);
            (row.job_id, row.request_data, row.requested_channel, key_channels)
        }
        (_, Some(job)) => (job.clone(), Some(arguments.filters.request_data()?), None, None),
        _ => return Err(CommandError::Usage("name a job, or a request with --request".to_owned())),
    };
    let job = Arc::clone(find_job(config, &name)?);
    // No file is made, so it does not matter which key a job wants for it.
    let any = Password::new("no file is made".to_owned());
    let terms = Terms {
        request_data: request_data.as_deref(),
        max_request_data: config.worker.max_request_data,
        encryption_key: Some(&any),
        key_length: KeyLength::Any,
        is_limited: key_channels.is_some(),
    };
    let order = intake::accept(&job, terms).map_err(|refusal| CommandError::Usage(refusal.to_string()))?;
    Ok(Asked { job, order, channel: channel.unwrap_or_default(), key_channels, tag: of_tag, requested_by })
}

/// Explains a report in SQL.
fn of_query(
    config: &Config,
    asked: &Asked,
    report: &QueryReport,
    progress: Progress,
    is_json: bool,
) -> Result<(), CommandError> {
    let chosen = choose(config, asked, &progress)?;
    let value = |placeholder: Placeholder| match placeholder {
        Placeholder::Tag => asked.tag.clone(),
        Placeholder::Channel => Some(asked.channel.clone()).filter(|channel| !channel.is_empty()),
        Placeholder::RequestedBy => asked.requested_by.clone(),
    };
    progress.say("asking the engine");
    let Job { id: job, max_batches, .. } = asked.job.as_ref();
    let Chosen { source, catalog, selection, .. } = &chosen;
    let question = explain_sql::Asked { job, report, catalog, selection, value: &value, max_batches: *max_batches };
    let explained = explain_sql::explained(source, &question)?;
    drop(progress);
    explain_sql::show(&question, &explained, is_json);
    Ok(())
}

/// Reads the catalogue, and chooses the batches of the request.
fn choose(config: &Config, asked: &Asked, progress: &Progress) -> Result<Chosen, CommandError> {
    let Asked { job, order, channel, key_channels, .. } = asked;
    let (source, timezone) = (open::source(config).map_err(CommandError::Usage)?, config.timezone);
    let mut stats = LoadStats::default();
    let metadata: BTreeSet<String> = order.config.metadata_fields().into_iter().map(str::to_owned).collect();
    let needs = job.report.needs(&job.options);
    let mut plan = load::catalog_plan(&metadata, &needs, timezone).scans;
    progress.say("reading batches and contents");
    let rules = (timezone, config.sources.max_bad_rows, memory::for_catalog(config.worker.memory));
    let catalog = load::catalog(source.as_ref(), &metadata, &needs, rules, &mut stats)?;
    let scope = Scope {
        today: SystemClock.now().with_timezone(&timezone).date_naive(),
        timezone,
        max_batches: job.max_batches,
        own_channel: job.own_channel_only.then_some(channel),
        key_channels: key_channels.as_deref(),
    };
    let selection = resolve(&order.config, &catalog, &scope, &|batch| order.can_name(batch))
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    plan.extend(needs.plan(&catalog, &selection.batches, &KeyRange::default()).scans);
    Ok(Chosen { source, catalog: Arc::new(catalog), selection, plan, stats })
}

fn explain(config: &Config, asked: &Asked, progress: &Progress) -> Result<Explanation, CommandError> {
    let job = &asked.job;
    let Chosen { source, catalog, selection, plan, stats } = choose(config, asked, progress)?;
    let scans = LoadPlan { scans: plan };
    let statements = source.statements(&scans)?;
    let plan = scans.scans;
    let stages = |member: &&Member| {
        member.source.stage().is_some() && plan.iter().any(|scan| member.tables.contains(&scan.table))
    };
    let staging: Vec<String> = source.members().iter().filter(stages).map(|member| member.name.clone()).collect();
    let in_parts = in_parts::of(config, job, source.as_ref(), &catalog, &selection.batches)?;
    let mut explanation =
        Explanation { job: job.id.clone(), batches: Vec::new(), plan, statements, staging, in_parts, selection, stats };
    if !explanation.staging.is_empty() {
        // Nothing is written, and a whole table is not streamed by an engine that does not stream.
        let line = |batch: &BatchIdx| {
            let about = catalog.batch(*batch);
            BatchLine { id: about.id.clone(), course: about.course_id.clone(), counts: None }
        };
        explanation.batches = explanation.selection.batches.iter().map(line).collect();
        return Ok(explanation);
    }
    progress.say("reading the data of these batches");
    count(source.as_ref(), &catalog, job, config, explanation)
}

/// Makes every report without writing it: only that tells how many learners are on it. What is too much to be loaded
/// together is loaded in parts, as the daemon does.
fn count(
    source: &dyn Source,
    catalog: &Arc<Catalog>,
    job: &Job,
    config: &Config,
    mut explanation: Explanation,
) -> Result<Explanation, CommandError> {
    let (needs, timezone) = (job.report.needs(&job.options), config.timezone);
    let total = config.worker.memory.max(LEAST);
    let mut counted =
        Counted { job, catalog, lines: BTreeMap::new(), found: Quality::default(), broken: BTreeMap::new() };
    let mut parts = VecDeque::from([(explanation.selection.batches.clone(), 0)]);
    while let Some((batches, weight)) = parts.pop_front() {
        if let ([batch], true) = (&batches[..], weight > total) {
            let large = LargeBatch { source, catalog, batch: *batch, needs: &needs, timezone, weight, bytes: total };
            explanation.stats.merge(&counted.add_by_range(large)?);
            continue;
        }
        let request = LoadRequest { batches: &batches, needs: &needs, timezone, learners: Learners::All };
        let limits = LoadLimits { bytes: total, weighed: &|_| (), agrees: None };
        let mut stats = LoadStats::default();
        match load::batches(source, catalog, &request, limits, &mut stats)? {
            Loaded::Batches(loaded) => {
                explanation.stats.merge(&stats);
                for batch in batches {
                    counted.add(batch, &loaded.quality(batch), || counts(job, batch, &loaded))?;
                }
            }
            Loaded::TooMuch(weights) => parts.extend(plan::lighter(batches.iter().copied(), &weights, total)),
        }
    }
    let Counted { lines, found, mut broken, .. } = counted;
    if lines.is_empty()
        && let Some((_, error)) = broken.pop_first()
    {
        return Err(error.into());
    }
    verdict::request(&found, config.sources.max_bad_rows)?;
    let ids = broken.into_keys().map(|batch| catalog.batch(batch).id.clone());
    explanation.selection.left_out.broken = ids.collect();
    explanation.batches = lines.into_values().collect();
    Ok(explanation)
}

/// What the reports come to, batch by batch. As the daemon judges them: broken batches are left out, and the request is judged
/// by what was found of all of them.
struct Counted<'a> {
    job: &'a Job,
    catalog: &'a Catalog,
    lines: BTreeMap<BatchIdx, BatchLine>,
    found: Quality,
    broken: BTreeMap<BatchIdx, SourceError>,
}

impl Counted<'_> {
    /// Adds a batch, of which this was found; `counts` makes its report.
    fn add(
        &mut self,
        batch: BatchIdx,
        quality: &Quality,
        counts: impl FnOnce() -> Result<Counts, CommandError>,
    ) -> Result<(), CommandError> {
        self.found.add_batch(quality);
        if let Some(error) = verdict::broken(quality) {
            self.broken.insert(batch, error);
            return Ok(());
        }
        let about = self.catalog.batch(batch);
        let line = BatchLine { id: about.id.clone(), course: about.course_id.clone(), counts: Some(counts()?) };
        self.lines.insert(batch, line);
        Ok(())
    }

    /// Adds a batch that is loaded range by range; returns what was read.
    fn add_by_range(&mut self, large: LargeBatch<'_>) -> Result<LoadStats, CommandError> {
        let (batch, job, metrics) = (large.batch, self.job, GroupMetrics::default());
        let (mut sum, mut quality) = (Counts::default(), Quality::default());
        LearnerRanges::find(large, &metrics)?.each(&mut |loaded| {
            sum.add(&counts(job, batch, loaded)?);
            quality.add_range(&loaded.quality(batch));
            Ok::<(), CommandError>(())
        })?;
        quality.end_ranges();
        self.add(batch, &quality, || Ok(sum))?;
        Ok(metrics.load_stats())
    }
}

/// The report of the registry that the job has.
fn built_in(job: &Job) -> Result<&'static dyn Report, CommandError> {
    match job.report {
        JobReport::BuiltIn(report) => Ok(report),
        JobReport::Query(_) => {
            Err(CommandError::Usage("a report in SQL has no rows before its engine is asked".to_owned()))
        }
    }
}

/// What becomes of the enrolments of a batch in its report, which is made and dropped.
fn counts(job: &Job, batch: BatchIdx, loaded: &LoadedBatches) -> Result<Counts, CommandError> {
    reports::generate(built_in(job)?, batch, loaded, &job.options, |_| Ok::<(), ReportError>(()))
        .map_err(|error| CommandError::Failed(error.to_string()))
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        if error.may_pass { Self::Unreachable(error.detail) } else { Self::Failed(error.detail) }
    }
}

fn print(explanation: &Explanation) {
    let rows: Vec<[String; 4]> = explanation
        .batches
        .iter()
        .map(|line| {
            let count = |of: fn(&Counts) -> u64| {
                line.counts.as_ref().map_or_else(|| "-".to_owned(), |counts| of(counts).to_string())
            };
            [line.id.clone(), line.course.clone(), count(|counts| counts.enrolled), count(|counts| counts.rows)]
        })
        .collect();
    outln!("{} would make {} files:\n", explanation.job, rows.len());
    outln!("{}", table(["BATCH", "COURSE", "ENROLLED", "LISTED"], &rows));
    let scans: Vec<[String; 4]> = explanation.plan.iter().map(scan_line).collect();
    outln!("loaded once:\n");
    outln!("{}", table(["TABLE", "COLUMNS", "ROWS", "LEARNERS"], &scans));
    if !explanation.staging.is_empty() {
        outln!("not counted: explain writes nothing, and {} stages its tables", explanation.staging.join(", "));
    }
    for (table, statement) in &explanation.statements {
        outln!("asked for {table}: {statement}");
    }
    if let Some(parts) = &explanation.in_parts {
        outln!("{}", in_parts::told(parts));
    }
    explain_sql::print_left_out(&explanation.selection.left_out);
    for (table, reasons) in &explanation.stats.odd_rows() {
        for (reason, rows) in reasons {
            outln!("odd rows in {table}: {rows} ({reason})");
        }
    }
}

fn as_json(explanation: &Explanation) -> Value {
    let batches: Vec<Value> = explanation
        .batches
        .iter()
        .map(|line| {
            json!({
                "batch_id": line.id, "course_id": line.course,
                "enrolled": line.counts.as_ref().map(|counts| counts.enrolled),
                "rows": line.counts.as_ref().map(|counts| counts.rows),
            })
        })
        .collect();
    let left_out = &explanation.selection.left_out;
    let scan = |scan: &Scan| {
        let columns: Vec<&str> = scan.columns.iter().map(|column| column.name.as_ref()).collect();
        json!({"table": scan.table.name(), "columns": columns, "rows": reach(scan), "learners": learners(scan)})
    };
    let plan: Vec<Value> = explanation.plan.iter().map(scan).collect();
    let statement = |(table, text): &(Table, String)| json!({"table": table.name(), "text": text});
    let statements: Vec<Value> = explanation.statements.iter().map(statement).collect();
    json!({
        "job": explanation.job,
        "batches": batches,
        "batches_left_out": BTreeMap::from(left_out.by_reason()),
        "tables": explanation.plan.iter().map(|scan| scan.table.name()).collect::<Vec<_>>(),
        "plan": plan,
        "statements": statements,
        "in_parts": explanation.in_parts.as_ref().map(|parts| matches!(parts, InParts::Yes { .. })),
        "odd_rows": explanation.stats.odd_rows(),
    })
}

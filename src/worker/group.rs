//! The steps of one group of requests, in the order in which [`super::scan`] takes them.

mod judging;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::World;
use super::completing::{TOGETHER, write_back_all};
use super::cpu::Panicked;
use super::desk::{Delivered, Ended, Outcome};
use super::ending::{Ending, Reason, Summary, write_back};
use super::generate::{Meter, Workshop};
use super::lease::Lease;
use super::ledger::{Processed, StoredBatch, made_as};
use super::plan::Ready;
use super::stats::{GroupStats, LoadStats, RequestStats, job_stats};
use super::{load, making, memory};
use crate::config::Config;
use crate::config::checked::Job;
use crate::intake::{self, Order};
use crate::metrics::GroupWork;
use crate::outputs::ObjectKey;
use crate::reports::filters::{LeftOut, Scope, resolve};
use crate::reports::{self, Report};
use crate::requests::{ClaimedRequest, DeferredText, RequestKey, RequestProgress};
use crate::sources::SourceError;
use crate::tables::catalog::Catalog;

/// How often a request's progress is noted in its row.
const TELL: Duration = Duration::from_secs(2);

/// Bytes of a `processed_batches` that is read: of some ten thousand batches.
const MOST_NOTED: u64 = 16 << 20;

/// The requests of one job that were claimed together.
pub(super) struct Group<'a> {
    world: &'a World,
    config: &'a Config,
    lease: &'a Lease,
    job: &'a Arc<Job>,
    report: &'static dyn Report,
    /// Those that have not ended, by key.
    open: BTreeMap<RequestKey, ClaimedRequest>,
    /// How far each request was when that was noted last.
    told: BTreeMap<RequestKey, RequestProgress>,
    stats: GroupStats,
    load: LoadStats,
}

/// A request whose row is in order.
pub(super) struct Accepted {
    request: ClaimedRequest,
    order: Order,
}

impl<'a> Group<'a> {
    pub(super) fn new(
        world: &'a World,
        config: &'a Config,
        lease: &'a Lease,
        job: &'a Arc<Job>,
        requests: Vec<ClaimedRequest>,
    ) -> Self {
        let oldest = requests.iter().filter_map(|request| Some(request.claimed - request.submitted?)).max();
        let stats = GroupStats {
            id: lease.short_name().to_owned(),
            requests: requests.len(),
            wait_ms: oldest.map_or(0, |wait| wait.num_milliseconds().max(0)),
            ..GroupStats::default()
        };
        // The configuration was checked against the registry, so the report is there.
        let report = reports::find(job.report).unwrap_or(reports::registry()[0]);
        let open = requests.into_iter().map(|request| (request.key.clone(), request)).collect();
        Self { world, config, lease, job, report, open, told: BTreeMap::new(), stats, load: LoadStats::default() }
    }

    /// How a request's files are made.
    fn made_as(&self, one: &Ready) -> String {
        let key = self.open.get(&one.key).and_then(|request| request.encryption_key.as_ref());
        made_as(self.job, one.order.encoding, key)
    }

    /// The same group with these requests alone.
    fn with(&self, open: BTreeMap<RequestKey, ClaimedRequest>) -> Self {
        let Self { world, config, lease, job, report, .. } = *self;
        let stats = GroupStats { requests: open.len(), ..self.stats.clone() };
        Self { world, config, lease, job, report, open, told: BTreeMap::new(), stats, load: LoadStats::default() }
    }

    pub(super) async fn load_catalog(&mut self, accepted: &[Accepted], summary: &mut Summary) -> Option<Arc<Catalog>> {
        if accepted.is_empty() {
            return None;
        }
        let metadata: BTreeSet<String> =
            accepted.iter().flat_map(|one| one.order.config.metadata_fields()).map(str::to_owned).collect();
        let source = Arc::clone(&self.world.source);
        let bytes = memory::for_catalog(self.config.worker.memory);
        let rules = (self.config.timezone, self.config.source.max_bad_rows, bytes);
        let needs = self.report.needs(&self.job.options);
        let started = Instant::now();
        let loaded = self.world.cpu.run(move || {
            let mut stats = LoadStats::default();
            let catalog = load::catalog(source.as_ref(), &metadata, &needs, rules, &mut stats);
            catalog.map(|catalog| (Arc::new(catalog), stats))
        });
        let loaded = self.unless_halted(loaded).await;
        self.stats.load_ms += millis(started.elapsed());
        self.loaded(loaded, summary).await
    }

    /// Finds each request's batches and names its files; requests without any end here.
    pub(super) async fn resolve(
        &mut self,
        accepted: Vec<Accepted>,
        catalog: &Arc<Catalog>,
        summary: &mut Summary,
    ) -> Vec<Ready> {
        let timezone = self.config.timezone;
        let today = self.world.clock.now().with_timezone(&timezone).date_naive();
        let mut ready = Vec::new();
        // A content filter is looked up in every content there is: on the CPU pool, one request after the other.
        let (job, contents) = (Arc::clone(self.job), Arc::clone(catalog));
        let resolving = self.world.cpu.run(move || {
            let resolved = accepted.into_iter().map(|one| {
                let own_channel = one.request.requested_channel.as_deref().unwrap_or_default();
                let key_channels = one.request.allowed_channels.as_deref().map(intake::key_channels);
                let scope = Scope {
                    today,
                    timezone,
                    max_batches: job.max_batches,
                    own_channel: job.own_channel_only.then_some(own_channel),
                    key_channels: key_channels.as_deref(),
                };
                let selection = resolve(&one.order.config, &contents, &scope, &|batch| one.order.can_name(batch));
                (one, selection)
            });
            resolved.collect::<Vec<_>>()
        });
        let resolved = match self.unless_halted(resolving).await {
            Some(Ok(resolved)) => resolved,
            Some(Err(panic)) => {
                self.end_all(&Ending::Failed(Reason::panicked(&panic)), summary).await;
                return ready;
            }
            None => {
                self.end_all(&Ending::HandedBack, summary).await;
                return ready;
            }
        };
        for (Accepted { request, order }, selection) in resolved {
            let made = selection.map_err(|error| Reason::resolve(&error)).and_then(|selection| {
                Ready::new(&request, order, selection, catalog, self.lease.short_name())
                    .map_err(|error| Reason::key(&error))
            });
            match made {
                Ok(made) => ready.push(made),
                Err(reason) => self.end(&request.key, Ending::Failed(reason), summary).await,
            }
        }
        ready
    }

    /// Finds what earlier attempts have stored. A file that is not there any more, has other bytes (it was noted before a
    /// loss of power could do it no harm) or was made in another way is made again.
    pub(super) async fn resume(&mut self, mut ready: Vec<Ready>, catalog: &Catalog) -> Vec<Ready> {
        let mut noted: Vec<Vec<(ObjectKey, StoredBatch)>> = Vec::new();
        for one in &ready {
            let processed = self.processed(&one.key).await;
            let processed = processed.as_deref().and_then(Processed::parse).unwrap_or_default();
            let alike = processed.made_as == self.made_as(one);
            let files = processed.batches.into_iter().filter(|_| alike);
            // The row may have been written by anybody: only this request's own files are delivered. Hidden ones, of
            // earlier versions, are never given out, so they are made again.
            let is_own = |object: &ObjectKey| object.is_of(&one.key.tag, &one.key.request_id) && !object.is_hidden();
            let own = |file: StoredBatch| Some((ObjectKey::parse(&file.key).ok().filter(is_own)?, file));
            noted.push(files.filter_map(own).collect());
        }
        if noted.iter().any(|files| !files.is_empty()) {
            let store = self.world.store.clone();
            let looking = tokio::task::spawn_blocking(move || {
                let all: Vec<_> = noted.iter().flatten().map(|(object, file)| (object, file.content())).collect();
                let mut has = store.has(&all).into_iter();
                for files in &mut noted {
                    files.retain(|_| has.next() == Some(true));
                }
                noted
            });
            // What cannot be looked at is made again. A stop does not wait for it: the rows stay as they are.
            noted = self.unless_halted(looking).await.and_then(Result::ok).unwrap_or_default();
        } else {
            noted.clear();
        }
        let mut noted = noted.into_iter();
        for one in &mut ready {
            one.resume(noted.next().unwrap_or_default(), catalog);
            let batches: Vec<StoredBatch> = one.stored.iter().flatten().cloned().collect();
            if !batches.is_empty() {
                log::info!("request resumed request={} stored={} of={}", one.key, batches.len(), one.objects.len());
            }
            let made_as = self.made_as(one);
            self.lease.ledger().resume(&one.key, Processed { made_as, batches });
        }
        ready
    }

    /// What the row says of files that are stored. What cannot be read is nothing: those files are made again.
    async fn processed(&mut self, key: &RequestKey) -> Option<String> {
        let request = self.open.get_mut(key)?;
        if request.unread_batches.is_none_or(|bytes| bytes > MOST_NOTED) {
            return request.processed_batches.take();
        }
        let asked = key.clone();
        let which = DeferredText::ProcessedBatches;
        let read = self.world.ask(move |queue| queue.deferred_text(&asked, which, MOST_NOTED)).await;
        read.unwrap_or_else(|error| {
            log::warn!("what is stored is not known, it is made again request={key} error={error}");
            None
        })
    }

    /// What was loaded, or the end of all requests that needed it.
    async fn loaded<T>(&mut self, loaded: Option<Loaded<T>>, summary: &mut Summary) -> Option<T> {
        let ending = match loaded {
            Some(Ok(Ok((loaded, stats)))) => {
                self.load = stats;
                return Some(loaded);
            }
            Some(Ok(Err(error))) => Ending::Failed(Reason::source(&error)),
            Some(Err(panic)) => Ending::Failed(Reason::panicked(&panic)),
            None => Ending::HandedBack,
        };
        self.end_all(&ending, summary).await;
        None
    }

    /// Waits for work, but not once a stop can wait no longer: then nobody wants its result.
    async fn unless_halted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.world.stop.halted() => None,
        }
    }

    /// Has the files made, and writes each request back as soon as its own last file is stored.
    pub(super) async fn deliver(&mut self, requests: Vec<Ready>, catalog: Arc<Catalog>, summary: &mut Summary) {
        let world = self.world;
        let workshop = Arc::new(Workshop {
            job: Arc::clone(self.job),
            report: self.report,
            max_bad_rows: self.config.source.max_bad_rows,
            meter: Meter::new(&requests, std::mem::take(&mut self.load)),
            requests,
            store: world.store.clone(),
            stop: world.stop.clone(),
            ledger: Arc::clone(self.lease.ledger()),
            progress: Arc::clone(&world.progress),
        });
        let (ready, meter) = (&workshop.requests, &workshop.meter);
        let (sender, mut ended) = mpsc::unbounded_channel();
        let making = tokio::spawn(making::make(world.clone(), Arc::clone(&workshop), Arc::clone(&catalog), sender));
        let mut told = tokio::time::interval_at((Instant::now() + TELL).into(), TELL);
        loop {
            let first = tokio::select! {
                one = ended.recv() => match one {
                    Some(one) => one,
                    None => break,
                },
                () = self.world.stop.halted() => {
                    // Files under way are lost with this process: from here on the ledger lets none appear that is not
                    // noted.
                    self.end_all(&Ending::HandedBack, summary).await;
                    return;
                }
                _ = told.tick() => {
                    self.tell_progress(ready, meter).await;
                    continue;
                }
            };
            let mut ends = Vec::new();
            let mut next = Some(first);
            while let Some(Ended { request, outcome }) = next {
                let ending = match outcome {
                    Outcome::Delivered(delivered) => {
                        self.world.metrics.delivered(&self.job.id, delivered.counts.rows, delivered.bytes);
                        self.completed(&ready[request], &delivered, meter, &catalog)
                    }
                    Outcome::Failed(reason) => Ending::Failed(reason),
                    Outcome::Postponed(why) => Ending::Postponed(why),
                };
                ends.extend(self.open.remove(&ready[request].key).map(|claimed| (claimed, ending)));
                // What else has ended by now.
                next = if ends.len() < TOGETHER { ended.try_recv().ok() } else { None };
            }
            write_back_all(self.world, self.lease, self.job, ends, summary).await;
        }
        self.count(meter);
        match making.await {
            Ok(Ok(())) => self.end_all(&Ending::HandedBack, summary).await,
            Ok(Err(panic)) => self.end_all(&Ending::Failed(Reason::panicked(&panic)), summary).await,
            Err(error) => log::error!("generating broke off claim={} error={error}", self.lease.token()),
        }
    }

    /// Notes how far each request is, for those who wait for it. Nothing depends on it: a failure is only logged.
    async fn tell_progress(&mut self, ready: &[Ready], meter: &Meter) {
        let done = |request: usize| meter.done[request].load(Ordering::Relaxed);
        let open = (0..ready.len()).filter(|&request| self.open.contains_key(&ready[request].key));
        let progress: Vec<_> = open
            .map(|request| {
                let batches_total = ready[request].objects.len() as u64;
                (ready[request].key.clone(), RequestProgress { batches_done: done(request), batches_total })
            })
            .filter(|(key, progress)| self.told.get(key) != Some(progress))
            .collect();
        if progress.is_empty() {
            return;
        }
        let (token, told) = (self.lease.token().to_owned(), progress.clone());
        match self.world.ask(move |queue| queue.note_progress(&token, &progress)).await {
            Ok(()) => self.told.extend(told),
            Err(error) => log::warn!("progress could not be noted claim={} error={error}", self.lease.token()),
        }
    }

    fn count(&self, meter: &Meter) {
        let (generate, store) = meter.spent();
        let work = GroupWork {
            load: Duration::from_millis(self.stats.load_ms) + meter.spent_loading(),
            generate,
            store,
            generated: meter.generated.load(Ordering::Relaxed),
            shared: meter.shared.load(Ordering::Relaxed),
        };
        self.world.metrics.group(&self.job.id, &work);
    }

    fn completed(&mut self, ready: &Ready, delivered: &Delivered, meter: &Meter, catalog: &Catalog) -> Ending {
        let load_ms = self.stats.load_ms + millis(meter.spent_loading());
        self.stats.loads = meter.loads.load(Ordering::Relaxed);
        self.stats.batches_generated = meter.generated.load(Ordering::Relaxed);
        self.stats.batches_shared = meter.shared.load(Ordering::Relaxed);
        (self.stats.generate_ms, self.stats.store_ms) = meter.millis();
        let of_batches = || ready.objects.iter().zip(&ready.selection.batches).enumerate();
        let is_broken = |position: &usize| delivered.broken.contains(position);
        let broken = of_batches().filter(|(position, _)| is_broken(position));
        let broken = broken.map(|(_, (_, batch))| catalog.batches()[*batch].id.clone()).collect();
        let files =
            of_batches().filter(|(position, _)| !is_broken(position)).map(|(_, (object, _))| object.to_string());
        let download_urls: Vec<String> = files.collect();
        let request = RequestStats {
            batches: download_urls.len(),
            bytes: delivered.bytes,
            counts: delivered.counts,
            left_out: LeftOut { broken, ..ready.selection.left_out.clone() },
        };
        Ending::Completed {
            download_urls,
            job_stats: job_stats(&GroupStats { load_ms, ..self.stats.clone() }, &meter.load(), &request).to_string(),
        }
    }

    async fn end_all(&mut self, ending: &Ending, summary: &mut Summary) {
        let keys: Vec<RequestKey> = self.open.keys().cloned().collect();
        self.lease.close(&keys).await;
        for key in keys {
            self.end(&key, ending.clone(), summary).await;
        }
    }

    async fn end(&mut self, key: &RequestKey, ending: Ending, summary: &mut Summary) {
        if let Some(request) = self.open.remove(key) {
            write_back(self.world, self.lease, self.job, &request, ending, summary).await;
        }
    }
}

/// What a load on the CPU pool gives.
type Loaded<T> = Result<Result<(T, LoadStats), SourceError>, Panicked>;

fn millis(spent: Duration) -> u64 {
    u64::try_from(spent.as_millis()).unwrap_or(u64::MAX)
}

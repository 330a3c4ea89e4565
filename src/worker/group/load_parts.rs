//! Loads what the missing files of a group need: once if it fits into memory, else part by part. A batch that is more than
//! memory by itself is loaded range by range ([`super::super::key_ranges`]).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch_table::{BatchData, MakeUnits};
use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use super::load_query::load_query;
use crate::sources::{Source, SourceError};
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::key_range::KeyRange;
use crate::tables::loaded::{BatchWeights, LoadedBatches};
use crate::worker::cpu::Panicked;
use crate::worker::key_ranges::{LEAST, LargeBatch, LearnerRanges};
use crate::worker::load::{self, Learners, LoadLimits, LoadRequest, Loaded};
use crate::worker::memory::{self, Share};
use crate::worker::outcome::HandBack;
use crate::worker::plan::{self, RequestIdx, Unit};
use crate::worker::request_error::RequestError;
use crate::worker::tenants::{self, Limits};
use crate::worker::{AppContext, failpoints, stage};

/// Loads all that the requests of the group miss, part by part, and calls `make` with each part. Requests of which a table
/// cannot be read fail, and requests beyond the limits of their tenants are handed back.
pub(in crate::worker) async fn load_parts(
    app: &AppContext,
    group: &Arc<GroupContext>,
    catalog: &Arc<Catalog>,
    tracker: &Arc<CompletionTracker>,
    make: Arc<MakeUnits>,
) -> Result<(), Panicked> {
    if let Some(report) = group.job.report.query() {
        return load_query(app, group, catalog, tracker, &make, report).await;
    }
    let units = plan::units(&group.requests, |_| true);
    app.progress.planned.fetch_add(units.len() as u64, Ordering::Relaxed);
    if units.is_empty() {
        return Ok(());
    }
    begin_if_alone(group, tracker, units.iter());
    let source: Arc<dyn Source> = match prepare(app, group, catalog, tracker, &units).await {
        Ok(prepared) => prepared.unwrap_or_else(|| Arc::clone(&app.source) as _),
        Err(error) => {
            fail(group, tracker, &units.iter().collect::<Vec<_>>(), &error);
            return Ok(());
        }
    };
    let (group, catalog, tracker) = (Arc::clone(group), Arc::clone(catalog), Arc::clone(tracker));
    let loader = PartLoader { app: app.clone(), group, catalog, tracker, make, source };
    let made = loader.run(units).await;
    // What was prepared is dropped where threads may block.
    app.cpu.run(move || drop(loader)).await.and(made)
}

/// Lets sources prepare what all of these units need.
async fn prepare(
    app: &AppContext,
    group: &Arc<GroupContext>,
    catalog: &Arc<Catalog>,
    tracker: &Arc<CompletionTracker>,
    units: &[Unit],
) -> Result<Option<Arc<dyn Source>>, SourceError> {
    let needs = group.job.report.needs(&group.job.options);
    let plan = needs.plan(catalog, &plan::batches(units), &KeyRange::default());
    let (stop, tracker, requests) = (group.stop.clone(), Arc::clone(tracker), group.requests.len());
    let is_wanted = move || (0..requests).any(|request| tracker.wants(RequestIdx(request)));
    stage::prepare(app, plan, &group.claim, Arc::new(move || stop.is_halted() || !is_wanted())).await
}

/// What is read for one request alone counts as work on it. What several share does not: how much that is, is not theirs to say.
fn begin_if_alone<'u>(group: &GroupContext, tracker: &CompletionTracker, units: impl Iterator<Item = &'u Unit>) {
    let wanted = units.flat_map(|unit| &unit.wanted).map(|one| one.request);
    let requests: BTreeSet<RequestIdx> = wanted.filter(|request| tracker.wants(*request)).collect();
    if let (1, Some(request)) = (requests.len(), requests.first()) {
        group.metrics.begin(*request);
    }
}

#[derive(Clone)]
struct PartLoader {
    app: AppContext,
    group: Arc<GroupContext>,
    catalog: Arc<Catalog>,
    tracker: Arc<CompletionTracker>,
    make: Arc<MakeUnits>,
    /// What the tables are read from.
    source: Arc<dyn Source>,
}

/// Batches that are loaded together.
struct Part {
    /// Ascending.
    batches: Vec<BatchIdx>,
    /// What they weigh, where that is known.
    bytes: Option<u64>,
}

impl Part {
    /// The units of them.
    fn of<'u>(&self, units: &'u [Unit]) -> Vec<&'u Unit> {
        units.iter().filter(|unit| self.batches.binary_search(&unit.batch).is_ok()).collect()
    }

    /// The one batch that is more than `total` by itself, and what it weighs.
    fn large(&self, total: u64) -> Option<(BatchIdx, u64)> {
        let ([batch], Some(bytes)) = (&self.batches[..], self.bytes) else { return None };
        (bytes > total.max(LEAST)).then_some((*batch, bytes))
    }
}

impl PartLoader {
    async fn run(&self, units: Vec<Unit>) -> Result<(), Panicked> {
        let Self { app, group, catalog, tracker, .. } = self;
        let limits = Limits::of(&app.config.get().worker);
        let mut units = Arc::new(units);
        // All of them together, if they are not too much.
        let mut parts = VecDeque::from([Part { batches: plan::batches(&units), bytes: None }]);
        while let Some(part) = parts.pop_front() {
            if group.stop.is_halted() {
                break;
            }
            let total = memory::for_loads(app.config.get().worker.memory, catalog.memory() as u64);
            let share = match part.bytes {
                None => app.memory.share_of_unknown(total).await,
                Some(bytes) => app.memory.share_of(bytes, total).await,
            };
            let share = Arc::new(share);
            begin_if_alone(group, tracker, part.of(&units).into_iter());
            if let Some(large) = part.large(total) {
                self.make_in_ranges(&units, large, share).await?;
                continue;
            }
            // Tenants are limited once, by what all of their batches weigh.
            let limits = if part.bytes.is_none() { limits } else { Limits::default() };
            match self.load(&part, &share, limits).await? {
                Ok(Loaded::Batches(loaded)) => self.make(&units, part, loaded).await?,
                Ok(Loaded::TooMuch(weights)) => {
                    // `load` has dropped what it took. Returns its memory before the loop waits for memory again.
                    drop(share);
                    let divided = self.divide(&mut units, &weights, limits, total);
                    for (batches, bytes) in divided.into_iter().rev() {
                        parts.push_front(Part { batches, bytes: Some(bytes) });
                    }
                }
                Err(error) => fail(group, tracker, &part.of(&units), &error),
            }
        }
        Ok(())
    }

    async fn load(
        &self,
        part: &Part,
        share: &Arc<Share>,
        limits: Limits,
    ) -> Result<Result<Loaded, SourceError>, Panicked> {
        let Self { app, group, catalog, .. } = self;
        let (source, timezone) = (Arc::clone(&self.source), app.config.get().timezone);
        let (group, catalog, batches) = (Arc::clone(group), Arc::clone(catalog), part.batches.clone());
        let share = Arc::clone(share);
        let load = move || {
            failpoints::hit("loading", &group.job.id);
            let needs = group.job.report.needs(&group.job.options);
            let request = LoadRequest { batches: &batches, needs: &needs, timezone, learners: Learners::All };
            let is_within_limits = |weights: &BatchWeights| tenants::judge(&group.requests, weights, limits).is_empty();
            let limits = LoadLimits {
                bytes: share.bytes().max(LEAST),
                weighed: &|bytes| share.shrink_to(bytes),
                agrees: limits.is_any().then_some(&is_within_limits),
            };
            group.metrics.loading(|stats| load::batches(source.as_ref(), &catalog, &request, limits, stats))
        };
        app.cpu.run(load).await
    }

    /// Divides a part that was too much, or hands back the requests beyond their tenants' limits: `units` are those that
    /// are left. Returns the batches to load together, and their bytes.
    fn divide(
        &self,
        units: &mut Arc<Vec<Unit>>,
        weights: &BatchWeights,
        limits: Limits,
        total: u64,
    ) -> Vec<(Vec<BatchIdx>, u64)> {
        let handed_back = tenants::judge(&self.group.requests, weights, limits);
        let divided = if handed_back.is_empty() {
            plan::lighter(units.iter().map(|unit| unit.batch), weights, total)
        } else {
            let fewer = plan::units(&self.group.requests, |request| !handed_back.contains_key(&request));
            self.app.progress.planned.fetch_sub((units.len() - fewer.len()) as u64, Ordering::Relaxed);
            for (request, exceeded) in handed_back {
                self.tracker.hand_back(request, HandBack::Tenant(exceeded));
            }
            *units = Arc::new(fewer);
            plan::parts(units, weights, total)
        };
        if divided.len() > 1 {
            let batches: usize = divided.iter().map(|(batches, _)| batches.len()).sum();
            log::info!("loaded in parts batches={batches} parts={}", divided.len());
        }
        divided
    }

    /// Makes the units of a part, and drops what was loaded for it.
    async fn make(&self, units: &Arc<Vec<Unit>>, part: Part, loaded: Box<LoadedBatches>) -> Result<(), Panicked> {
        let (make, units) = (Arc::clone(&self.make), Arc::clone(units));
        self.app.cpu.run(move || make(&BatchData::Loaded(&loaded), &part.of(&units))).await
    }

    /// Makes the units of one batch that is too much to be loaded at once, given with its weight.
    async fn make_in_ranges(
        &self,
        units: &Arc<Vec<Unit>>,
        (batch, weight): (BatchIdx, u64),
        share: Arc<Share>,
    ) -> Result<(), Panicked> {
        let (own, units, timezone) = (self.clone(), Arc::clone(units), self.app.config.get().timezone);
        let make = move || {
            let Self { group, catalog, tracker, make, source, .. } = &own;
            log::info!("worked on in learner ranges batch={} bytes={weight}", catalog.batch(batch).id);
            let units: Vec<&Unit> = units.iter().filter(|unit| unit.batch == batch).collect();
            let large = LargeBatch {
                source: source.as_ref(),
                catalog,
                batch,
                needs: &group.job.report.needs(&group.job.options),
                timezone,
                weight,
                bytes: share.bytes(),
            };
            match LearnerRanges::find(large, &group.metrics) {
                Ok(ranges) => make(&BatchData::Ranges(&ranges), &units),
                Err(error) => fail(group, tracker, &units, &error),
            }
        };
        self.app.cpu.run(make).await
    }
}

/// Fails the requests that want one of these units. Reading ends with an error as well where nobody waits for it any more: after
/// a stop the requests are handed back, and those that were cancelled are not held.
fn fail(group: &GroupContext, tracker: &CompletionTracker, units: &[&Unit], error: &SourceError) {
    if group.stop.is_halted() {
        return;
    }
    let error = RequestError::source(error);
    for one in units.iter().flat_map(|unit| &unit.wanted) {
        tracker.fail(one.request, error.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::worker::test_app::{BATCHES, TestApp, group_context, tracker};

    #[tokio::test]
    async fn all_units_are_made_from_one_load_if_they_fit() {
        let test = TestApp::new();
        let wanted: [(&str, &[&str]); 2] = [("1", &BATCHES), ("2", &BATCHES[..1])];
        let (_lease, ready, catalog) = test.ready(&wanted).await;
        let requests = ready.into_iter().map(|(_, ready)| ready).collect();
        let group = group_context(requests, test.app.store.clone());
        let (tracker, _stored, _ended) = tracker(&group);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let make: Arc<MakeUnits> = {
            let seen = Arc::clone(&seen);
            Arc::new(move |data, units| {
                let ids: Vec<String> = units.iter().map(|unit| data.catalog().batch(unit.batch).id.clone()).collect();
                seen.lock().unwrap().push(ids);
            })
        };
        load_parts(&test.app, &group, &catalog, &tracker, make).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [BATCHES], "the small request's batch comes first");
        assert_eq!(group.metrics.loads(), 1);
    }
}

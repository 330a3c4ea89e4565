//! The files of a group made: what they need is loaded once if it fits in memory, else part by part; then generated and
//! stored on all cores. Runs beside the group, which hears of each request's end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::UnboundedSender;

use super::carrying::{Carriers, Way};
use super::cpu::Panicked;
use super::desk::{Desk, Ended, Settler};
use super::ending::{Postponed, Reason};
use super::generate::{Workshop, all};
use super::load::{self, Learners, Loaded};
use super::memory::{self, Share};
use super::plan::{self, Unit};
use super::stretches::{LEAST, Large, Stretches};
use super::table::Data;
use super::tenants::{self, Limits};
use super::{World, points};
use crate::sources::SourceError;
use crate::tables::catalog::Catalog;
use crate::tables::loaded::{Heavy, Shared};

/// Makes everything that the requests of a workshop miss.
pub(super) async fn make(
    world: World,
    workshop: Arc<Workshop>,
    catalog: Arc<Catalog>,
    ended: UnboundedSender<Ended>,
) -> Result<(), Panicked> {
    let (stored, settled) = std::sync::mpsc::channel();
    let settling = tokio::task::spawn_blocking({
        let (workshop, ended) = (Arc::clone(&workshop), ended.clone());
        move || {
            let Workshop { requests, store, ledger, stop, meter, .. } = &*workshop;
            Settler { requests, store, ledger, stop, meter, ended }.run(&settled);
        }
    });
    let desk = Arc::new(Desk::new(Arc::clone(&workshop), stored, ended));
    let carriers = workshop.store.is_remote().then(|| Carriers::new(&workshop, &desk));
    let way = carriers.as_ref().map(Carriers::way);
    let maker = Maker { world, workshop, catalog, desk, way };
    let made = maker.make_parts().await;
    if let Some(carriers) = carriers
        && let Err(error) = tokio::task::spawn_blocking(move || carriers.finish()).await
    {
        log::error!("carrying broke off error={error}");
    }
    drop(maker);
    // It ends by itself once nobody can become whole any more.
    if let Err(error) = settling.await {
        log::error!("settling broke off error={error}");
    }
    made
}

/// Makes the files of one group.
#[derive(Clone)]
struct Maker {
    world: World,
    workshop: Arc<Workshop>,
    catalog: Arc<Catalog>,
    desk: Arc<Desk>,
    /// To a store that is far away.
    way: Option<Arc<Way>>,
}

/// Batches that are loaded together.
struct Part {
    /// Ascending.
    batches: Vec<usize>,
    /// What they weigh, where that is known.
    bytes: Option<u64>,
}

impl Part {
    /// The units of them.
    fn of<'u>(&self, units: &'u [Unit]) -> Vec<&'u Unit> {
        units.iter().filter(|unit| self.batches.binary_search(&unit.batch).is_ok()).collect()
    }

    /// The one batch that is more than `total` by itself, and what it weighs.
    fn large(&self, total: u64) -> Option<(usize, u64)> {
        let ([batch], Some(bytes)) = (&self.batches[..], self.bytes) else { return None };
        (bytes > total.max(LEAST)).then_some((*batch, bytes))
    }
}

impl Maker {
    async fn make_parts(&self) -> Result<(), Panicked> {
        let Self { world, workshop, desk, catalog, .. } = self;
        let limits = Limits::of(&world.config.get().worker);
        let mut units = Arc::new(plan::units(&workshop.requests, |_| true));
        world.progress.planned.fetch_add(units.len() as u64, Ordering::Relaxed);
        // All of them together, if they are not too much.
        let all = (!units.is_empty()).then(|| Part { batches: plan::batches(&units), bytes: None });
        let mut parts: VecDeque<Part> = all.into_iter().collect();
        while let Some(part) = parts.pop_front() {
            if workshop.stop.is_halted() {
                break;
            }
            let total = memory::for_loads(world.config.get().worker.memory, catalog.memory() as u64);
            let share = match part.bytes {
                None => world.memory.share_of_unknown(total).await,
                Some(bytes) => world.memory.share_of(bytes, total).await,
            };
            let share = Arc::new(share);
            if let Some(large) = part.large(total) {
                self.make_in_stretches(&units, large, share).await?;
                continue;
            }
            // Whose turn it is is decided once, by what all of them weigh.
            let limits = if part.bytes.is_none() { limits } else { Limits::default() };
            match self.load(&part, &share, limits).await? {
                Ok(Ok(shared)) => self.make(&units, part, shared).await?,
                Ok(Err(heavy)) => {
                    // What is too much is let go before anybody waits for a share again.
                    drop(share);
                    let back = tenants::judge(&workshop.requests, &heavy, limits);
                    let anew = if back.is_empty() {
                        plan::lighter(units.iter().map(|unit| unit.batch), &heavy, total)
                    } else {
                        let fewer = plan::units(&workshop.requests, |request| !back.contains_key(&request));
                        world.progress.planned.fetch_sub((units.len() - fewer.len()) as u64, Ordering::Relaxed);
                        for (request, exceeded) in back {
                            desk.hand_back(request, Postponed::Tenant(exceeded));
                        }
                        units = Arc::new(fewer);
                        plan::parts(&units, &heavy, total)
                    };
                    if anew.len() > 1 {
                        let batches: usize = anew.iter().map(|(batches, _)| batches.len()).sum();
                        log::info!("loaded in parts batches={batches} parts={}", anew.len());
                    }
                    for (batches, bytes) in anew.into_iter().rev() {
                        parts.push_front(Part { batches, bytes: Some(bytes) });
                    }
                }
                Err(error) => fail(desk, &part.of(&units), &error),
            }
        }
        Ok(())
    }

    async fn load(&self, part: &Part, share: &Arc<Share>, limits: Limits) -> Result<Loaded, Panicked> {
        let Self { world, workshop, catalog, .. } = self;
        let (source, timezone) = (Arc::clone(&world.source), world.config.get().timezone);
        let (workshop, catalog, batches) = (Arc::clone(workshop), Arc::clone(catalog), part.batches.clone());
        let share = Arc::clone(share);
        let load = move || {
            points::reach("loading", &workshop.job.id);
            let (needs, options) = (workshop.report.needs(&workshop.job.options), &workshop.job.options);
            let wish = load::Wish { batches: &batches, needs: &needs, options, timezone, learners: Learners::All };
            let nobody_waits = |weights: &Heavy| tenants::judge(&workshop.requests, weights, limits).is_empty();
            let bounds = load::Bounds {
                bytes: share.bytes().max(LEAST),
                weighed: &|bytes| share.shrink_to(bytes),
                agrees: limits.is_any().then_some(&nobody_waits),
            };
            workshop.meter.loading(|stats| load::shared(source.as_ref(), &catalog, &wish, bounds, stats))
        };
        world.cpu.run(load).await
    }

    /// Makes the units of a part, and lets go of what was loaded for it.
    async fn make(&self, units: &Arc<Vec<Unit>>, part: Part, shared: Shared) -> Result<(), Panicked> {
        let (own, units) = (self.clone(), Arc::clone(units));
        let make = move || {
            all(&own.workshop, &own.desk, &Data::Loaded(&shared), &part.of(&units), own.way.as_ref());
        };
        self.world.cpu.run(make).await
    }

    /// Makes the units of one batch that is too much to be loaded at once, given with its weight.
    async fn make_in_stretches(
        &self,
        units: &Arc<Vec<Unit>>,
        (batch, weight): (usize, u64),
        share: Arc<Share>,
    ) -> Result<(), Panicked> {
        let (own, units, timezone) = (self.clone(), Arc::clone(units), self.world.config.get().timezone);
        let make = move || {
            let Self { world, workshop, catalog, desk, way } = &own;
            log::info!("worked on in stretches batch={} bytes={weight}", catalog.batches()[batch].id);
            let units: Vec<&Unit> = units.iter().filter(|unit| unit.batch == batch).collect();
            let large = Large {
                source: world.source.as_ref(),
                catalog,
                batch,
                needs: &workshop.report.needs(&workshop.job.options),
                options: &workshop.job.options,
                timezone,
                weight,
                bytes: share.bytes(),
            };
            match Stretches::survey(large, &workshop.meter) {
                Ok(stretches) => all(workshop, desk, &Data::Stretches(&stretches), &units, way.as_ref()),
                Err(error) => fail(desk, &units, &error),
            }
        };
        self.world.cpu.run(make).await
    }
}

/// Fails everybody who wants one of these.
fn fail(desk: &Desk, units: &[&Unit], error: &SourceError) {
    let reason = Reason::source(error);
    for (request, _) in units.iter().flat_map(|unit| &unit.wanted) {
        desk.fail(*request, reason.clone());
    }
}

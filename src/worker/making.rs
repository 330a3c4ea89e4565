//! The files of a group made: what they need is loaded once if it fits in memory, else part by part; then generated and
//! stored on all cores. Runs beside the group, which hears of each request's end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::UnboundedSender;

use super::carrying::{Carriers, Way};
use super::cpu::Panicked;
use super::desk::{Desk, Ended, Settler};
use super::ending::Reason;
use super::generate::{Workshop, all};
use super::load::{self, Loaded};
use super::memory::Share;
use super::plan::{self, Unit};
use super::tenants::{self, Limits};
use super::{World, points};
use crate::reports::catalog::Catalog;
use crate::reports::shared::{Heavy, Shared};

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
    let made = make_parts(&world, &workshop, &catalog, &desk, way.as_ref()).await;
    if let Some(carriers) = carriers
        && let Err(error) = tokio::task::spawn_blocking(move || carriers.finish()).await
    {
        log::error!("carrying broke off error={error}");
    }
    drop((way, desk));
    // It ends by itself once nobody can become whole any more.
    if let Err(error) = settling.await {
        log::error!("settling broke off error={error}");
    }
    made
}

async fn make_parts(
    world: &World,
    workshop: &Arc<Workshop>,
    catalog: &Arc<Catalog>,
    desk: &Arc<Desk>,
    way: Option<&Arc<Way>>,
) -> Result<(), Panicked> {
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
        let total = world.config.get().worker.memory;
        let share = match part.bytes {
            None => world.memory.share_of_unknown(total).await,
            Some(bytes) => world.memory.share_of(bytes, total).await,
        };
        let share = Arc::new(share);
        // Whose turn it is is decided once, by what all of them weigh.
        let limits = if part.bytes.is_none() { limits } else { Limits::default() };
        match load(world, workshop, catalog, &part, &share, limits).await? {
            Ok(Ok(shared)) => generate(world, workshop, desk, (&units, part), shared, way).await?,
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
                        desk.hand_back(request, exceeded);
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
            Err(error) => {
                let reason = Reason::source(&error);
                let of_part = |unit: &&Unit| part.batches.binary_search(&unit.batch).is_ok();
                for (request, _) in units.iter().filter(of_part).flat_map(|unit| &unit.wanted) {
                    desk.fail(*request, reason.clone());
                }
            }
        }
    }
    Ok(())
}

/// Batches that are loaded together.
struct Part {
    /// Ascending.
    batches: Vec<usize>,
    /// What they weigh, where that is known.
    bytes: Option<u64>,
}

async fn load(
    world: &World,
    workshop: &Arc<Workshop>,
    catalog: &Arc<Catalog>,
    part: &Part,
    share: &Arc<Share>,
    limits: Limits,
) -> Result<Loaded, Panicked> {
    let (source, timezone) = (Arc::clone(&world.source), world.config.get().timezone);
    let (workshop, catalog, batches) = (Arc::clone(workshop), Arc::clone(catalog), part.batches.clone());
    let share = Arc::clone(share);
    // A single batch cannot be divided any more.
    let bytes = if batches.len() == 1 { u64::MAX } else { share.bytes() };
    world
        .cpu
        .run(move || {
            points::reach("loading", &workshop.job.id);
            let needs = workshop.report.needs(&workshop.job.options);
            let wish = load::Wish { batches: &batches, needs: &needs, options: &workshop.job.options, timezone };
            let nobody_waits = |weights: &Heavy| tenants::judge(&workshop.requests, weights, limits).is_empty();
            let bounds = load::Bounds {
                bytes,
                weighed: &|bytes| share.shrink_to(bytes),
                agrees: limits.is_any().then_some(&nobody_waits),
            };
            workshop.meter.loading(|stats| load::shared(source.as_ref(), &catalog, &wish, bounds, stats))
        })
        .await
}

/// Makes the units of a part, and lets go of what was loaded for it.
async fn generate(
    world: &World,
    workshop: &Arc<Workshop>,
    desk: &Arc<Desk>,
    (units, part): (&Arc<Vec<Unit>>, Part),
    shared: Shared,
    way: Option<&Arc<Way>>,
) -> Result<(), Panicked> {
    let (workshop, desk, units, way) = (Arc::clone(workshop), Arc::clone(desk), Arc::clone(units), way.cloned());
    let make = move || {
        let of_part = |unit: &&Unit| part.batches.binary_search(&unit.batch).is_ok();
        let units: Vec<&Unit> = units.iter().filter(of_part).collect();
        all(&workshop, &desk, &shared, &units, way.as_ref());
    };
    world.cpu.run(make).await
}

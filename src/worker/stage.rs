//! What engines stage for groups of requests: for whom, and what becomes of it when its daemon was killed.
//!
//! Not here: staging, and removing what a group of this daemon has staged (`sources`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::AppContext;
use crate::requests::QueueError;
use crate::sources::stage::claim_name;
use crate::sources::{GivenUp, GroupRun, Source, SourceError};
use crate::tables::plan::LoadPlan;

/// Prepares the sources for what a group reads: engines stage it, or learn when it is given up. `None`: nothing had to be
/// prepared. `given_up`: whether nobody waits for the group any more.
///
/// # Errors
/// A source cannot be read, or the database does not tell the installation, which may pass.
pub(super) async fn prepare(
    app: &AppContext,
    plan: LoadPlan,
    claim: &str,
    given_up: GivenUp,
) -> Result<Option<Arc<dyn Source>>, SourceError> {
    let Some(first) = plan.scans.first() else { return Ok(None) };
    let failed = |error: &QueueError| {
        let message = format!("table {}: the database does not tell where it may be staged", first.table);
        SourceError {
            table: first.table,
            detail: format!("{message}: {error}"),
            message,
            may_pass: true,
            is_too_large: false,
        }
    };
    let installation =
        if is_staging(app) { installation(app).await.map_err(|error| failed(&error))? } else { String::new() };
    let run = GroupRun { installation, claim: claim.to_owned(), given_up };
    let source = Arc::clone(&app.source);
    let table = first.table;
    match app.cpu.run(move || source.prepare(&plan, &run)).await {
        Ok(prepared) => Ok(prepared?.map(Arc::from)),
        Err(panic) => {
            let message = format!("table {table}: staging broke off");
            Err(SourceError {
                table,
                detail: format!("{message}: {panic}"),
                message,
                may_pass: true,
                is_too_large: false,
            })
        }
    }
}

/// How long a process that ends waits for engines to end what was given up: a program has five seconds once it is told to.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(7);

/// Waits until engines have ended what was given up. Without it, a process that ends at once would leave statements behind.
pub(super) async fn wait_for_cancelled(app: &AppContext) {
    let source = Arc::clone(&app.source);
    // Nothing comes of a panic here.
    let _ = tokio::task::spawn_blocking(move || source.wait_for_cancelled(CANCEL_TIMEOUT)).await;
}

async fn installation(app: &AppContext) -> Result<String, QueueError> {
    app.installation.get_or_try_init(|| app.ask(|queue| queue.installation())).await.cloned()
}

/// Cleans up at once and then once a lease.
pub(super) async fn keep_clean(app: AppContext) {
    while is_staging(&app) && !app.stop.is_set() {
        clean_up(&app).await;
        let lease = app.config.get().worker.lease;
        tokio::select! {
            () = tokio::time::sleep(lease) => {}
            () = app.stop.requested() => return,
        }
    }
}

/// Removes what is staged for claims by which no row is held: their daemons were killed.
pub(super) async fn clean_up(app: &AppContext) {
    if is_staging(app)
        && let Err(error) = clean(app).await
    {
        log::warn!("what is staged cannot be looked over error={error}");
    }
}

/// Whether a source stages tables.
fn is_staging(app: &AppContext) -> bool {
    app.source.members().iter().any(|member| member.source.stage().is_some())
}

async fn clean(app: &AppContext) -> Result<(), String> {
    let installation = installation(app).await.map_err(|error| error.to_string())?;
    for member in app.source.members() {
        let Some(stage) = member.source.stage().cloned() else { continue };
        let (place, own) = (stage.clone(), installation.clone());
        // First what is staged, then which claims hold rows: a claim stages nothing before it holds its rows.
        let staged = tokio::task::spawn_blocking(move || place.claims(&own)).await.map_err(|e| e.to_string())?;
        let staged = staged.map_err(|error| format!("{}: {error}", member.name))?;
        if staged.is_empty() {
            continue;
        }
        let held = app.ask(|queue| queue.held_claims()).await.map_err(|error| error.to_string())?;
        let held: BTreeSet<String> = held.iter().map(|token| claim_name(token)).collect();
        for name in staged.into_iter().filter(|name| !held.contains(name)) {
            let (place, own, removed) = (stage.clone(), installation.clone(), name.clone());
            let done = tokio::task::spawn_blocking(move || place.remove_claim(&own, &removed)).await;
            match done.map_err(|e| e.to_string())? {
                Ok(()) => {
                    log::info!("removed what is staged for a claim that is over source={} claim={name}", member.name);
                }
                Err(error) => log::warn!("staged tables cannot be removed yet source={} error={error}", member.name),
            }
        }
    }
    Ok(())
}

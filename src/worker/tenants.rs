//! Limits the bytes that the requests of a tenant (a tag, or a channel) have in work: beyond the limit its newest requests are
//! handed back, and its oldest is worked on. The number of its requests is limited by the claim.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::plan::{Ready, RequestIdx};
use crate::config::checked::Worker;
use crate::tables::catalog::BatchIdx;
use crate::tables::loaded::BatchWeights;

/// The most bytes of one tenant among the requests that are worked on together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Of one tag.
    pub(super) per_tag: Option<u64>,
    /// Of one channel.
    pub(super) per_channel: Option<u64>,
}

/// What decides whether one request is handed back.
#[derive(Clone, Debug)]
struct Claimant<'a> {
    /// The request.
    request: RequestIdx,
    /// Its tag.
    tag: &'a str,
    /// Its channel; without one no channel's limit concerns it.
    channel: Option<&'a str>,
    /// The batches that it misses.
    batches: Vec<BatchIdx>,
}

/// Why a request is handed back: for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// `per_tag` or `per_channel`.
    limit: &'static str,
    /// What the tenant may have.
    bytes: u64,
    /// What its older requests have.
    in_work: u64,
    /// What this one would add.
    more: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, bytes, in_work, more } = self;
        write!(f, "limit={limit} bytes={bytes} in_work={in_work} more={more}")
    }
}

impl<'a> Claimant<'a> {
    fn new(request: RequestIdx, ready: &'a Ready) -> Self {
        let batches = ready.missing().map(|(_, batch)| batch).collect();
        Self { request, tag: &ready.key.tag, channel: ready.channel.as_deref(), batches }
    }
}

impl Limits {
    /// Those of jobs.toml.
    pub(super) const fn of(worker: &Worker) -> Self {
        Self { per_tag: worker.per_tag.bytes, per_channel: worker.per_channel.bytes }
    }

    /// Whether there is a limit.
    pub(super) const fn is_any(&self) -> bool {
        self.per_tag.is_some() || self.per_channel.is_some()
    }
}

/// Which requests of a group (oldest first) are handed back by the weights of their batches, and why. Requests that miss no
/// file stay.
pub(super) fn judge(group: &[Ready], weights: &BatchWeights, limits: Limits) -> BTreeMap<RequestIdx, Exceeded> {
    if !limits.is_any() {
        return BTreeMap::new();
    }
    let all = group.iter().enumerate().map(|(at, ready)| Claimant::new(RequestIdx(at), ready));
    let claimants: Vec<Claimant<'_>> = all.filter(|one| !one.batches.is_empty()).collect();
    handed_back(&claimants, weights, limits)
}

/// Which of these are handed back, and why.
///
/// Each tenant keeps as many of its oldest as it may, and the first however heavy; one that adds nothing to what the tenant
/// has in work costs nothing and is kept. A request stays only if both of its tenants keep it; one that the tag does not
/// keep takes nothing of its channel, nor the other way round. The very first always stays, so that every group gets
/// something done. A batch weighs once for each tenant, however many of its requests want it.
fn handed_back(
    oldest_first: &[Claimant<'_>],
    weights: &BatchWeights,
    limits: Limits,
) -> BTreeMap<RequestIdx, Exceeded> {
    let weights: BTreeMap<BatchIdx, u64> = weights.batches.iter().copied().collect();
    let (mut tags, mut channels) =
        (Tenants::new("per_tag", limits.per_tag), Tenants::new("per_channel", limits.per_channel));
    let mut back = BTreeMap::new();
    for claimant in oldest_first {
        let bytes = |batches: &BTreeSet<BatchIdx>| -> u64 {
            let more = claimant.batches.iter().filter(|batch| !batches.contains(batch));
            more.map(|batch| weights.get(batch).copied().unwrap_or(0)).sum()
        };
        let judged = tags.keeps(Some(claimant.tag), bytes).and_then(|()| channels.keeps(claimant.channel, bytes));
        match judged {
            Ok(()) => {
                tags.take(Some(claimant.tag), &claimant.batches, bytes);
                channels.take(claimant.channel, &claimant.batches, bytes);
            }
            Err(exceeded) => {
                back.insert(claimant.request, exceeded);
            }
        }
    }
    back
}

/// All tags, or all channels.
struct Tenants<'a> {
    name: &'static str,
    limit: Option<u64>,
    each: BTreeMap<&'a str, Tenant>,
}

#[derive(Default)]
struct Tenant {
    batches: BTreeSet<BatchIdx>,
    bytes: u64,
    /// One of its requests was too much: what is newer and adds something does not overtake it.
    is_full: bool,
}

impl<'a> Tenants<'a> {
    const fn new(name: &'static str, limit: Option<u64>) -> Self {
        Self { name, limit, each: BTreeMap::new() }
    }

    fn keeps(&mut self, tenant: Option<&'a str>, more: impl Fn(&BTreeSet<BatchIdx>) -> u64) -> Result<(), Exceeded> {
        let (Some(limit), Some(tenant)) = (self.limit, tenant) else { return Ok(()) };
        let Some(tenant) = self.each.get_mut(tenant) else { return Ok(()) };
        let (in_work, more) = (tenant.bytes, more(&tenant.batches));
        if more == 0 {
            // It wants only what is made for older requests.
            return Ok(());
        }
        tenant.is_full |= in_work + more > limit;
        if tenant.is_full { Err(Exceeded { limit: self.name, bytes: limit, in_work, more }) } else { Ok(()) }
    }

    fn take(&mut self, tenant: Option<&'a str>, batches: &[BatchIdx], more: impl Fn(&BTreeSet<BatchIdx>) -> u64) {
        let (Some(_), Some(tenant)) = (self.limit, tenant) else { return };
        let tenant = self.each.entry(tenant).or_default();
        tenant.bytes += more(&tenant.batches);
        tenant.batches.extend(batches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tag, channel and batches of requests, oldest first; a batch weighs ten times its number.
    type Row = (&'static str, &'static str, &'static [usize]);

    fn back(rows: &[Row], per_tag: Option<u64>, per_channel: Option<u64>) -> Vec<usize> {
        let claimant = |(request, (tag, channel, batches)): (usize, &Row)| Claimant {
            request: RequestIdx(request),
            tag,
            channel: Some(*channel).filter(|channel| !channel.is_empty()),
            batches: batches.iter().copied().map(BatchIdx).collect(),
        };
        let claimants: Vec<Claimant<'_>> = rows.iter().enumerate().map(claimant).collect();
        let weights = BatchWeights { batches: (1..10).map(|batch| (BatchIdx(batch), batch as u64 * 10)).collect() };
        handed_back(&claimants, &weights, Limits { per_tag, per_channel }).into_keys().map(|one| one.0).collect()
    }

    #[test]
    fn the_newest_are_handed_back_until_the_rest_is_within_the_limit() {
        let rows: [Row; 5] = [("a", "", &[1]), ("a", "", &[2]), ("b", "", &[9]), ("a", "", &[3]), ("a", "", &[4])];
        for (limit, expected) in
            [(100, vec![]), (99, vec![4]), (60, vec![4]), (59, vec![3, 4]), (30, vec![3, 4]), (29, vec![1, 3, 4])]
        {
            assert_eq!(back(&rows, Some(limit), None), expected, "{limit}");
        }
    }

    #[test]
    fn the_oldest_of_each_tenant_stays_however_heavy() {
        let rows: [Row; 4] = [("a", "", &[9]), ("b", "", &[8, 7]), ("a", "", &[1]), ("b", "", &[1])];
        assert_eq!(back(&rows, Some(1), None), [2, 3]);
    }

    #[test]
    fn nobody_newer_overtakes_one_that_is_too_much() {
        let rows: [Row; 4] = [("a", "", &[1]), ("a", "", &[9]), ("a", "", &[2]), ("a", "", &[1])];
        assert_eq!(back(&rows, Some(50), None), [1, 2], "the last one wants what is made anyhow");
    }

    #[test]
    fn a_batch_weighs_once_for_a_tenant_and_for_each_tenant() {
        let rows: [Row; 5] = [("a", "", &[4]), ("b", "", &[1]), ("a", "", &[4]), ("b", "", &[4]), ("a", "", &[4, 1])];
        assert_eq!(back(&rows, Some(50), None), [] as [usize; 0], "40 and 10 each");
        assert_eq!(back(&rows, Some(49), None), [3, 4]);
        // A batch without a weight weighs nothing.
        assert_eq!(back(&[("a", "", &[9]), ("a", "", &[77])], Some(90), None), [] as [usize; 0]);
    }

    #[test]
    fn both_tenants_of_a_request_must_keep_it() {
        let rows: [Row; 6] =
            [("a", "x", &[5]), ("b", "x", &[1]), ("a", "y", &[2]), ("b", "y", &[3]), ("c", "y", &[4]), ("c", "", &[6])];
        assert_eq!(back(&rows, None, Some(59)), [1, 4], "x has 50, y 20 and 30; without a channel there is no limit");
        // The tag keeps 2 away, so that it takes nothing of y.
        assert_eq!(back(&rows, Some(60), Some(70)), [2, 5]);
        // What the channel keeps away takes nothing of its tag: 3 has room.
        assert_eq!(back(&rows, Some(30), Some(50)), [1, 2, 4]);
    }

    #[test]
    fn without_limits_nobody_is_handed_back() {
        assert_eq!(back(&[("a", "x", &[9]), ("a", "x", &[8]), ("a", "x", &[7])], None, None), [] as [usize; 0]);
    }

    #[test]
    fn requests_that_miss_nothing_are_not_concerned() {
        use crate::outputs::Compress;
        use crate::worker::plan::tests::{ready, weights};
        let group = [ready(&[], Compress::None), ready(&[9], Compress::None), ready(&[8], Compress::None)];
        let weights = weights(&[(8, 80), (9, 90)]);
        let limits = |per_tag| Limits { per_tag, per_channel: None };
        let exceeded = Exceeded { limit: "per_tag", bytes: 100, in_work: 90, more: 80 };
        assert_eq!(exceeded.to_string(), "limit=per_tag bytes=100 in_work=90 more=80");
        assert_eq!(judge(&group, &weights, limits(Some(100))), BTreeMap::from([(RequestIdx(2), exceeded)]));
        assert!(judge(&group, &weights, limits(None)).is_empty());
    }
}

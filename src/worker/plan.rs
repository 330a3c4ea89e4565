//! Which files to make, and for which requests: each distinct (batch, encoding) once, however many requests want it.

use std::collections::BTreeMap;

use super::checkpoint::StoredBatch;
use crate::intake::Order;
use crate::outputs::{FileEncoding, KeyError, ObjectKey};
use crate::reports::filters::Selection;
use crate::reports::query::FileShape;
use crate::requests::{ClaimedRequest, RequestKey};
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::loaded::BatchWeights;

/// A request, by its place among those of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestIdx(pub usize);

/// A file, by its place among those of its request: that of its batch in `selection.batches`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileIdx(pub usize);

/// A request that wants a file, and which of its own that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The request.
    pub request: RequestIdx,
    /// The file among its own.
    pub file: FileIdx,
}

/// A request that is ready to be made: its batches are known.
#[derive(Debug)]
pub struct Ready {
    /// Which request.
    pub key: RequestKey,
    /// For which channel; `None` for an empty one too.
    pub channel: Option<String>,
    /// What it wants.
    pub order: Order,
    /// Which batches that means.
    pub selection: Selection,
    /// What it gives to the query of a report in SQL.
    pub shape: FileShape,
    /// Where each of them goes, or has gone, in the order of `selection.batches`.
    pub objects: Vec<ObjectKey>,
    /// What an earlier attempt has stored of them, in the same order.
    pub stored: Vec<Option<StoredBatch>>,
    /// Whether these are the files of one part of the request.
    pub is_part: bool,
}

impl Ready {
    /// Names the request's files, of batches that can be named.
    ///
    /// # Errors
    /// A key is too long: the request fails, and no other.
    pub fn new(
        request: &ClaimedRequest,
        order: Order,
        selection: Selection,
        shape: FileShape,
        catalog: &Catalog,
        claim: &str,
    ) -> Result<Self, KeyError> {
        let name = |batch: &BatchIdx| {
            let (id, key) = (&catalog.batch(*batch).id, &request.key);
            ObjectKey::of_report(&order.report_path, &key.tag, &key.request_id, claim, id, order.extension())
        };
        let objects: Vec<ObjectKey> = selection.batches.iter().map(name).collect::<Result<_, _>>()?;
        let channel = request.requested_channel.clone().filter(|channel| !channel.is_empty());
        let (key, stored, is_part) = (request.key.clone(), vec![None; objects.len()], request.part.is_some());
        Ok(Self { key, channel, order, selection, shape, objects, stored, is_part })
    }

    /// Takes over files of an earlier attempt.
    pub fn resume(&mut self, files: Vec<(ObjectKey, StoredBatch)>, catalog: &Catalog) {
        let positions: BTreeMap<&str, usize> =
            (0..).zip(&self.selection.batches).map(|(at, batch)| (catalog.batch(*batch).id.as_str(), at)).collect();
        for (object, file) in files {
            if let Some(&position) = positions.get(file.batch.as_str()) {
                self.objects[position] = object;
                self.stored[position] = Some(file);
            }
        }
    }

    /// The files that are not stored, each with the index of its batch in the catalogue.
    pub fn missing(&self) -> impl Iterator<Item = (FileIdx, BatchIdx)> {
        let files = self.selection.batches.iter().enumerate();
        files.filter(|(file, _)| self.stored[*file].is_none()).map(|(file, batch)| (FileIdx(file), *batch))
    }

    /// The key of one of its files.
    pub(super) fn object(&self, file: FileIdx) -> &ObjectKey {
        &self.objects[file.0]
    }
}

/// One file to generate, and everybody who gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index of the batch in the catalog.
    pub batch: BatchIdx,
    /// The file's encoding.
    pub encoding: FileEncoding,
    /// The requests that want it: it is generated for the first, and copied for the others.
    pub wanted: Vec<Wanted>,
}

/// Lays out the work so that a small request does not wait for a big one: requests with fewer files to make first, among
/// equals the older one (`requests` comes oldest first). Only for requests that are `wanted`.
///
/// A protected file is its request's alone: no other request shares its unit.
#[must_use]
pub fn units(requests: &[Ready], wanted: impl Fn(RequestIdx) -> bool) -> Vec<Unit> {
    let mut order: Vec<RequestIdx> = (0..requests.len()).map(RequestIdx).filter(|request| wanted(*request)).collect();
    order.sort_by_key(|request| requests[request.0].missing().count());
    let mut units: Vec<Unit> = Vec::new();
    let mut known = BTreeMap::new();
    for request in order {
        let Order { encoding, protection, .. } = &requests[request.0].order;
        let (encoding, owner, shape) = (*encoding, protection.as_ref().map(|_| request), &requests[request.0].shape);
        for (file, batch) in requests[request.0].missing() {
            let unit = *known.entry((batch, encoding, owner, shape)).or_insert_with(|| {
                units.push(Unit { batch, encoding, wanted: Vec::new() });
                units.len() - 1
            });
            units[unit].wanted.push(Wanted { request, file });
        }
    }
    units
}

/// Divides batches that are too much to be loaded together into parts of at most `total` bytes: each part's batches
/// ascending, and their bytes. `order`: batches in the order in which they are made; what comes again is where it was
/// first.
///
/// They become at least two parts, even if they were said to weigh less; a single batch is a part however heavy it is: that
/// one is made range by range.
#[must_use]
pub fn lighter(order: impl Iterator<Item = BatchIdx>, weights: &BatchWeights, total: u64) -> Vec<(Vec<BatchIdx>, u64)> {
    let mut bytes_of: BTreeMap<BatchIdx, u64> = weights.batches.iter().copied().collect();
    let most = bytes_of.len().div_ceil(2).max(1);
    let mut parts: Vec<(Vec<BatchIdx>, u64)> = Vec::new();
    for batch in order {
        let Some(bytes) = bytes_of.remove(&batch) else { continue };
        match parts.last_mut() {
            Some((batches, all)) if batches.len() < most && *all + bytes <= total => {
                batches.push(batch);
                *all += bytes;
            }
            _ => parts.push((vec![batch], bytes)),
        }
    }
    for (batches, _) in &mut parts {
        batches.sort_unstable();
    }
    parts
}

/// The batches of these files together, if they are not too much, else divided: what is loaded, and its bytes.
#[must_use]
pub fn parts(units: &[Unit], weights: &BatchWeights, total: u64) -> Vec<(Vec<BatchIdx>, u64)> {
    let all = batches(units);
    let bytes = weights.of(&all);
    if bytes <= total { vec![(all, bytes)] } else { lighter(units.iter().map(|unit| unit.batch), weights, total) }
}

/// The distinct batches of these files, ascending.
#[must_use]
pub fn batches(units: &[Unit]) -> Vec<BatchIdx> {
    let mut all: Vec<BatchIdx> = units.iter().map(|unit| unit.batch).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::outputs::{Compress, Format, Password, Protection, ReportPath, Zip};

    fn indices(batches: &[usize]) -> Vec<BatchIdx> {
        batches.iter().copied().map(BatchIdx).collect()
    }

    /// What batches weigh.
    pub(in crate::worker) fn weights(of: &[(usize, u64)]) -> BatchWeights {
        BatchWeights { batches: of.iter().map(|(batch, bytes)| (BatchIdx(*batch), *bytes)).collect() }
    }

    /// Parts by the numbers of their batches.
    fn numbers(parts: Vec<(Vec<BatchIdx>, u64)>) -> Vec<(Vec<usize>, u64)> {
        parts.into_iter().map(|(batches, bytes)| (batches.iter().map(|batch| batch.0).collect(), bytes)).collect()
    }

    /// A request for these batches, whose files have no names.
    pub(in crate::worker) fn ready(batches: &[usize], compress: Compress) -> Ready {
        Ready {
            key: RequestKey { tag: "t".to_owned(), request_id: "r".to_owned() },
            channel: None,
            order: Order {
                config: crate::reports::job_config::JobConfig::default(),
                encoding: FileEncoding { format: Format::DEFAULT, compress },
                protection: None,
                report_path: ReportPath::parse("").unwrap(),
            },
            selection: Selection { batches: indices(batches), ..Selection::default() },
            shape: FileShape::default(),
            objects: Vec::new(),
            stored: vec![None; batches.len()],
            is_part: false,
        }
    }

    /// Each unit's batch, and who wants it: request and file.
    fn laid_out(units: Vec<Unit>) -> Vec<(usize, Vec<(usize, usize)>)> {
        let pair = |wanted: &Wanted| (wanted.request.0, wanted.file.0);
        units.into_iter().map(|unit| (unit.batch.0, unit.wanted.iter().map(pair).collect())).collect()
    }

    #[test]
    fn each_batch_is_made_once_and_small_requests_come_first() {
        let requests = [ready(&[1, 2, 3], Compress::None), ready(&[3], Compress::None), ready(&[2, 3], Compress::None)];
        assert_eq!(batches(&units(&requests, |_| true)), indices(&[1, 2, 3]));
        assert_eq!(
            laid_out(units(&requests, |_| true)),
            [(3, vec![(1, 0), (2, 1), (0, 2)]), (2, vec![(2, 0), (0, 1)]), (1, vec![(0, 0)])],
            "the one-batch request first, then two, then three"
        );
        let without_one = laid_out(units(&requests, |one| one != RequestIdx(1)));
        assert_eq!(without_one, [(2, vec![(2, 0), (0, 1)]), (3, vec![(2, 1), (0, 2)]), (1, vec![(0, 0)])]);
    }

    #[test]
    fn parts_are_filled_in_order_and_none_is_too_heavy_unless_it_is_one_batch() {
        let heavy = weights(&[(1, 1), (2, 3), (3, 1), (4, 4), (5, 1), (6, 1), (7, 30), (9, 3)]);
        let order = [9, 4, 9, 2, 7, 1, 3, 5, 6, 8];
        assert_eq!(
            numbers(lighter(order.map(BatchIdx).into_iter(), &heavy, 10)),
            [(vec![2, 4, 9], 10), (vec![7], 30), (vec![1, 3, 5, 6], 4)]
        );
        let light = weights(&[(1, 1), (2, 1), (3, 1)]);
        let parts = lighter([3, 2, 1].map(BatchIdx).into_iter(), &light, 10);
        assert_eq!(numbers(parts), [(vec![2, 3], 2), (vec![1], 1)], "at least two");
    }

    #[test]
    fn what_is_left_is_loaded_together_if_it_fits() {
        let units = units(&[ready(&[3, 1], Compress::None), ready(&[2], Compress::None)], |one| one == RequestIdx(0));
        let weights = weights(&[(1, 10), (2, 50), (3, 20)]);
        assert_eq!(numbers(parts(&units, &weights, 30)), [(vec![1, 3], 30)]);
        assert_eq!(numbers(parts(&units, &weights, 29)), [(vec![3], 20), (vec![1], 10)]);
    }

    #[test]
    fn what_is_stored_is_not_made_again() {
        let mut requests = [ready(&[1, 2], Compress::None), ready(&[2], Compress::None)];
        requests[0].stored[1] = Some(StoredBatch {
            batch: "b2".to_owned(),
            key: "k".to_owned(),
            bytes: 1,
            crc32: 1,
            counts: crate::reports::Counts::default(),
            quality: crate::tables::quality::Quality::default(),
        });
        assert_eq!(laid_out(units(&requests, |_| true)), [(1, vec![(0, 0)]), (2, vec![(1, 0)])]);
        requests[1].stored = requests[0].stored[1..].to_vec();
        assert_eq!(batches(&units(&requests, |_| true)), indices(&[1]), "nobody needs the second any more");
    }

    #[test]
    fn a_protected_file_is_shared_with_nobody() {
        let mut requests = [(); 4].map(|()| ready(&[1, 2], Compress::None));
        for (request, password) in [(1, "the same"), (2, "the same"), (3, "another one")] {
            let password = Password::new(password.to_owned());
            requests[request].order.protection = Some(Protection { password, zip: Zip::Aes });
        }
        let alone = |request: usize| [(1, vec![(request, 0)]), (2, vec![(request, 1)])];
        assert_eq!(laid_out(units(&requests, |_| true)), [0, 1, 2, 3].map(alone).concat());
    }

    #[test]
    fn another_shape_is_another_file() {
        let mut requests = [(); 4].map(|()| ready(&[1], Compress::None));
        requests[1] = ready(&[1], Compress::Gzip);
        requests[2].shape.values = vec![("{request.tag}", Some("t".to_owned()))];
        requests[3].shape = requests[2].shape.clone();
        let alone = |request: usize| (1, vec![(request, 0)]);
        assert_eq!(laid_out(units(&requests, |_| true)), [alone(0), alone(1), (1, vec![(2, 0), (3, 0)])]);
    }
}

//! A group is divided where its requests name many metadata fields, so that each part reads a bounded number of columns.

use std::collections::BTreeSet;

use super::accept::Accepted;

/// Metadata fields that contents are read with at a time, besides those that every request needs: each is a column in
/// memory. One request names 55 at most.
const MOST_FIELDS: usize = 64;

/// Divides requests (oldest first) into parts that name at most [`MOST_FIELDS`] metadata fields each. There is one part,
/// unless requests name dozens of fields that others do not. No part is empty.
pub(in crate::worker) fn divide(accepted: Vec<Accepted>) -> Vec<Vec<Accepted>> {
    divide_by(MOST_FIELDS, accepted, |one| {
        one.order.config.metadata_fields().into_iter().map(str::to_lowercase).collect()
    })
}

fn divide_by<T>(most: usize, items: Vec<T>, fields_of: impl Fn(&T) -> BTreeSet<String>) -> Vec<Vec<T>> {
    let mut parts: Vec<(BTreeSet<String>, Vec<T>)> = Vec::new();
    for item in items {
        let fields = fields_of(&item);
        let fits = |known: &BTreeSet<String>| known.union(&fields).count() <= most;
        // The first part has the fields that most requests name; the last one has room.
        let last = parts.len().saturating_sub(1);
        match [0, last].into_iter().find(|&at| parts.get(at).is_some_and(|(known, _)| fits(known))) {
            Some(at) => {
                parts[at].0.extend(fields);
                parts[at].1.push(item);
            }
            None => parts.push((fields, vec![item])),
        }
    }
    parts.into_iter().map(|(_, items)| items).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_name_a_bounded_number_of_fields_and_keep_the_order() {
        let fields = |item: &&str| item.split(' ').map(str::to_owned).collect();
        let divide = |items: &[&'static str]| divide_by(3, items.to_vec(), fields);
        assert_eq!(divide(&[]), [] as [Vec<&str>; 0]);
        assert_eq!(divide(&["a b", "b c", "a c"]), [["a b", "b c", "a c"]], "one part is enough");
        assert_eq!(divide(&["a b", "c d", "a", "d e", "f", "c"]), [vec!["a b", "a", "f"], vec!["c d", "d e", "c"]]);
        assert_eq!(divide(&["a b c d", "a"]), [vec!["a b c d"], vec!["a"]], "a single request may name more");
    }
}

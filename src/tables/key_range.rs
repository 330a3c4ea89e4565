//! Ranges of learners by their ids. Tables are in the order of ids, so that a batch that is too large to be loaded at once is
//! loaded range by range and makes the same table.

use std::ops::Range;

/// Learners by their ids, in the order of bytes. The default is everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Ids greater than this one; `None`: from the first.
    pub after: Option<String>,
    /// Ids up to and including this one; `None`: to the last.
    pub up_to: Option<String>,
}

impl KeyRange {
    /// Whether it is everybody.
    #[must_use]
    pub const fn is_everybody(&self) -> bool {
        self.after.is_none() && self.up_to.is_none()
    }

    /// Whether the learner of this id is among them.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.after.as_deref().is_none_or(|after| id > after) && self.up_to.as_deref().is_none_or(|up_to| id <= up_to)
    }
}

/// Ids between which there are about as many learners each.
#[derive(Debug)]
pub struct SplitPoints(pub(super) Vec<String>);

impl SplitPoints {
    /// How many pieces they make; a range has at least one of them.
    #[must_use]
    pub const fn pieces(&self) -> usize {
        self.0.len() + 1
    }

    /// The learners of these pieces.
    #[must_use]
    pub fn range(&self, pieces: &Range<usize>) -> KeyRange {
        let point = |piece: usize| self.0.get(piece).cloned();
        KeyRange {
            after: pieces.start.checked_sub(1).and_then(point),
            up_to: pieces.end.checked_sub(1).and_then(point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_learners_each_is_a_split_point() {
        let points = SplitPoints(vec!["a".to_owned(), "c".to_owned()]);
        let ranges: Vec<KeyRange> = (0..3).map(|piece| points.range(&(piece..piece + 1))).collect();
        for (id, at) in [("", 0), ("a", 0), ("b", 1), ("c", 1), ("ca", 2), ("z", 2)] {
            assert_eq!((0..3).filter(|n| ranges[*n].has(id)).collect::<Vec<_>>(), [at], "{id}");
        }
        assert!(SplitPoints(Vec::new()).range(&(0..1)).is_everybody());
    }
}

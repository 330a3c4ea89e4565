//! Headings of columns that are made from names, no two of them alike.

use hashbrown::HashMap;

/// Something that becomes a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) identifier: &'a str,
    /// Empty if it has none.
    pub(super) name: &'a str,
}

impl<'a> Named<'a> {
    /// The name, or the identifier where there is none.
    pub(super) const fn label(&self) -> &'a str {
        if self.name.is_empty() { self.identifier } else { self.name }
    }
}

/// A heading for each: its label, or `name (identifier)` where the name equals another heading, one of `fixed`
/// included. A heading that was made longer may equal a name again, so this goes on until no two are alike. Identifiers
/// differ from each other.
pub(super) fn distinct(columns: &[Named<'_>], fixed: &[&str]) -> Vec<String> {
    let mut headings: Vec<String> = columns.iter().map(|column| column.label().to_owned()).collect();
    loop {
        let clashing = clashes(&headings, fixed);
        let plain = |at: &usize| headings[*at] == columns[*at].label();
        // A name gives way before an identifier does, and both before a heading that was made longer already.
        let named: Vec<usize> =
            clashing.iter().copied().filter(|at| plain(at) && !columns[*at].name.is_empty()).collect();
        let unchanged: Vec<usize> = clashing.iter().copied().filter(plain).collect();
        let chosen = [named, unchanged, clashing].into_iter().find(|chosen| !chosen.is_empty());
        let Some(chosen) = chosen else { return headings };
        for at in chosen {
            let longer = format!("{} ({})", headings[at], columns[at].identifier);
            headings[at] = longer;
        }
    }
}

/// Which headings equal another one.
fn clashes(headings: &[String], fixed: &[&str]) -> Vec<usize> {
    let mut seen: HashMap<&str, usize> = fixed.iter().map(|heading| (*heading, 1)).collect();
    for heading in headings {
        *seen.entry(heading).or_default() += 1;
    }
    (0..headings.len()).filter(|at| seen[headings[*at].as_str()] > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(columns: &[(&str, &str)]) -> Vec<String> {
        let columns: Vec<Named<'_>> = columns.iter().map(|(identifier, name)| Named { identifier, name }).collect();
        distinct(&columns, &["User ID", "Total Score"])
    }

    #[test]
    fn a_name_alone_where_it_is_the_only_one() {
        assert_eq!(headings(&[("do_1", "Quiz"), ("do_2", "Test"), ("do_3", "")]), ["Quiz", "Test", "do_3"]);
    }

    #[test]
    fn equal_names_carry_their_identifiers() {
        assert_eq!(headings(&[("do_1", "Quiz"), ("do_2", "Quiz")]), ["Quiz (do_1)", "Quiz (do_2)"]);
        assert_eq!(headings(&[("do_1", "quiz"), ("do_2", "Quiz")]), ["quiz", "Quiz"]);
    }

    #[test]
    fn a_name_like_a_fixed_heading_carries_its_identifier() {
        assert_eq!(headings(&[("do_1", "Total Score")]), ["Total Score (do_1)"]);
        assert_eq!(headings(&[("User ID", "")]), ["User ID (User ID)"]);
    }

    #[test]
    fn a_name_like_an_identifier_gives_way() {
        assert_eq!(headings(&[("do_1", ""), ("do_2", "do_1")]), ["do_1", "do_1 (do_2)"]);
    }

    #[test]
    fn what_was_made_longer_may_clash_again() {
        assert_eq!(
            headings(&[("a", "Quiz"), ("b", "Quiz"), ("c", "Quiz (a)")]),
            ["Quiz (a)", "Quiz (b)", "Quiz (a) (c)"]
        );
        // Two that were made longer and are still alike: identifiers with brackets in them.
        assert_eq!(
            headings(&[("b) (c", "A"), ("x", "A"), ("c", "A (b)"), ("y", "A (b)")]),
            ["A (b) (c) (b) (c)", "A (x)", "A (b) (c) (c)", "A (b) (y)"]
        );
    }
}

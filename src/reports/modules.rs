//! The level-1 modules of courses, from the JSON text of `content_hierarchy`.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::Value;

use super::catalog::Catalog;
use super::columns::Named;
use super::decimal::Decimal;

const MIME_TYPE: &str = "application/vnd.ekstep.content-collection";
const CONTENT_TYPE: &str = "Course";
const VISIBILITY: &str = "Default";

/// A level-1 module of a course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) identifier: String,
    /// How many leaf nodes it has, where that is known.
    pub(super) leaf_nodes: Option<i64>,
}

/// A hierarchy that is no JSON object, or whose children are no list of objects.
#[derive(Debug)]
struct Broken;

/// The root of a hierarchy; of its children's children nothing is kept.
#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    children: Option<Vec<Node>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default)]
    identifier: Value,
    #[serde(default)]
    mime_type: Value,
    #[serde(default)]
    content_type: Value,
    #[serde(default)]
    visibility: Value,
    #[serde(default)]
    leaf_nodes_count: Value,
}

/// The modules of a hierarchy, ordered by identifier: direct children of the root that are courses of their own,
/// letter case aside. A repeated identifier counts once, by its first node.
fn modules(json: &str) -> Result<Vec<Module>, Broken> {
    if json.is_empty() {
        return Ok(Vec::new());
    }
    // serde would also read a list as the fields of an object.
    if !json.trim_start().starts_with('{') {
        return Err(Broken);
    }
    let root: Root = serde_json::from_str(json).map_err(|_| Broken)?;
    let is = |value: &Value, text: &str| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(text));
    let module = |node: Node| {
        let qualifies =
            is(&node.mime_type, MIME_TYPE) && is(&node.content_type, CONTENT_TYPE) && is(&node.visibility, VISIBILITY);
        let identifier = node.identifier.as_str().filter(|identifier| qualifies && !identifier.is_empty())?;
        Some(Module { identifier: identifier.to_owned(), leaf_nodes: whole(&node.leaf_nodes_count) })
    };
    let mut modules: Vec<Module> = root.children.unwrap_or_default().into_iter().filter_map(module).collect();
    // Stable: of one identifier the first node stays first.
    modules.sort_by(|left, right| left.identifier.cmp(&right.identifier));
    modules.dedup_by(|next, kept| next.identifier == kept.identifier);
    Ok(modules)
}

/// A whole number, as a number or as text.
fn whole(value: &Value) -> Option<i64> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    let millionths = Decimal::parse(&text)?.millionths()?;
    (millionths % 1_000_000 == 0).then_some(millionths / 1_000_000)
}

/// Takes the rows of `content_hierarchy`.
#[derive(Debug, Default)]
pub(super) struct Hierarchies(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    /// By course: the JSON text, needed until duplicates are told apart, and its modules.
    courses: HashMap<usize, (String, Vec<Module>)>,
    duplicates: u64,
    /// By course: rows that do not read.
    broken: HashMap<usize, u64>,
}

impl Hierarchies {
    /// Takes a chunk. A row whose JSON does not read is skipped and counted, as every unusable row is.
    pub(super) fn take(&self, chunk: Named<'_>, catalog: &Catalog) {
        let (identifiers, hierarchies) = (chunk.texts("identifier"), chunk.texts("hierarchy"));
        for row in chunk.rows() {
            let Some(course) = catalog.contents().position(identifiers.get(row)) else { continue };
            let json = hierarchies.get(row);
            let read = modules(json);
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(modules) = read else {
                *taken.broken.entry(course).or_default() += 1;
                continue;
            };
            let known = taken.courses.get(&course).map(|(known, _)| json > known.as_str());
            if known != Some(false) {
                taken.courses.insert(course, (json.to_owned(), modules));
            }
            taken.duplicates += u64::from(known.is_some());
        }
    }

    /// The modules by course, how many rows were duplicates, and by course how many are broken.
    pub(super) fn finish(self) -> (HashMap<usize, Vec<Module>>, u64, HashMap<usize, u64>) {
        let taken = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let modules = taken.courses.into_iter().map(|(course, (_, modules))| (course, modules)).collect();
        (modules, taken.duplicates, taken.broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str =
        r#""mimeType":"application/vnd.ekstep.content-collection","contentType":"Course","visibility":"Default""#;

    fn found(json: &str) -> Vec<(String, Option<i64>)> {
        modules(json).unwrap().into_iter().map(|module| (module.identifier, module.leaf_nodes)).collect()
    }

    #[test]
    fn direct_children_that_are_courses_ordered_by_identifier() {
        let json = format!(
            r#"{{"identifier":"c","leafNodesCount":9,"children":[
                {{{NODE},"identifier":"do_2","leafNodesCount":3,"children":[{{{NODE},"identifier":"do_0"}}]}},
                {{{NODE},"identifier":"do_1","leafNodesCount":"4"}}]}}"#
        );
        assert_eq!(found(&json), [("do_1".to_owned(), Some(4)), ("do_2".to_owned(), Some(3))]);
    }

    #[test]
    fn all_three_marks_must_be_there_letter_case_aside() {
        let json = r#"{"children":[
            {"identifier":"a","mimeType":"APPLICATION/vnd.ekstep.content-collection","contentType":"course","visibility":"DEFAULT"},
            {"identifier":"b","contentType":"Course","visibility":"Default"},
            {"identifier":"c","mimeType":"application/vnd.ekstep.content-collection","visibility":"Default"},
            {"identifier":"d","mimeType":"application/vnd.ekstep.content-collection","contentType":"Course"},
            {"identifier":"e","mimeType":"application/pdf","contentType":"Course","visibility":"Default"},
            {"identifier":"f","mimeType":"application/vnd.ekstep.content-collection","contentType":"CourseUnit","visibility":"Default"},
            {"identifier":"g","mimeType":"application/vnd.ekstep.content-collection","contentType":"Course","visibility":"Parent"},
            {"mimeType":"application/vnd.ekstep.content-collection","contentType":"Course","visibility":"Default"}]}"#;
        assert_eq!(found(json), [("a".to_owned(), None)]);
    }

    #[test]
    fn a_repeated_identifier_counts_by_its_first_node() {
        let json = format!(
            r#"{{"children":[{{{NODE},"identifier":"x","leafNodesCount":7}},{{{NODE},"identifier":"a"}},
                {{{NODE},"identifier":"x","leafNodesCount":2}}]}}"#
        );
        assert_eq!(found(&json), [("a".to_owned(), None), ("x".to_owned(), Some(7))]);
    }

    #[test]
    fn trees_without_modules_and_deep_trees() {
        for json in ["", "{}", r#"{"children":null}"#, r#"{"children":[]}"#] {
            assert_eq!(found(json), [], "{json}");
        }
        let deep = format!(r#"{}{NODE},"identifier":"x"{}"#, r#"{"children":[{"#, "}]}");
        assert_eq!(found(&deep), [("x".to_owned(), None)]);
        let nested = format!("{}{}", r#"{"children":["#.repeat(500), "]}".repeat(500));
        assert_eq!(found(&nested), []);
    }

    #[test]
    fn what_is_no_hierarchy() {
        for json in ["{", "[]", "7", r#"{"children":{}}"#, r#"{"children":[7]}"#, "{'children': []}"] {
            assert!(modules(json).is_err(), "{json}");
        }
    }
}

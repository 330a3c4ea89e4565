//! The level-1 modules of a course, from the JSON text of its tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::tables::decimal::Decimal;

const MIME_TYPE: &str = "application/vnd.ekstep.content-collection";
const CONTENT_TYPE: &str = "Course";
const VISIBILITY: &str = "Default";

/// A level-1 module of a course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its identifier.
    pub identifier: String,
    /// How many leaf nodes it has, where that is known.
    pub leaf_nodes: Option<i64>,
}

/// A hierarchy that is no JSON object, or whose children are no list of objects.
#[derive(Debug)]
pub(super) struct Broken;

/// The root of a hierarchy: the modules among its children. Of everything else nothing is kept while it is read, since a
/// tree of it would be many times the text.
#[derive(serde::Deserialize)]
struct Root {
    #[serde(default)]
    children: Option<Children>,
}

/// A member of a node: text, a number as it is spelled, or something else.
enum Member {
    Text(String),
    Number(String),
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Member, E> {
                Ok(Member::Number(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Member, E> {
                Ok(Member::Number(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Member, E> {
                Ok(Member::Number(number.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Member, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
                // A number of any length comes as a map, of a name that the crate keeps to itself.
                let mut number = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "$serde_json::private::Number" {
                        number = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(number.map_or(Member::Other, Member::Number))
            }
        }
        from.deserialize_any(Of)
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default)]
    identifier: Option<Member>,
    #[serde(default)]
    mime_type: Option<Member>,
    #[serde(default)]
    content_type: Option<Member>,
    #[serde(default)]
    visibility: Option<Member>,
    #[serde(default)]
    leaf_nodes_count: Option<Member>,
}

impl Node {
    /// The module that it is, if it is one.
    fn module(self) -> Option<Module> {
        let is = |member: &Option<Member>, expected: &str| matches!(member, Some(Member::Text(text)) if text.eq_ignore_ascii_case(expected));
        let qualifies =
            is(&self.mime_type, MIME_TYPE) && is(&self.content_type, CONTENT_TYPE) && is(&self.visibility, VISIBILITY);
        match self.identifier {
            Some(Member::Text(identifier)) if qualifies && !identifier.is_empty() => {
                Some(Module { identifier, leaf_nodes: whole(self.leaf_nodes_count.as_ref()) })
            }
            _ => None,
        }
    }
}

/// The children of the root, of which modules are kept. Null is none.
struct Children(Vec<Module>);

impl<'de> Deserialize<'de> for Children {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Children;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of nodes")
            }

            fn visit_unit<E>(self) -> Result<Children, E> {
                Ok(Children(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut nodes: A) -> Result<Children, A::Error> {
                let mut modules = Vec::new();
                while let Some(node) = nodes.next_element::<Node>()? {
                    modules.extend(node.module());
                }
                Ok(Children(modules))
            }
        }
        from.deserialize_any(Of)
    }
}

/// The modules of a hierarchy, ordered by identifier: direct children of the root that are courses of their own,
/// letter case aside. A repeated identifier counts once, by its first node.
pub(super) fn modules(json: &str) -> Result<Vec<Module>, Broken> {
    if json.is_empty() {
        return Ok(Vec::new());
    }
    // serde would also read a list as the fields of an object.
    if !json.trim_start().starts_with('{') {
        return Err(Broken);
    }
    let root: Root = serde_json::from_str(json).map_err(|_| Broken)?;
    let mut modules = root.children.map_or_else(Vec::new, |children| children.0);
    // Stable: of one identifier the first node stays first.
    modules.sort_by(|left, right| left.identifier.cmp(&right.identifier));
    modules.dedup_by(|next, kept| next.identifier == kept.identifier);
    Ok(modules)
}

/// A whole number, as a number or as text.
fn whole(member: Option<&Member>) -> Option<i64> {
    let text = match member? {
        Member::Number(number) => number,
        Member::Text(text) => text.trim(),
        Member::Other => return None,
    };
    let millionths = Decimal::parse(text)?.millionths()?;
    (millionths % 1_000_000 == 0).then_some(millionths / 1_000_000)
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
    fn values_of_other_kinds_qualify_nothing_and_numbers_are_read_as_spelled() {
        let json = format!(
            r#"{{"children":[{{{NODE},"identifier":7}},{{{NODE},"identifier":["x"]}},{{{NODE},"identifier":{{"a":1}}}},
                {{{NODE},"identifier":"a","leafNodesCount":4.0}},{{{NODE},"identifier":"b","leafNodesCount":1e2}},
                {{{NODE},"identifier":"c","leafNodesCount":[4]}},{{{NODE},"identifier":"d","leafNodesCount":true}},
                {{{NODE},"identifier":"e","leafNodesCount":4.5}},{{{NODE},"identifier":"f","leafNodesCount":null}},
                {{"mimeType":null,"identifier":"g"}}]}}"#
        );
        let numbers = [("a", Some(4)), ("b", Some(100)), ("c", None), ("d", None), ("e", None), ("f", None)];
        assert_eq!(found(&json), numbers.map(|(name, leaves)| (name.to_owned(), leaves)));
    }

    #[test]
    fn what_is_no_hierarchy() {
        for json in ["{", "[]", "7", r#"{"children":{}}"#, r#"{"children":[7]}"#, "{'children': []}"] {
            assert!(modules(json).is_err(), "{json}");
        }
    }
}

//! Meanings in both directions, over generated jobConfigs. Nothing here is judged by the code under test: rewrites are made
//! from the words of the contract, and whether two mean the same is asked of what the daemon reads and selects.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::meaning;
use crate::reports::job_config::JobConfig;
use crate::reports::test_meaning::{Platform, normal_form};

/// The job's default path.
const PATH: &str = "reports/";
const TEXTS: [&str; 10] = ["1", "1.0", "01", "a", "A", "é", "e\u{301}", "ch1", "TPD", "2025-03-01"];
const FIELDS: [&str; 6] = ["identifier", "name", "channel", "framework", "leafNodesCount", "flag"];
/// Each with spellings that are equal.
const NUMBERS: [&[&str]; 9] = [
    &["1", "1.0", "1e0", "10E-1", "0.1e1"],
    &["0", "-0", "0.00", "0e7"],
    &["10", "1e1", "1E+1", "10.000"],
    &["0.1", "0.10", "1e-1", "10e-2"],
    &["0.1000000000000000055511151231257827", "1.000000000000000055511151231257827e-1"],
    &["9007199254740993", "9007199254740993.0", "9.007199254740993e15"],
    &["9007199254740992", "9007199254740992.00"],
    &["1e400", "10e399", "0.1e401"],
    &["-15e-1", "-1.5", "-1.50"],
];

fn number(text: &str) -> Value {
    Value::Number(serde_json::from_str(text).unwrap())
}

fn pick<'a, T: ?Sized>(rng: &mut Rng, from: &[&'a T]) -> &'a T {
    from[rng.usize(..from.len())]
}

fn any_number(rng: &mut Rng) -> &'static str {
    let spellings = pick(rng, &NUMBERS);
    pick(rng, spellings)
}

fn texts(rng: &mut Rng) -> Value {
    (0..rng.usize(1..4)).map(|_| json!(pick(rng, &TEXTS))).collect()
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(..6) {
        0 => json!(rng.bool()),
        1 | 2 => number(any_number(rng)),
        _ => json!(pick(rng, &TEXTS)),
    }
}

fn one_or_list(rng: &mut Rng) -> Value {
    if rng.bool() { scalar(rng) } else { (0..rng.usize(1..4)).map(|_| scalar(rng)).collect() }
}

fn filter(rng: &mut Rng) -> Value {
    if rng.bool() {
        return one_or_list(rng);
    }
    let mut operators = Map::new();
    for _ in 0..rng.usize(1..3) {
        let name = pick(
            rng,
            &[
                "min",
                "max",
                ">=",
                "<=",
                ">",
                "<",
                "!=",
                "contains",
                "startsWith",
                "endsWith",
                "notEquals",
                "notIn",
                "exists",
            ],
        );
        let value = match name {
            "!=" | "notEquals" | "notIn" => one_or_list(rng),
            "exists" => json!(rng.bool()),
            "contains" | "startsWith" | "endsWith" if rng.bool() => json!(pick(rng, &TEXTS)),
            "contains" | "startsWith" | "endsWith" => number(any_number(rng)),
            _ => scalar(rng),
        };
        operators.insert(name.to_owned(), value);
    }
    Value::Object(operators)
}

fn search(rng: &mut Rng) -> Value {
    let filters: Map<String, Value> =
        (0..rng.usize(1..4)).map(|_| (pick(rng, &FIELDS).to_owned(), filter(rng))).collect();
    let mut request = Map::from_iter([("filters".to_owned(), Value::Object(filters))]);
    if rng.bool() {
        let keys: Map<String, Value> =
            (0..rng.usize(..4)).map(|_| (pick(rng, &FIELDS).to_owned(), json!(pick(rng, &["asc", "desc"])))).collect();
        request.insert("sort_by".to_owned(), Value::Object(keys));
    }
    if rng.bool() {
        request.insert("limit".to_owned(), number(pick(rng, &["1", "2", "3", "4"])));
    }
    if rng.u8(..4) == 0 {
        request.insert("fields".to_owned(), texts(rng));
    }
    json!({ "request": request })
}

/// A jobConfig that is accepted.
fn config(rng: &mut Rng) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let must = rng.usize(..4);
    if must == 0 || rng.u8(..4) == 0 {
        put("batchId", json!(pick(rng, &TEXTS)));
    }
    if must == 1 || rng.u8(..4) == 0 {
        put("batchFilter", texts(rng));
    }
    if must == 2 || rng.u8(..4) == 0 {
        let mut by_key = Map::new();
        for _ in 0..rng.usize(1..3) {
            by_key.insert(pick(rng, &["ids", "channels", "frameworks"]).to_owned(), texts(rng));
        }
        put("batchFilters", if rng.bool() { texts(rng) } else { Value::Object(by_key) });
    }
    if must == 3 || rng.u8(..3) > 0 {
        put(pick(rng, &["contentFilters", "searchFilter"]), search(rng));
    }
    if rng.bool() {
        put("includeExpired", pick(rng, &[&json!(true), &json!(false), &Value::Null]).clone());
    }
    if rng.bool() {
        put("reportPath", pick(rng, &[&json!(PATH), &json!("other/"), &json!(""), &Value::Null]).clone());
    }
    let config = Value::Object(fields);
    JobConfig::from_value(&config).unwrap_or_else(|error| panic!("{error}: {config}"));
    config
}

/// Where in a jobConfig a value stands, as the names on the way to it.
type Way<'a> = &'a [&'a str];

fn is_set(way: Way<'_>) -> bool {
    matches!(way, ["batchFilter" | "batchFilters"] | ["batchFilters", _])
        || matches!(way, ["contentFilters" | "searchFilter", "request", "filters", _])
        || matches!(way, ["contentFilters" | "searchFilter", "request", "filters", _, "!=" | "notEquals" | "notIn"])
}

/// The same, said in another way.
fn rewritten(rng: &mut Rng, value: &Value, way: Way<'_>) -> Value {
    match value {
        Value::Number(written) if !matches!(way.last(), Some(&("contains" | "startsWith" | "endsWith"))) => {
            let written = written.to_string();
            let same = NUMBERS.iter().find(|spellings| spellings.iter().any(|text| number(text) == number(&written)));
            same.map_or_else(|| number(&format!("{written}.0")), |spellings| number(pick(rng, spellings)))
        }
        Value::Array(values) => {
            let mut values: Vec<Value> = values.iter().map(|value| rewritten(rng, value, way)).collect();
            if is_set(way) {
                for _ in 0..rng.usize(..3) {
                    let again = values[rng.usize(..values.len())].clone();
                    values.push(rewritten(rng, &again, way));
                }
                rng.shuffle(&mut values);
            }
            Value::Array(values)
        }
        Value::Object(fields) => {
            let inner = |rng: &mut Rng, name: &str, value: &Value| rewritten(rng, value, &[way, &[name]].concat());
            let mut fields: Vec<(String, Value)> =
                fields.iter().map(|(name, value)| (name.clone(), inner(rng, name, value))).collect();
            if way.last() != Some(&"sort_by") {
                rng.shuffle(&mut fields);
            }
            Value::Object(fields.into_iter().collect())
        }
        other => other.clone(),
    }
}

/// Keys at their defaults come and go, and contentFilters take their other name.
fn with_other_keys(rng: &mut Rng, value: &Value) -> Value {
    let mut fields = value.as_object().unwrap().clone();
    for (name, defaults) in [
        ("includeExpired", [json!(false), Value::Null]),
        ("reportPath", [json!(PATH), [json!(""), Value::Null][rng.usize(..2)].clone()]),
    ] {
        let is_default =
            fields.get(name).is_none_or(|value| [json!(false), json!(PATH), json!(""), Value::Null].contains(value));
        if is_default {
            fields.shift_remove(name);
            if rng.bool() {
                fields.insert(name.to_owned(), defaults[rng.usize(..2)].clone());
            }
        }
    }
    for (one, other) in [("contentFilters", "searchFilter"), ("searchFilter", "contentFilters")] {
        if rng.bool()
            && let Some(mut search) = fields.shift_remove(one)
        {
            if let Some(request) = search["request"].as_object_mut()
                && request.get("sort_by").is_none_or(|keys| *keys == json!({}))
            {
                request.shift_remove("sort_by");
                if rng.bool() {
                    request.insert("sort_by".to_owned(), json!({}));
                }
            }
            fields.insert(other.to_owned(), search);
        }
    }
    Value::Object(fields)
}

/// Something else, by one small change somewhere; not always something that is accepted, or that means something else.
fn changed(rng: &mut Rng, value: &Value) -> Value {
    match value {
        Value::String(text) => match rng.u8(..5) {
            0 => number("1"),
            1 => json!(format!("{text}x")),
            2 => json!(text.replace('é', "e\u{301}")),
            3 => json!(text.to_uppercase()),
            _ => json!(pick(rng, &TEXTS)),
        },
        Value::Number(number_) => match rng.u8(..4) {
            0 => json!(number_.to_string()),
            1 => number(&format!("{number_}1")).clone(),
            _ => number(any_number(rng)),
        },
        Value::Bool(value) => json!(!value),
        Value::Null => json!(true),
        Value::Array(values) => {
            let mut values = values.clone();
            let at = rng.usize(..values.len().max(1));
            match rng.u8(..4) {
                0 => values.insert(at, json!(pick(rng, &TEXTS))),
                1 if values.len() > 1 => drop(values.remove(at)),
                2 => rng.shuffle(&mut values),
                _ if !values.is_empty() => values[at] = changed(rng, &values[at]),
                _ => {}
            }
            Value::Array(values)
        }
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.clone().into_iter().collect();
            let at = rng.usize(..fields.len().max(1));
            match rng.u8(..8) {
                0 if !fields.is_empty() => drop(fields.remove(at)),
                1 if fields.len() > 1 => fields.swap(0, at),
                2 if !fields.is_empty() => {
                    fields[at].0 =
                        pick(rng, &[">", ">=", "min", "!=", "notIn", "name", "flag", "ids", "channels"]).to_owned();
                }
                _ if !fields.is_empty() => fields[at].1 = changed(rng, &fields[at].1),
                _ => {}
            }
            Value::Object(fields.into_iter().collect())
        }
    }
}

/// What the daemon goes by.
fn judged(config: &Value) -> String {
    let mut read = JobConfig::from_value(config).unwrap();
    read.report_path.get_or_insert_with(|| PATH.to_owned());
    normal_form(&read)
}

/// However it is said, it is the same request: a thousand jobConfigs, each said in three more ways.
#[test]
fn what_means_the_same_has_one_meaning() {
    let platform = Platform::default();
    for seed in 0..1000 {
        let mut rng = Rng::with_seed(seed);
        let one = config(&mut rng);
        for _ in 0..3 {
            let other = with_other_keys(&mut rng, &one);
            let other = rewritten(&mut rng, &other, &[]);
            assert_eq!(judged(&one), judged(&other), "seed {seed}: no rewriting\n{one}\n{other}");
            assert_eq!(meaning(&one, PATH), meaning(&other, PATH), "seed {seed}\n{one}\n{other}");
            if seed < 200 {
                assert_eq!(platform.selects(&one), platform.selects(&other), "seed {seed}\n{one}\n{other}");
            }
        }
    }
}

/// A request that could give other files is another one: small changes of jobConfigs, and pairs of a few values, where much
/// is almost the same.
#[test]
fn what_means_something_else_has_another_meaning() {
    let platform = Platform::default();
    let (mut others, mut selections) = (0, 0);
    for seed in 0..3000 {
        let mut rng = Rng::with_seed(seed);
        let one = config(&mut rng);
        let other = if seed % 4 == 0 { config(&mut rng) } else { changed(&mut rng, &one) };
        if JobConfig::from_value(&other).is_err() {
            continue;
        }
        let is_same = meaning(&one, PATH) == meaning(&other, PATH);
        if judged(&one) != judged(&other) {
            others += 1;
            assert!(!is_same, "seed {seed}\n{one}\n{other}");
        }
        if is_same || seed % 16 == 1 {
            let selected = [&one, &other].map(|config| platform.selects(config));
            selections += usize::from(selected[0] != selected[1]);
            assert!(!is_same || selected[0] == selected[1], "seed {seed}: {selected:?}\n{one}\n{other}");
        }
    }
    assert!(others >= 1000 && selections >= 15, "{others} others, {selections} other selections");
}

#[test]
fn what_is_free_and_what_is_not() {
    let same = |one: Value, other: Value| meaning(&one, PATH) == meaning(&other, PATH);
    let search = |request: Value| json!({ "contentFilters": { "request": request } });
    let filter = |filter: Value| search(json!({ "filters": { "flag": filter } }));
    for (one, other) in [
        (json!({"batchId": "1"}), json!({"batchId": "1", "includeExpired": false, "reportPath": PATH})),
        (json!({"batchFilter": ["1", "2"]}), json!({"batchFilter": ["2", "1", "2"]})),
        (filter(json!([1, "a"])), filter(json!(["a", 1.0, "a"]))),
        (filter(json!({"notIn": [1, 2], ">": 3})), filter(json!({">": 3.0, "notIn": [2, 1]}))),
        (search(json!({"filters": {"a": 1}, "sort_by": {}})), search(json!({"filters": {"a": 1}}))),
    ] {
        assert!(same(one.clone(), other.clone()), "{one} {other}");
    }
    let sorted = |keys: &str| {
        let request =
            serde_json::from_str::<Value>(&format!(r#"{{"filters": {{"a": 1}}, "limit": 1, "sort_by": {keys}}}"#));
        search(request.unwrap())
    };
    // The daemon takes contentFilters where both are given, which are equal but for the order of keys.
    let both = |one: &str, other: &str| {
        let (one, other) = (sorted(one)["contentFilters"].clone(), sorted(other)["contentFilters"].clone());
        json!({ "contentFilters": one, "searchFilter": other })
    };
    let (rising, falling) = (r#"{"a": "asc", "b": "asc"}"#, r#"{"b": "asc", "a": "asc"}"#);
    assert!(same(both(rising, falling), sorted(rising)));
    for (one, other) in [
        (filter(json!("1")), filter(json!(1))),
        (filter(json!(true)), filter(json!("true"))),
        (filter(json!("é")), filter(json!("e\u{301}"))),
        (filter(json!({"contains": 1})), filter(json!({"contains": number("1.0")}))),
        (filter(number("9007199254740993")), filter(number("9007199254740992"))),
        (filter(number("0.1")), filter(number("0.1000000000000000055511151231257827"))),
        (filter(json!("a")), filter(json!(["a"]))),
        (sorted(rising), sorted(falling)),
        (both(falling, rising), sorted(rising)),
        (
            search(json!({"filters": {"a": 1}, "fields": ["x", "y"]})),
            search(json!({"filters": {"a": 1}, "fields": ["y", "x"]})),
        ),
        (json!({"batchFilters": ["a"]}), json!({"batchFilter": ["a"]})),
        (
            json!({"batchFilters": {"ids": ["a"], "channels": ["b"]}}),
            json!({"batchFilters": {"ids": ["b"], "channels": ["a"]}}),
        ),
        (json!({"batchFilter": ["a,b"]}), json!({"batchFilter": ["a", "b"]})),
        (json!({"batchFilter": ["a\",\"b"]}), json!({"batchFilter": ["a", "b"]})),
    ] {
        assert!(!same(one.clone(), other.clone()), "{one} {other}");
    }
    let by_default = json!({"batchId": "1"});
    let with_path = json!({"batchId": "1", "reportPath": "new/"});
    assert_eq!(meaning(&by_default, "new/"), meaning(&with_path, PATH), "the default of jobs.toml has changed");
    assert_ne!(meaning(&by_default, PATH), meaning(&by_default, "new/"));
}

/// What has nothing of all that keeps its canonical JSON, and so its id.
#[test]
fn what_is_plain_is_written_as_rfc_8785_has_it() {
    for config in [
        r#"{"batchId":"1"}"#,
        r#"{"batchFilters":["NCFCOPY","TPD"]}"#,
        r#"{"batchFilter":["1","2"],"includeExpired":true,"reportPath":"x/"}"#,
        r#"{"contentFilters":{"request":{"fields":["b","a"],"filters":{"a":["x",1],"b":{">":2.5}},"limit":3,"sort_by":{"a":"asc","b":"desc"}}}}"#,
    ] {
        let value = serde_json::from_str(config).unwrap();
        assert_eq!(meaning(&value, PATH), config);
        assert_eq!(super::super::former::to_string(&value), config);
    }
}

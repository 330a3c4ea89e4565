//! The schemas that `/openapi.json` refers to, collected while calls describe themselves.

use schemars::JsonSchema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Schemas by name, and what a description may depend on.
pub(super) struct Schemas {
    /// Ids and aliases of the configured jobs; `None`: the reader has no key, and is not told.
    pub(super) jobs: Option<Vec<String>>,
    generator: SchemaGenerator,
    named: Map<String, Value>,
}

impl Schemas {
    pub(super) fn new(jobs: Option<Vec<String>>) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { jobs, generator: settings.into_generator(), named: Map::new() }
    }

    /// A reference to the schema of a type that is serialised.
    pub(super) fn of<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().into()
    }

    /// A reference to this schema, under this name.
    pub(super) fn named(&mut self, name: &str, schema: Value) -> Value {
        self.named.insert(name.to_owned(), schema);
        reference(name)
    }

    /// All of them, by name.
    pub(super) fn into_all(mut self) -> Map<String, Value> {
        let mut all = self.generator.take_definitions(true);
        all.extend(self.named);
        all
    }
}

/// A reference to a schema of this name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schema of `{"count", "jobs"}` and these fields besides, where `jobs` is a list of such values.
pub(super) fn counted_list(jobs: &Value, besides: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut schema = json!({
        "type": "object",
        "required": ["count", "jobs"],
        "additionalProperties": false,
        "properties": {
            "count": { "type": "integer", "minimum": 0 },
            "jobs": { "type": "array", "items": jobs },
        },
    });
    for (name, field) in besides {
        schema["properties"][name] = field;
    }
    schema
}

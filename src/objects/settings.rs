//! What the environment says of object stores: the variables that each cloud's own tools read.

use std::collections::BTreeMap;

/// What the variables begin with.
const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Variables of the clouds, and `HOME`, below which their files are. Values may be secrets: `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Settings {
    /// Takes what concerns object stores out of these variables. Empty ones are not there.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let concerns = |name: &str| name == "HOME" || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, value): &(String, String)| concerns(name) && !value.is_empty()).collect())
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes"))
    }

    /// The variables of one cloud, in the lower case in which the crate knows them.
    pub(super) fn of<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (String, &'s str)> {
        let ours = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        ours.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_clouds_is_kept_and_no_value_is_shown() {
        let settings: Settings =
            [("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_PROFILE", ""), ("PATH", "/bin"), ("HOME", "/root")]
                .into_iter()
                .collect();
        assert_eq!(format!("{settings:?}"), r#"{"AWS_SECRET_ACCESS_KEY", "HOME"}"#);
        assert_eq!(settings.of("AWS_").collect::<Vec<_>>(), [("aws_secret_access_key".to_owned(), "hunter2")]);
    }
}

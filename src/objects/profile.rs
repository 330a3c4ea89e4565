//! `~/.aws/credentials` and `~/.aws/config`: what of them people have for one profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::settings::{Settings, odd_character};

/// What stands in both files of a profile. The credentials file wins, as with Amazon's own tools.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Profile(BTreeMap<String, String>);

/// Ways to credentials that are not gone here.
const ELSEWHERE: [&str; 4] = ["role_arn", "credential_process", "sso_session", "sso_start_url"];

impl Profile {
    /// That of `AWS_PROFILE`, else `default`; empty where there is none.
    ///
    /// # Errors
    /// A file cannot be read, or the profile that is asked for is in none of them.
    pub(super) fn read(settings: &Settings) -> Result<Self, String> {
        let file = |variable: &str, name: &str| -> Option<PathBuf> {
            let at_home = || settings.get("HOME").map(|home| Path::new(home).join(".aws").join(name));
            settings.get(variable).map(PathBuf::from).or_else(at_home)
        };
        let name = settings.get("AWS_PROFILE").or_else(|| settings.get("AWS_DEFAULT_PROFILE"));
        let wanted = name.unwrap_or("default");
        let (mut found, mut is_there) = (BTreeMap::<String, String>::new(), false);
        for (file, plain) in
            [(file("AWS_CONFIG_FILE", "config"), false), (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), true)]
        {
            let Some(file) = file else { continue };
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
            };
            if let Some(keys) = section(&text, wanted, plain) {
                is_there = true;
                found.extend(keys);
            }
        }
        if let Some((key, what)) = found.iter().find_map(|(key, value)| Some((key, odd_character(value)?))) {
            return Err(format!("`{key}` of the profile `{wanted}` {what}"));
        }
        match name {
            Some(name) if !is_there => {
                Err(format!("AWS_PROFILE names `{name}`, and no file of ~/.aws has that profile"))
            }
            _ => Ok(Self(found)),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// How it would have credentials be got, where that is not done here.
    pub(super) fn elsewhere(&self) -> Option<&'static str> {
        ELSEWHERE.into_iter().find(|key| self.0.contains_key(*key))
    }
}

/// The keys of a profile. In the credentials file (`plain`) its section is `[name]`, in the other `[profile name]`.
fn section(text: &str, name: &str, plain: bool) -> Option<BTreeMap<String, String>> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        // What is indented belongs to a key such as `s3 =`.
        if line.starts_with([' ', '\t', '#', ';']) || line.trim().is_empty() {
            continue;
        }
        if let Some(heading) = line.trim().strip_prefix('[') {
            let heading = heading.split(']').next().unwrap_or("").trim();
            let named = match heading.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])) {
                Some(rest) if !plain => rest.trim(),
                _ => heading,
            };
            inside = named == name && (plain || named == "default" || named != heading);
            if inside {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if inside
            && let (Some(keys), Some((key, value))) = (found.as_mut(), line.split_once('='))
            && !value.trim().is_empty()
        {
            keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(settings: &[(&str, &str)]) -> Result<Profile, String> {
        Profile::read(&settings.iter().copied().collect())
    }

    #[test]
    fn both_files_are_read_and_the_credentials_win() {
        let home = tempfile::tempdir().unwrap();
        let home_path = home.path().to_str().unwrap();
        assert!(profile(&[("HOME", home_path)]).unwrap() == Profile::default(), "there are no files");
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        write(
            "config",
            "# mine\n[default]\nregion = eu-west-1\naws_access_key_id = old\n\n[profile reports]\nregion=ap-south-1\n\
             s3 =\n  region = not-this\nendpoint_url = http://127.0.0.1:9000\n[profile sso]\nsso_session = x\n[reports]\n\
             region = nor-this\n",
        );
        write(
            "credentials",
            "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = a=b/c+d=\n[reports]\r\naws_access_key_id=AKIA2\r\n",
        );
        let default = profile(&[("HOME", home_path)]).unwrap();
        assert_eq!(default.get("aws_access_key_id"), Some("AKIA1"));
        assert_eq!(default.get("aws_secret_access_key"), Some("a=b/c+d="));
        assert_eq!(default.get("region"), Some("eu-west-1"));
        let reports = profile(&[("HOME", home_path), ("AWS_PROFILE", "reports")]).unwrap();
        assert_eq!(reports.get("aws_access_key_id"), Some("AKIA2"));
        assert_eq!(reports.get("region"), Some("ap-south-1"));
        assert_eq!(reports.get("endpoint_url"), Some("http://127.0.0.1:9000"));
        let sso = profile(&[("HOME", home_path), ("AWS_PROFILE", "sso")]).unwrap();
        assert_eq!(sso.elsewhere(), Some("sso_session"));
        let missing = profile(&[("HOME", home_path), ("AWS_PROFILE", "nope")]).err().unwrap();
        assert_eq!(missing, "AWS_PROFILE names `nope`, and no file of ~/.aws has that profile");
        write("credentials", "[reports]\naws_access_key_id = AK\u{1}IA\n");
        let odd = profile(&[("HOME", home_path), ("AWS_PROFILE", "reports")]).err().unwrap();
        assert_eq!(odd, "`aws_access_key_id` of the profile `reports` has a control character (U+0001)");
        let elsewhere = home.path().join("other");
        std::fs::write(&elsewhere, "[default]\naws_access_key_id = AKIA3\n").unwrap();
        let moved =
            profile(&[("HOME", "/nowhere"), ("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap())]).unwrap();
        assert_eq!(moved.get("aws_access_key_id"), Some("AKIA3"));
    }
}

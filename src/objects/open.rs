//! From a place to a client of its cloud.
//!
//! The crate finds credentials in variables, web identities, container and machine metadata by itself. What it leaves
//! out is done here: Amazon's profile files, Azure's connection strings, and when plain HTTP is meant.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::signer::{Signer, Url};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::location::{Cloud, Location};
use super::profile::Profile;
use super::sas::AccountKey;
use super::settings::Settings;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Until a request is answered, its body sent: a part of a large file on a slow line takes a while.
const REQUEST: Duration = Duration::from_mins(1);
/// A connection that nobody has used for so long is not used again: whatever lies between may have forgotten it and answer
/// nothing. No longer than the pause before a failed request is tried again.
const IDLE: Duration = Duration::from_secs(10);
/// No retry begins later than this after the first try.
const RETRY: Duration = Duration::from_secs(20);

/// A client, as store and as signer.
pub(super) struct Client {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) signer: Arc<dyn Signer>,
    /// Azure's, where it is used.
    pub(super) account_key: Option<Arc<AccountKey>>,
    /// Why links cannot be signed with these credentials.
    pub(super) signs_nothing: Option<&'static str>,
}

impl Client {
    fn new(client: Arc<impl ObjectStore + Signer>) -> Self {
        Self { store: Arc::clone(&client) as _, signer: client, account_key: None, signs_nothing: None }
    }
}

/// Opens it; reaches nothing.
///
/// # Errors
/// What is wrong with the settings, without their values.
pub(super) fn client(location: &Location, settings: &Settings) -> Result<Client, String> {
    // The only user of TLS by rustls. It fails where one was chosen already, by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match location.cloud {
        Cloud::S3 => s3(&location.bucket, settings),
        Cloud::Azure => azure(&location.bucket, settings),
        Cloud::Google => google(&location.bucket, settings),
    }
}

fn options() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT).with_timeout(REQUEST).with_pool_idle_timeout(IDLE)
}

/// Exponential, with jitter.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
    RetryConfig { backoff, max_retries: 8, retry_timeout: RETRY }
}

fn s3(bucket: &str, settings: &Settings) -> Result<Client, String> {
    let mut builder = AmazonS3Builder::new().with_client_options(options()).with_retry(retries());
    let profile = Profile::read(settings)?;
    let mut has_keys = false;
    for (key, name) in [
        (AmazonS3ConfigKey::AccessKeyId, "aws_access_key_id"),
        (AmazonS3ConfigKey::SecretAccessKey, "aws_secret_access_key"),
        (AmazonS3ConfigKey::Token, "aws_session_token"),
    ] {
        // The environment's keys are used whole or not at all: a token of one belongs to no key of the other.
        if settings.get("AWS_ACCESS_KEY_ID").is_none()
            && let Some(value) = profile.get(name)
        {
            has_keys = true;
            builder = builder.with_config(key, value);
        }
    }
    if settings.get("AWS_ACCESS_KEY_ID").is_none()
        && !has_keys
        && settings.get("AWS_PROFILE").is_some()
        && let Some(way) = profile.elsewhere()
    {
        return Err(format!("the profile gets its credentials by `{way}`, which is not supported; see docs/stores.md"));
    }
    if let Some(region) = profile.get("region") {
        builder = builder.with_region(region);
    }
    if let Some(region) = settings.get("AWS_DEFAULT_REGION") {
        builder = builder.with_region(region);
    }
    let known = known::<AmazonS3ConfigKey>(settings, "AWS_");
    for (key, value) in known.filter(|(key, _)| !matches!(key, AmazonS3ConfigKey::Bucket)) {
        builder = builder.with_config(key, value);
    }
    let endpoint = settings.get("AWS_ENDPOINT_URL_S3").or_else(|| settings.get("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.or_else(|| settings.get("AWS_ENDPOINT")).or_else(|| profile.get("endpoint_url"));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(may_be_plain(endpoint, settings, "AWS_ALLOW_HTTP")?);
    }
    let client = Arc::new(builder.with_bucket_name(bucket).build().map_err(|error| said(&error))?);
    Ok(Client::new(client))
}

fn azure(container: &str, settings: &Settings) -> Result<Client, String> {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(options()).with_retry(retries());
    let mut endpoint = None;
    if let Some(text) = settings.get("AZURE_STORAGE_CONNECTION_STRING") {
        for (key, value) in connection_string(text)? {
            if key == AzureConfigKey::Endpoint {
                endpoint = Some(value.clone());
            }
            builder = builder.with_config(key, value);
        }
    }
    let known = known::<AzureConfigKey>(settings, "AZURE_");
    for (key, value) in known.filter(|(key, _)| !matches!(key, AzureConfigKey::ContainerName)) {
        builder = builder.with_config(key, value);
    }
    let of_environment = settings.get("AZURE_STORAGE_ENDPOINT").or_else(|| settings.get("AZURE_ENDPOINT"));
    if let Some(endpoint) = of_environment.map(str::to_owned).or(endpoint) {
        builder = builder.with_allow_http(may_be_plain(&endpoint, settings, "AZURE_ALLOW_HTTP")?);
    }
    let told = |key: &AzureConfigKey| builder.get_config_value(key);
    let signs_nothing = signs_nothing(&told);
    let account_key = told(&AzureConfigKey::AccountName).zip(told(&AzureConfigKey::AccessKey));
    let account_key = account_key.and_then(|(account, key)| AccountKey::new(&account, &key).map(Arc::new));
    let client = Arc::new(builder.with_container_name(container).build().map_err(|error| said(&error))?);
    Ok(Client { account_key, signs_nothing, ..Client::new(client) })
}

/// Why Azure's credentials sign no links: a SAS token stands for a signature itself. The builder takes it if there is
/// nothing that can sign.
fn signs_nothing(told: &impl Fn(&AzureConfigKey) -> Option<String>) -> Option<&'static str> {
    let has = |key| told(&key).is_some();
    let is_client = has(AzureConfigKey::ClientId)
        && has(AzureConfigKey::AuthorityId)
        && (has(AzureConfigKey::ClientSecret) || has(AzureConfigKey::FederatedTokenFile));
    let signs = has(AzureConfigKey::AccessKey) || has(AzureConfigKey::Token) || is_client;
    (has(AzureConfigKey::SasKey) && !signs)
        .then_some("a SAS token cannot sign download links: set AZURE_STORAGE_ACCOUNT_KEY or a client secret")
}

fn google(bucket: &str, settings: &Settings) -> Result<Client, String> {
    let plain = match settings.get("GOOGLE_BASE_URL") {
        Some(endpoint) => may_be_plain(endpoint, settings, "GOOGLE_ALLOW_HTTP")?,
        None => false,
    };
    let options = options().with_allow_http(plain);
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(options).with_retry(retries());
    let known = known::<GoogleConfigKey>(settings, "GOOGLE_");
    for (key, value) in known.filter(|(key, _)| !matches!(key, GoogleConfigKey::Bucket)) {
        builder = builder.with_config(key, value);
    }
    let client = Arc::new(builder.with_bucket_name(bucket).build().map_err(|error| said(&error))?);
    Ok(Client::new(client))
}

/// The variables of a cloud that its builder knows.
fn known<'s, K: FromStr>(settings: &'s Settings, prefix: &'s str) -> impl Iterator<Item = (K, &'s str)> {
    settings.of(prefix).filter_map(|(name, value)| Some((name.parse().ok()?, value)))
}

/// `AccountName=…;AccountKey=…;EndpointSuffix=…`, as Azure's portal gives it.
fn connection_string(text: &str) -> Result<Vec<(AzureConfigKey, String)>, String> {
    let (mut account, mut protocol, mut suffix) = (None, "https", "core.windows.net");
    let (mut endpoint, mut found) = (None, Vec::new());
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or("AZURE_STORAGE_CONNECTION_STRING has a part without `=`")?;
        match name {
            "AccountName" => account = Some(value),
            "AccountKey" => found.push((AzureConfigKey::AccessKey, value.to_owned())),
            "SharedAccessSignature" => found.push((AzureConfigKey::SasKey, value.to_owned())),
            "DefaultEndpointsProtocol" => protocol = value,
            "EndpointSuffix" => suffix = value,
            "BlobEndpoint" => endpoint = Some(value.trim_end_matches('/').to_owned()),
            "UseDevelopmentStorage" => found.push((AzureConfigKey::UseEmulator, value.to_owned())),
            _ => {}
        }
    }
    if let Some(account) = account {
        found.push((AzureConfigKey::AccountName, account.to_owned()));
        endpoint = endpoint.or_else(|| Some(format!("{protocol}://{account}.blob.{suffix}")));
    }
    found.extend(endpoint.map(|endpoint| (AzureConfigKey::Endpoint, endpoint)));
    Ok(found)
}

/// Whether an endpoint is spoken to without TLS: on this machine, or where that is said.
fn may_be_plain(endpoint: &str, settings: &Settings, variable: &str) -> Result<bool, String> {
    let url = Url::parse(endpoint).map_err(|error| format!("the endpoint is no URL: {error}"))?;
    if url.scheme() != "http" {
        return Ok(false);
    }
    let is_here = match url.host_str().unwrap_or("") {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    if is_here || settings.is_true(variable) {
        Ok(true)
    } else {
        Err(format!("the endpoint is plain http, and not on this machine: use https, or set {variable}=true"))
    }
}

/// What a builder found wrong, without values that it may have repeated.
fn said(error: &object_store::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Generic ").unwrap_or(&text);
    text.split_once(" error: ").map_or(text, |(_, said)| said).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, settings: &[(&str, &str)]) -> Result<Client, String> {
        client(&Location::parse(url).unwrap(), &settings.iter().copied().collect())
    }

    /// Azurite's well-known key.
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    #[test]
    fn plain_http_is_for_this_machine_or_for_those_who_say_so() {
        for (endpoint, allow, fine) in [
            ("http://127.0.0.1:9000", "", true),
            ("http://[::1]:9000", "", true),
            ("http://localhost:9000", "", true),
            ("http://minio.example:9000", "", false),
            ("http://minio.example:9000", "true", true),
            ("https://minio.example", "", true),
            ("minio", "", false),
        ] {
            let s3 = open("s3://b", &[("AWS_ENDPOINT_URL", endpoint), ("AWS_ALLOW_HTTP", allow)]);
            assert_eq!(s3.is_ok(), fine, "{endpoint} {allow}");
            let account = [("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", KEY)];
            let endpoint = [("AZURE_STORAGE_ENDPOINT", endpoint), ("AZURE_ALLOW_HTTP", allow)];
            assert_eq!(open("az://c", &[account, endpoint].concat()).is_ok(), fine);
        }
        let refused = open("s3://b", &[("AWS_ENDPOINT_URL_S3", "http://minio.example")]).err().unwrap();
        assert_eq!(
            refused,
            "the endpoint is plain http, and not on this machine: use https, or set AWS_ALLOW_HTTP=true"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(open("az://c", &[]).err().unwrap(), "Account must be specified");
        let half = open("s3://b", &[("AWS_SECRET_ACCESS_KEY", "hunter2")]).err().unwrap();
        assert_eq!(half, "Missing AccessKeyId");
        let missing = open("gs://b", &[("GOOGLE_SERVICE_ACCOUNT", "/nowhere/hunter.json")]).err().unwrap();
        assert!(missing.contains("/nowhere/hunter.json"), "{missing}");
    }

    #[test]
    fn a_sas_token_alone_signs_no_links() {
        const SAS: (&str, &str) = ("AZURE_STORAGE_SAS_TOKEN", "sv=2024-11-04&sr=c&sp=rwl&sig=hunter2");
        let client = [("AZURE_CLIENT_ID", "i"), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", "s")];
        let string =
            "BlobEndpoint=https://a.blob.example;SharedAccessSignature=sv=2024-11-04&sig=hunter2;AccountName=a";
        for (settings, signs) in [
            (vec![SAS], false),
            (vec![SAS, ("AZURE_CLIENT_ID", "i")], false),
            (vec![("AZURE_STORAGE_CONNECTION_STRING", string)], false),
            (vec![SAS, ("AZURE_STORAGE_ACCOUNT_KEY", KEY)], true),
            ([&client[..], &[SAS]].concat(), true),
            (client.to_vec(), true),
            (vec![], true),
        ] {
            let opened = open("az://c", &[&settings[..], &[("AZURE_STORAGE_ACCOUNT_NAME", "a")]].concat()).unwrap();
            assert_eq!(opened.signs_nothing.is_none(), signs, "{settings:?}");
        }
    }

    #[test]
    fn connection_strings_of_azures_portal() {
        let text =
            format!("DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.example");
        assert!(
            connection_string(&text).unwrap()
                == [
                    (AzureConfigKey::AccessKey, KEY.to_owned()),
                    (AzureConfigKey::AccountName, "acc".to_owned()),
                    (AzureConfigKey::Endpoint, "https://acc.blob.core.example".to_owned()),
                ]
        );
        assert!(open("az://c", &[("AZURE_STORAGE_CONNECTION_STRING", &text)]).is_ok());
        let emulator = format!("AccountName=d;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/d;");
        assert!(open("az://c", &[("AZURE_STORAGE_CONNECTION_STRING", &emulator)]).is_ok());
        assert!(connection_string("hunter2").is_err_and(|error| !error.contains("hunter2")));
    }
}

//! Buckets for tests: a prefix of its own in the bucket `exhaust` of each server that `scripts/with-stores` starts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use exhaust::objects::{Bucket, BucketConfig, Headers, Location};

use crate::faulty::{self, Calls, Fault};
use crate::proxy::Proxy;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    S3,
    Azure,
}

/// Azurite's well-known account.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An empty place in a bucket, for tables or for reports. What is left in it goes with the server.
#[derive(Clone, Debug)]
pub(crate) struct TestBucket {
    pub(crate) server: Server,
    pub(crate) url: String,
    address: SocketAddr,
}

/// Runs `test` on each server that there is.
pub(crate) fn each(test: impl Fn(&TestBucket)) {
    for server in [Server::S3, Server::Azure] {
        if let Some(bucket) = TestBucket::on(server) {
            eprintln!("on {server:?}");
            test(&bucket);
        }
    }
}

impl TestBucket {
    /// `None`, said loudly, where the server is not running; with CI=true that is a failure.
    pub(crate) fn on(server: Server) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (variable, scheme) = match server {
            Server::S3 => ("EXHAUST_TEST_S3", "s3"),
            Server::Azure => ("EXHAUST_TEST_AZURE", "az"),
        };
        let Ok(endpoint) = std::env::var(variable) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set: no test on {server:?}");
            eprintln!("skipped: this test on {server:?}: {variable} is not set (scripts/with-stores sets it)");
            return None;
        };
        let address = endpoint.split('/').nth(2).unwrap().parse().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Some(Self { server, url: format!("{scheme}://exhaust/test-{}-{number}", std::process::id()), address })
    }

    /// What a program needs in its environment to get there.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        self.environment_at(self.address)
    }

    fn environment_at(&self, address: SocketAddr) -> Vec<(&'static str, String)> {
        match self.server {
            Server::S3 => vec![
                ("AWS_ENDPOINT_URL", format!("http://{address}")),
                ("AWS_ACCESS_KEY_ID", "exhausttest".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "exhausttestsecret".to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
            ],
            Server::Azure => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{ACCOUNT}")),
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            ],
        }
    }

    pub(crate) fn open(&self) -> Bucket {
        self.opened(self.environment())
    }

    /// The same by way of a proxy.
    pub(crate) fn behind_proxy(&self) -> (Proxy, Bucket) {
        let proxy = Proxy::start(self.address);
        let bucket = self.opened(self.environment_at(proxy.address()));
        (proxy, bucket)
    }

    /// The same, where a call that is not answered so soon is given up.
    pub(crate) fn behind_impatiently(&self, patience: &str) -> (Proxy, Bucket) {
        let proxy = Proxy::start(self.address);
        let mut environment = self.environment_at(proxy.address());
        let variable = if self.server == Server::S3 { "AWS_TIMEOUT" } else { "AZURE_TIMEOUT" };
        environment.push((variable, patience.to_owned()));
        let bucket = self.opened(environment);
        (proxy, bucket)
    }

    /// The same by way of a proxy that spoils calls, and how many there were.
    pub(crate) fn spoilt(&self, fault: Fault) -> (Self, Arc<Calls>) {
        let (address, calls) = faulty::before(&self.address.to_string(), fault);
        (Self { address: address.parse().unwrap(), ..self.clone() }, calls)
    }

    /// The same with a wrong secret.
    pub(crate) fn refused(&self) -> Bucket {
        self.opened(self.refused_environment())
    }

    pub(crate) fn refused_environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = self.environment();
        let (_, secret) =
            environment.iter_mut().find(|(name, _)| name.contains("SECRET") || name.contains("ACCOUNT_KEY")).unwrap();
        *secret = String::from("bm90IHRoZSBrZXkgb2YgdGhpcyBhY2NvdW50");
        environment
    }

    fn opened(&self, environment: Vec<(&'static str, String)>) -> Bucket {
        let place =
            BucketConfig { location: Location::parse(&self.url).unwrap(), settings: environment.into_iter().collect() };
        Bucket::open(&place).unwrap()
    }

    /// Puts there what is below a directory.
    pub(crate) fn fill(&self, directory: &Path) {
        put_all(&self.open(), directory, "");
    }
}

fn put_all(bucket: &Bucket, directory: &Path, above: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{above}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            put_all(bucket, &entry.path(), &format!("{key}/"));
        } else {
            put(bucket, &key, fs::read(entry.path()).unwrap());
        }
    }
}

/// Puts an object there.
pub(crate) fn put(bucket: &Bucket, key: &str, bytes: Vec<u8>) {
    let headers =
        Headers { content_type: "application/octet-stream", content_disposition: "attachment".to_owned(), crc32: None };
    bucket.put(key, bytes, headers).unwrap();
}

/// An object as some programs mark a folder, `folder/` without a byte: by a call of its own, since the crate takes no such
/// name. On Azurite only; the S3 server keeps objects as files, where such a name is a directory.
pub(crate) fn mark_folder(bucket: &TestBucket, folder: &str) {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    assert_eq!(bucket.server, Server::Azure);
    // https://learn.microsoft.com/rest/api/storageservices/create-service-sas
    let text = format!("rcwl\n\n2099-01-01T00:00:00Z\n/blob/{ACCOUNT}/exhaust\n\n\n\n2020-12-06\nc\n\n\n\n\n\n\n");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&BASE64_STANDARD.decode(KEY).unwrap()).unwrap();
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    let place = bucket.url.split_once("//exhaust/").unwrap().1;
    let path = format!(
        "/{ACCOUNT}/exhaust/{place}/{folder}/?sv=2020-12-06&sr=c&sp=rcwl&se=2099-01-01T00%3A00%3A00Z&sig={signature}"
    );
    let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-version", "2020-12-06"), ("content-length", "0")];
    let answer = crate::http::Client::at(&bucket.address.to_string()).call("PUT", &path, &headers, b"");
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
}

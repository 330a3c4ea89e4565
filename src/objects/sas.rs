//! Azure's links to names that a URL has to encode. The crate signs the encoded name and Azure compares the plain one, so
//! such links open nothing; they are signed anew here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use object_store::signer::Url;
use percent_encoding::percent_decode_str;
use sha2::Sha256;

/// Signs with an account's key.
#[derive(Clone)]
pub(super) struct AccountKey {
    account: String,
    mac: Hmac<Sha256>,
}

impl AccountKey {
    /// `None`: the key is no base64.
    pub(super) fn new(account: &str, key: &str) -> Option<Self> {
        let mac = Hmac::new_from_slice(&BASE64_STANDARD.decode(key).ok()?).ok()?;
        Some(Self { account: account.to_owned(), mac })
    }

    /// The link with the right signature; unchanged where that of the crate is right.
    pub(super) fn signed(&self, mut link: Url) -> Url {
        let path = percent_decode_str(link.path()).decode_utf8_lossy().into_owned();
        if path == link.path() {
            return link;
        }
        let pairs: Vec<(String, String)> = link
            .query_pairs()
            .filter(|(name, _)| name != "sig")
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
        // Behind an address that does not name the account, its path does.
        let is_named = link.host_str().unwrap_or_default().contains(&self.account);
        let resource = if is_named { format!("/blob/{}{path}", self.account) } else { format!("/blob{path}") };
        // https://learn.microsoft.com/rest/api/storageservices/create-service-sas, version 2020-12-06 and later.
        let text = [
            value("sp"),
            value("st"),
            value("se"),
            &resource,
            "",
            "",
            "",
            value("sv"),
            value("sr"),
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ]
        .join("\n");
        let signature = BASE64_STANDARD.encode(self.mac.clone().chain_update(text).finalize().into_bytes());
        link.query_pairs_mut().clear().extend_pairs(&pairs).append_pair("sig", &signature);
        link
    }
}

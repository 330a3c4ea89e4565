//! Text for columns: cut to their lengths, and without what PostgreSQL cannot hold.

use super::types::{QueueError, RequestKey};

/// Characters that `err_message` holds.
const ERR_MESSAGE: usize = 100;
/// Characters that `lease_owner` holds.
const LEASE_OWNER: usize = 100;

/// `text` with each NUL, which no PostgreSQL text can hold, replaced by the replacement character.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// [`clean`] for an optional text.
pub(super) fn clean_option(text: Option<&str>) -> Option<String> {
    text.map(clean)
}

/// Bytes of `request_data` that readers are shown unless a limit is set (`ClientQueue::limit_request_data`).
pub(super) const SHOWN_DATA: u64 = 64 << 10;
/// Bytes of `download_urls` that are read of a row that is found by its key: more than a request of a hundred thousand files
/// has.
pub(super) const URLS_OF_ONE: u64 = 32 << 20;
/// The same for each row of a list.
pub(super) const URLS_OF_MANY: u64 = 4 << 20;

/// A statement with the number of bytes of `request_data` (`{most}`) and `download_urls` (`{urls}`) that are read. These are
/// not bound as values: they are the same in all calls, so the text of the statement stays the same.
pub(super) fn within(sql: &str, most: u64, urls: u64) -> String {
    sql.replace("{most}", &most.to_string()).replace("{urls}", &urls.to_string())
}

/// `text` cut to the length of `err_message`.
pub(super) fn err_message(text: &str) -> String {
    clean(text).chars().take(ERR_MESSAGE).collect()
}

/// A new claim token, `owner:random`, cut to the length of `lease_owner`.
pub(super) fn token(owner: &str) -> Result<String, QueueError> {
    let random = getrandom::u64().map_err(|e| QueueError::Refused(format!("no random number for a claim: {e}")))?;
    let random = format!(":{random:016x}");
    let owner: String = clean(owner).chars().take(LEASE_OWNER - random.len()).collect();
    Ok(owner + &random)
}

/// Whether a row can have this key: one with NUL cannot, and [`clean`]ing it would make it another row's.
pub(super) fn can_exist(key: &RequestKey) -> bool {
    !key.tag.contains('\0') && !key.request_id.contains('\0')
}

/// Milliseconds for an INTEGER column; 24 days at most.
pub(super) fn execution_time(milliseconds: i64) -> i32 {
    i32::try_from(milliseconds.max(0)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_on_a_character_boundary() {
        let long = "é".repeat(99) + "漢字";
        assert_eq!(err_message(&long), "é".repeat(99) + "漢");
        assert_eq!(err_message("a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn a_token_fits_its_column_and_is_fresh() {
        let host = "h".repeat(200);
        let (one, two) = (token(&host).unwrap(), token(&host).unwrap());
        assert_eq!((one.len(), two.len()), (100, 100));
        assert_ne!(one, two);
        let short = token("host:7").unwrap();
        let random = short.strip_prefix("host:7:").unwrap();
        assert!(random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit()), "{short}");
    }

    #[test]
    fn execution_time_never_overflows() {
        assert_eq!([-5, 0, 7, i64::MAX].map(execution_time), [0, 0, 7, i32::MAX]);
    }
}

//! PBKDF2-HMAC-SHA256 (RFC 8018) of one block, over SHA-256's compression function.
//!
//! Not by the crate `pbkdf2`: it is generic, so its loop is compiled in this crate, and in a debug build without
//! optimisation: 600,000 rounds take seconds there. The function underneath is optimised in every build. A test compares
//! the two.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

const BLOCK: usize = 64;
/// The state that SHA-256 begins with.
const BEGIN: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The first 32 bytes of the derived key.
pub(super) fn stretch(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let (inner, outer) = (keyed(password, 0x36), keyed(password, 0x5c));
    let mut block = message();
    let mut last = first(password, salt);
    let mut sum = last;
    for _ in 1..rounds {
        block[..32].copy_from_slice(&bytes(last));
        last = inner;
        compress256(&mut last, &[block]);
        block[..32].copy_from_slice(&bytes(last));
        last = outer;
        compress256(&mut last, &[block]);
        sum = [
            sum[0] ^ last[0],
            sum[1] ^ last[1],
            sum[2] ^ last[2],
            sum[3] ^ last[3],
            sum[4] ^ last[4],
            sum[5] ^ last[5],
            sum[6] ^ last[6],
            sum[7] ^ last[7],
        ];
    }
    bytes(sum)
}

/// HMAC's inner or outer state after its key.
fn keyed(password: &[u8], pad: u8) -> [u32; 8] {
    let mut key = [0; BLOCK];
    let hashed = Sha256::digest(password);
    let short = if password.len() > BLOCK { hashed.as_slice() } else { password };
    key[..short.len()].copy_from_slice(short);
    let mut state = BEGIN;
    compress256(&mut state, &[key.map(|byte| byte ^ pad)]);
    state
}

/// The last block of a message of a key's block and one hash, which stands before its end.
fn message() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[32] = 0x80;
    let bits: u64 = 8 * (64 + 32);
    block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    block
}

/// The first round: HMAC of the salt and the block's number, 1.
fn first(password: &[u8], salt: &[u8]) -> [u32; 8] {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(password).expect("a key of any length");
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_be_bytes(words[at]))
}

/// A hash as its bytes. Spelled out, as above: a debug build spends more on iterators than on hashing.
fn bytes(of: [u32; 8]) -> [u8; 32] {
    let words = [
        of[0].to_be_bytes(),
        of[1].to_be_bytes(),
        of[2].to_be_bytes(),
        of[3].to_be_bytes(),
        of[4].to_be_bytes(),
        of[5].to_be_bytes(),
        of[6].to_be_bytes(),
        of[7].to_be_bytes(),
    ];
    let mut bytes = [0; 32];
    bytes.copy_from_slice(words.as_flattened());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_the_crate_has_it(
            password in prop::collection::vec(any::<u8>(), 0..150),
            salt in prop::collection::vec(any::<u8>(), 0..150),
            rounds in 1_u32..40,
        ) {
            let theirs = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&password, &salt, rounds);
            prop_assert_eq!(stretch(&password, &salt, rounds), theirs);
        }
    }
}

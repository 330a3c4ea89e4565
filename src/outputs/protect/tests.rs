//! What is written is a protected archive, and comes out while it is being made. Other programs open such archives in
//! `tests/it/protected.rs`.

use std::io::Read as _;

use super::*;

const PASSWORD: &str = "correct horse · 漢字";

fn protection(zip: Zip) -> Protection {
    Protection { password: Password::new(PASSWORD.to_owned()), zip }
}

fn inside(entry: &str) -> Inside<'_> {
    Inside { entry, packing: CompressionMethod::Deflated, is_large: false }
}

/// Numbers that look random: nothing in them packs.
fn noise(seed: u64, bytes: &mut [u8]) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[4];
    }
}

#[test]
fn what_comes_out_is_what_went_in_under_the_password_only() {
    let content = "batch,name\n1,\"Ünal\"\n".repeat(5000);
    for zip in [Zip::Aes, Zip::Legacy] {
        for is_large in [false, true] {
            let mut out = Vec::new();
            let inside = Inside { is_large, ..inside("reports-1.csv") };
            archive(inside, &protection(zip), &mut out, |to| to.write_all(content.as_bytes())).unwrap();
            assert!(!out.windows(8).any(|window| window == b"1,\"\xc3\x9cnal"), "{zip:?}");
            let mut archive = zip::ZipArchive::new(io::Cursor::new(&out)).unwrap();
            assert_eq!(archive.len(), 1);
            assert!(archive.by_index(0).is_err(), "{zip:?}: no password");
            let mut read = String::new();
            archive.by_index_decrypt(0, PASSWORD.as_bytes()).unwrap().read_to_string(&mut read).unwrap();
            assert!(read == content, "{zip:?}");
            // One byte of a wrong password's check is right by chance now and then; the content never is.
            let wrong = archive
                .by_index_decrypt(0, b"wrong horse")
                .map_err(io::Error::from)
                .and_then(|mut file| file.read_to_end(&mut Vec::new()));
            assert!(wrong.is_err(), "{zip:?}");
        }
    }
}

#[test]
fn no_two_archives_are_alike() {
    for zip in [Zip::Aes, Zip::Legacy] {
        let make = || {
            let mut out = Vec::new();
            archive(inside("a.csv"), &protection(zip), &mut out, |to| to.write_all(b"the same")).unwrap();
            out
        };
        assert_ne!(make(), make(), "{zip:?}");
    }
}

/// What has come out so far, and the largest piece.
#[derive(Default)]
struct Seen {
    bytes: std::cell::Cell<usize>,
    largest: std::cell::Cell<usize>,
}

impl Write for &Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.set(self.bytes.get() + bytes.len());
        self.largest.set(self.largest.get().max(bytes.len()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sixteen megabytes that do not pack: whatever went in and has not come out is in memory.
#[test]
fn what_is_written_comes_out_at_once_however_much_it_is() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 16;
    for zip in [Zip::Aes, Zip::Legacy] {
        let seen = Seen::default();
        let packing = CompressionMethod::Stored;
        archive(Inside { packing, ..inside("a.csv") }, &protection(zip), &mut &seen, |to| {
            let mut piece = vec![0; PIECE];
            noise(7, &mut piece);
            for pieces in 1..=PIECES {
                to.write_all(&piece)?;
                let held = (pieces * PIECE).saturating_sub(seen.bytes.get());
                assert!(held < PIECE / 4, "{zip:?}: {held} bytes are held back after {pieces} pieces");
            }
            Ok::<_, io::Error>(())
        })
        .unwrap();
        let packed = Seen::default();
        archive(inside("a.csv"), &protection(zip), &mut &packed, |to| {
            let mut piece = vec![0; PIECE];
            for pieces in 1..=4 {
                noise(pieces, &mut piece);
                to.write_all(&piece)?;
                assert!(packed.bytes.get() + PIECE / 2 > usize::try_from(pieces).unwrap() * PIECE, "{zip:?}: packed");
            }
            Ok::<_, io::Error>(())
        })
        .unwrap();
        assert!(packed.largest.get() <= PIECE, "{zip:?}: a piece of {} bytes", packed.largest.get());
    }
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 < bytes.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full, says the disk"));
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failure_is_the_first_one_wherever_it_comes() {
    let mut content = vec![0; 300_000];
    noise(1, &mut content);
    for zip in [Zip::Aes, Zip::Legacy] {
        let mut whole = Vec::new();
        archive(inside("a.csv"), &protection(zip), &mut whole, |to| to.write_all(&content)).unwrap();
        for room in [0, 10, 60, 1000, 200_000, whole.len() - 200, whole.len() - 20, whole.len() - 1] {
            let made = archive(inside("a.csv"), &protection(zip), &mut Full(room), |to| to.write_all(&content));
            assert_eq!(made.unwrap_err().to_string(), "the disk is full, says the disk", "{zip:?}: {room}");
        }
        let own = |_: &mut dyn Write| Err::<(), _>(io::Error::other("too many rows for a sheet"));
        let made = archive(inside("a.csv"), &protection(zip), &mut Vec::new(), own);
        assert_eq!(made.unwrap_err().to_string(), "too many rows for a sheet", "{zip:?}");
    }
}

#[test]
fn a_password_is_not_shown() {
    assert_eq!(format!("{:?}", protection(Zip::Aes)), "Protection { password: ***, zip: Aes }");
}

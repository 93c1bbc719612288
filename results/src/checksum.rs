//! Checksum inside a Parquet file, so that damage is found before the decoder meets it.
//!
//! Parquet decoders trust the lengths in a file; a flipped bit can make one ask for exabytes, which ends the
//! process instead of giving an error. The checksum is 64-bit FNV-1a (Fowler, Noll and Vo) over all bytes of the
//! file, in which the checksum itself counts as zeros. Each step of FNV-1a is invertible, so a change of any one
//! byte always shows. A file without a checksum, as another program writes it, is read without this check.

use crate::schema::KEY_CHECKSUM;

/// Stands in the file's metadata until the checksum is known, and counts in its place.
pub(crate) const PLACEHOLDER: &str = "0000000000000000";

/// What lies between key and value in the footer (Thrift compact protocol): the header of the value's field, type
/// binary one field further, and its length.
const BETWEEN: [u8; 2] = [0x18, PLACEHOLDER.len() as u8];

/// Writes the checksum of `bytes` over its placeholder.
pub(crate) fn seal(bytes: &mut [u8]) {
    if let Some(at) = find(bytes) {
        let digits = format!("{:016x}", fnv(bytes, at));
        bytes[at..at + digits.len()].copy_from_slice(digits.as_bytes());
    }
}

/// Whether `bytes` has a checksum.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    find(bytes).is_some()
}

/// Whether `bytes` has no checksum or the right one.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    find(bytes).is_none_or(|at| bytes[at..at + PLACEHOLDER.len()] == *format!("{:016x}", fnv(bytes, at)).as_bytes())
}

/// Where the checksum stands. The footer is at the end, so the last occurrence of the key counts.
fn find(bytes: &[u8]) -> Option<usize> {
    let key = KEY_CHECKSUM.as_bytes();
    let start = bytes.windows(key.len()).rposition(|window| window == key)?;
    let value = start + key.len() + BETWEEN.len();
    let between = bytes.get(start + key.len()..value)?;
    (between == BETWEEN && value + PLACEHOLDER.len() <= bytes.len()).then_some(value)
}

/// FNV-1a of `bytes` with the checksum at `at` counted as its placeholder.
fn fnv(bytes: &[u8], at: usize) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let parts = [&bytes[..at], PLACEHOLDER.as_bytes(), &bytes[at + PLACEHOLDER.len()..]];
    parts.into_iter().flatten().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

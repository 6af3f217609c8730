//! Which requests belong to a share of them all: their ids decide, the same in every process.

/// A number from a request's id, spread evenly. What is chosen for one purpose says nothing of what is for another.
#[must_use]
pub fn hash(purpose: &str, id: &str) -> u64 {
    // FNV-1a, whose high bits are poor for short texts: the multiplications after it spread them.
    let mut hash = purpose
        .bytes()
        .chain(id.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

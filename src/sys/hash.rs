//! The hash of addresses and numbers.

/// Spreads a key over all bits (splitmix64's finish).
pub fn mix(key: u64) -> usize {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(key ^ (key >> 31)).unwrap_or(0)
}

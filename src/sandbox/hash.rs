//! Hashing that gives the same numbers in every process and on every machine.

/// FNV-1a over the bytes of `text`, then mixed, so that every bit depends on every byte.
/// ASCII letters count as lower case.
pub(super) fn text(seed: u64, text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash, seed)
}

/// One number from two (the finalizer of splitmix64).
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash as a number in [0, 1), from its upper 53 bits: as many as an `f64` holds.
pub(super) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// The hash as an index below `len`, which is not 0.
pub(super) fn below(hash: u64, len: usize) -> usize {
    ((u128::from(hash) * len as u128) >> 64) as usize
}

/// One of `choices`, which are not none.
pub(super) fn pick<T: Copy>(hash: u64, choices: &[T]) -> T {
    choices[below(hash, choices.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ignores_ascii_case_and_heeds_the_seed() {
        assert_eq!(text(1, "John@X.io"), text(1, "john@x.IO"));
        assert_ne!(text(1, "john@x.io"), text(2, "john@x.io"));
        assert_ne!(text(1, "john@x.io"), text(1, "jonh@x.io"));
    }

    #[test]
    fn units_and_indexes_stay_in_their_range_and_reach_its_ends() {
        assert_eq!(unit(0), 0.0);
        assert!(unit(u64::MAX) < 1.0 && unit(u64::MAX) > 0.999_999);
        assert_eq!((below(0, 7), below(u64::MAX, 7)), (0, 6));
    }

    #[test]
    fn spreads_evenly() {
        let mut counts = [0_u32; 10];
        for n in 0..10_000 {
            counts[below(text(7, &format!("user{n}@example.com")), 10)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}

//! What happens to a customer from one revision to the next.

use super::hash::{below, mix, unit};

/// The share of customers that change from one revision to the next.
const CHANGING: f64 = 0.05;

/// The last revision that differs from the one before. Each one costs every lookup a few
/// nanoseconds.
pub(super) const LAST_REVISION: u32 = 10_000;

/// Tells the hashes of changes from those of what a customer has at first.
const CHANGES: u64 = 0x6368_616e_6765;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    DeviceAdded,
    DeviceRemoved,
    OrderAdded,
    Phone,
    Address,
    Metadata,
    /// It is not found for one to three revisions.
    Gone,
    /// It has another address from now on, and is not found under the old one.
    Moved,
    /// The email resolves to another customer from now on.
    Replaced,
}

/// A change and its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The first revision after it.
    pub(super) revision: u32,
    pub(super) change: Change,
    /// A hash that chooses the details.
    pub(super) draw: u64,
}

/// All changes of the customer with the hash `root` up to `revision`.
pub(super) fn up_to(revision: u32, root: u64) -> impl Iterator<Item = Event> {
    (1..=revision.min(LAST_REVISION)).filter_map(move |revision| {
        let draw = mix(root ^ CHANGES, u64::from(revision));
        let event = || Event { revision, change: kind(mix(draw, 1)), draw: mix(draw, 2) };
        (unit(draw) < CHANGING).then(event)
    })
}

fn kind(draw: u64) -> Change {
    match below(draw, 100) {
        0..20 => Change::DeviceAdded,
        20..35 => Change::DeviceRemoved,
        35..60 => Change::OrderAdded,
        60..69 => Change::Phone,
        69..77 => Change::Address,
        77..87 => Change::Metadata,
        87..93 => Change::Gone,
        93..96 => Change::Moved,
        _ => Change::Replaced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_happens_and_one_in_twenty_changes() {
        let mut kinds = Vec::new();
        for root in 0..20_000 {
            kinds.extend(up_to(1, mix(root, 0)).map(|event| event.change));
        }
        assert!((950..1050).contains(&kinds.len()), "{}", kinds.len());
        kinds.sort_unstable_by_key(|kind| *kind as u8);
        kinds.dedup();
        assert_eq!(kinds.len(), 9);
    }

    #[test]
    fn a_later_revision_keeps_what_happened_before() {
        let long: Vec<_> = up_to(200, 7).collect();
        let short: Vec<_> = up_to(100, 7).collect();
        assert!(!short.is_empty() && short.len() < long.len());
        assert_eq!(short, long[..short.len()]);
    }

    #[test]
    fn revisions_beyond_the_last_are_as_the_last() {
        assert_eq!(up_to(u32::MAX, 7).count(), up_to(LAST_REVISION, 7).count());
    }
}

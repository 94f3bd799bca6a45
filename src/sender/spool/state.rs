//! What a restart must know: which offsets of which source are safe, and which frames are done with.
//!
//! Both only grow, so that two copies of the state, one of them older, are brought together by union. The encodings here are
//! those of the cursor slots and of the index (`docs/spool-format.md`).
//!
//! No I/O, no clock.

use super::frame::{from_hex, to_hex};
use crate::limits::{GENERATIONS, MAX_RANGES};
use crate::position::{Generation, Range, Ranges, put_varint, take_varint};
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use std::collections::{HashMap, HashSet};

/// Sources above which age counts as well.
const CROWDED: usize = 1024;
/// Then those go that have not been updated for 30 days.
const STALE_MS: u64 = 30 * 24 * 3600 * 1000;
const KEY_BYTES: usize = 1 + 255 + 8;

/// Position of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) ranges: Ranges,
    pub(super) updated_ms: u64,
}

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Acknowledged by the receiver.
    pub(super) positions: HashMap<SourceKey, Entry>,
    /// Ids of frames that are delivered, lost, or were never given out. Its first hole is the oldest frame still wanted.
    pub(super) retired: Ranges,
    /// Sources that the index does not know yet as they are here; gone ones included.
    pub(super) changed: HashSet<SourceKey>,
}

impl State {
    /// Adds to the position of a source.
    pub(super) fn add(&mut self, key: &SourceKey, ranges: &Ranges, now_ms: u64) {
        let new = !self.positions.contains_key(key);
        let entry = self.positions.entry(key.clone()).or_default();
        entry.ranges.union(ranges);
        entry.updated_ms = entry.updated_ms.max(now_ms);
        self.changed.insert(key.clone());
        if new {
            self.prune(&key.container, now_ms);
        }
    }

    /// Adds what another copy knows.
    pub(super) fn merge(&mut self, other: Self) {
        self.retired.union(&other.retired);
        for (key, entry) in other.positions {
            let have = self.positions.entry(key).or_default();
            have.ranges.union(&entry.ranges);
            have.updated_ms = have.updated_ms.max(entry.updated_ms);
        }
    }

    /// Forgets what is too much, of every container. For the start, when copies have been merged.
    pub(super) fn prune_all(&mut self, now_ms: u64) {
        let containers: HashSet<_> = self.positions.keys().map(|key| key.container.clone()).collect();
        for container in containers {
            self.prune(&container, now_ms);
        }
    }

    /// Whether a frame is done with.
    pub(super) fn is_retired(&self, id: u64) -> bool {
        self.retired.covers(Range::new(id, id + 1))
    }

    /// Whether any of these lines is settled.
    pub(super) fn knows_any(&self, claims: &[(SourceKey, Ranges)]) -> bool {
        let touches = |of: &Ranges, have: &Ranges| of.as_slice().iter().any(|range| have.touches(*range));
        claims.iter().any(|(key, of)| self.positions.get(key).is_some_and(|entry| touches(of, &entry.ranges)))
    }

    /// What is left to be sent of a batch from the spool: an earlier process, or the flight from memory, may have settled some of its
    /// records, or all.
    pub(super) fn left_of(&self, batch: Batch) -> Option<Batch> {
        if batch.again || !self.knows_any(&batch.claims()) {
            return Some(batch);
        }
        let none = Ranges::default();
        let settled = |key: &SourceKey| self.positions.get(key).map_or(&none, |entry| &entry.ranges);
        let is_done = |(key, of): &(SourceKey, Ranges)| of.as_slice().iter().all(|range| settled(key).covers(*range));
        batch.without(settled(&batch.key), batch.carried_claims().iter().all(is_done))
    }

    /// First id from `id` on that is not retired.
    pub(super) fn wanted_from(&self, id: u64) -> u64 {
        let ranges = self.retired.as_slice();
        let at = ranges.partition_point(|range| range.end <= id);
        ranges.get(at).map_or(id, |range| if range.start <= id { range.end } else { id })
    }

    /// Forgets sources of `container` beyond [`GENERATIONS`], and when there are very many sources, old ones of any.
    fn prune(&mut self, container: &str, now_ms: u64) {
        let of = |key: &&SourceKey| key.container == container;
        let surplus = self.positions.keys().filter(of).count().saturating_sub(GENERATIONS);
        let mut gone: Vec<_> =
            self.positions.iter().filter(|(key, _)| of(key)).map(|(key, e)| (e.updated_ms, key.clone())).collect();
        gone.sort_unstable();
        gone.truncate(surplus);
        if self.positions.len() > CROWDED {
            let stale = |entry: &Entry| entry.updated_ms.saturating_add(STALE_MS) < now_ms;
            gone.extend(
                self.positions
                    .iter()
                    .filter(|(_, entry)| stale(entry))
                    .map(|(key, entry)| (entry.updated_ms, key.clone())),
            );
        }
        for (_, key) in gone {
            self.positions.remove(&key);
            self.changed.insert(key);
        }
    }

    /// Appends everything.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_ranges(out, &self.retired);
        put_varint(out, self.positions.len() as u64);
        for (key, entry) in &self.positions {
            let key = encode_key(key);
            put_varint(out, key.len() as u64);
            out.extend_from_slice(&key);
            encode_entry(out, entry);
        }
    }

    /// The inverse; `None` when the bytes are damaged.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut state = Self { retired: take_ranges(&mut bytes)?, ..Self::default() };
        for _ in 0..take_varint(&mut bytes)? {
            let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
            let key = decode_key(bytes.get(..len)?)?;
            bytes = &bytes[len..];
            state.positions.insert(key, take_entry(&mut bytes)?);
        }
        bytes.is_empty().then_some(state)
    }
}

/// One byte (1: 32 raw bytes follow, 0: text), the container id, the generation big-endian.
pub(super) fn encode_key(key: &SourceKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(41);
    match from_hex(&key.container) {
        Some(raw) => {
            out.push(1);
            out.extend_from_slice(&raw);
        }
        None => {
            out.push(0);
            out.extend_from_slice(key.container.as_bytes());
        }
    }
    out.extend_from_slice(&key.generation.0.to_be_bytes());
    out
}

/// The inverse of [`encode_key`].
pub(super) fn decode_key(bytes: &[u8]) -> Option<SourceKey> {
    let (rest, generation) = bytes.split_last_chunk::<8>()?;
    let container = match rest.split_first()? {
        (1, raw) if raw.len() == 32 => to_hex(raw),
        (0, text) if bytes.len() <= KEY_BYTES => String::from_utf8(text.into()).ok()?,
        _ => return None,
    };
    Some(SourceKey { container, generation: Generation(u64::from_be_bytes(*generation)) })
}

/// Appends the time of the last update and the ranges.
pub(super) fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_varint(out, entry.updated_ms);
    put_ranges(out, &entry.ranges);
}

/// Takes an entry off the front.
pub(super) fn take_entry(bytes: &mut &[u8]) -> Option<Entry> {
    Some(Entry { updated_ms: take_varint(bytes)?, ranges: take_ranges(bytes)? })
}

/// Appends a count, then for each range the distance from the previous end and the length. Of a set with more than
/// [`MAX_RANGES`] ranges only the first are kept: the rest would then be sent once more, never skipped.
pub(super) fn put_ranges(out: &mut Vec<u8>, ranges: &Ranges) {
    let ranges = &ranges.as_slice()[..ranges.as_slice().len().min(MAX_RANGES)];
    put_varint(out, ranges.len() as u64);
    let mut end = 0;
    for range in ranges {
        put_varint(out, range.start - end);
        put_varint(out, range.end - range.start);
        end = range.end;
    }
}

/// Takes a set of ranges off the front.
pub(super) fn take_ranges(bytes: &mut &[u8]) -> Option<Ranges> {
    let count = take_varint(bytes)?;
    if count > MAX_RANGES as u64 {
        return None;
    }
    let (mut ranges, mut end) = (Ranges::default(), 0u64);
    for _ in 0..count {
        let start = end.checked_add(take_varint(bytes)?)?;
        end = start.checked_add(take_varint(bytes)?)?;
        ranges.insert(Range::new(start, end));
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(container: &str, generation: u64) -> SourceKey {
        SourceKey { container: container.into(), generation: Generation(generation) }
    }

    fn ranges(pairs: &[(u64, u64)]) -> Ranges {
        pairs.iter().map(|(start, len)| Range::new(*start, start.saturating_add(*len))).collect()
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(
            entries in prop::collection::vec((any::<bool>(), any::<u64>(), any::<u64>(), prop::collection::vec((any::<u64>(), 0..9u64), 0..9)), 0..20),
            retired in prop::collection::vec((0..500u64, 1..9u64), 0..40),
        ) {
            let mut state = State { retired: ranges(&retired), ..State::default() };
            for (hex, generation, updated_ms, pairs) in entries {
                let container = if hex { "0a".repeat(32) } else { "name".into() };
                state.positions.insert(key(&container, generation), Entry { ranges: ranges(&pairs), updated_ms });
            }
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            prop_assert_eq!(State::decode(&bytes), Some(state));
            for cut in 0..bytes.len() {
                prop_assert_eq!(State::decode(&bytes[..cut]), None);
            }
        }

        #[test]
        fn wanted_is_the_first_id_not_retired(retired in prop::collection::vec((0..60u64, 1..9u64), 0..12), from in 0..80u64) {
            let state = State { retired: ranges(&retired), ..State::default() };
            let naive = (from..).find(|id| !retired.iter().any(|(start, len)| (*start..start + len).contains(id))).unwrap();
            prop_assert_eq!(state.wanted_from(from), naive);
            prop_assert!(!state.is_retired(naive));
        }
    }

    #[test]
    fn the_oldest_generations_go_first() {
        let mut state = State::default();
        let some = ranges(&[(0, 5)]);
        for i in 0..GENERATIONS as u64 + 3 {
            state.add(&key("a", i), &some, 1000 + i);
            state.add(&key("b", i % 2), &some, 1);
        }
        let mut left: Vec<_> =
            state.positions.keys().filter(|key| key.container == "a").map(|key| key.generation.0).collect();
        left.sort_unstable();
        assert_eq!(left, (3..GENERATIONS as u64 + 3).collect::<Vec<_>>());
        assert_eq!(state.positions.len(), GENERATIONS + 2, "the other container keeps its own");
        assert!(state.changed.contains(&key("a", 0)), "the index must hear of it");
    }

    #[test]
    fn age_counts_only_in_a_crowd() {
        let mut state = State::default();
        let some = ranges(&[(0, 5)]);
        state.add(&key("quiet", 1), &some, 0);
        state.add(&key("other", 1), &some, 2 * STALE_MS);
        assert_eq!(state.positions.len(), 2, "a silent container is not read again from its beginning");
        for i in 0..CROWDED {
            state.add(&key(&format!("c{i}"), 1), &some, 2 * STALE_MS);
        }
        assert!(!state.positions.contains_key(&key("quiet", 1)));
        assert_eq!(state.positions.len(), CROWDED + 1);
    }

    #[test]
    fn too_many_ranges_forget_the_last() {
        let set: Ranges = (0..MAX_RANGES as u64 + 10).map(|i| Range::new(i * 2, i * 2 + 1)).collect();
        let mut bytes = Vec::new();
        put_ranges(&mut bytes, &set);
        let back = take_ranges(&mut &bytes[..]).unwrap();
        assert_eq!(back.as_slice(), &set.as_slice()[..MAX_RANGES]);
    }
}

//! Where a line stands, and which lines are safe: generations, ranges, covers.
//!
//! A **source** is one generation of one container's log. Its lines have **offsets**: uncompressed bytes from the start of
//! that generation (for a log streamed by the Docker API: nanoseconds since the epoch, made strictly increasing).
//! What has been delivered of a source is a set of offset ranges, [`Ranges`]: nearly always one, `0-N`. While a join holds a
//! line back (a split message, say) and later lines pass it, the set has a hole where the held line stands; its first hole
//! is the low-water mark, from which reading starts again after a restart, skipping the lines that are already in the set.
//!
//! This module does no I/O, has no clock, knows no tokio.

use std::fmt;

/// Identity of a log file by content, since inodes are reused and gzip changes them: FNV-1a (64 bits) over the first line of
/// the file (behind any NUL bytes and empty lines that it begins with) without its newline, or over its first
/// [`FINGERPRINT_BYTES`](crate::limits::FINGERPRINT_BYTES) when the line is longer. The line ends with Docker's time in
/// nanoseconds. Always used together with the container id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Generation {
    /// Fingerprint of a first line, newline excluded. `None` while neither a newline nor enough bytes have been written.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(crate::limits::FINGERPRINT_BYTES)];
        match memchr::memchr(b'\n', head) {
            Some(end) => Some(Self(fnv1a(&head[..end]))),
            None if head.len() == crate::limits::FINGERPRINT_BYTES => Some(Self(fnv1a(head))),
            None => None,
        }
    }

    /// Generation of a log that Docker's API streams: the driver shows no files, the container has one log.
    pub const STREAMED: Self = Self(0);
}

/// Sixteen lower-case hexadecimal digits.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// FNV-1a, 64 bits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Half-open range of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// First offset in the range.
    pub start: u64,
    /// First offset behind the range.
    pub end: u64,
}

impl Range {
    /// `start..end`; `start` must not be beyond `end`.
    pub fn new(start: u64, end: u64) -> Self {
        debug_assert!(start <= end);
        Self { start, end }
    }
}

/// A set of offsets, kept as sorted disjoint non-adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// Adds `range`, merging what touches.
    pub fn insert(&mut self, range: Range) {
        if range.start >= range.end {
            return;
        }
        // The usual case: the next line after the last one.
        if let Some(last) = self.0.last_mut() {
            if range.start > last.end {
                self.0.push(range);
                return;
            }
            if range.start >= last.start {
                last.end = last.end.max(range.end);
                return;
            }
        }
        let from = self.0.partition_point(|have| have.end < range.start);
        let to = self.0.partition_point(|have| have.start <= range.end);
        let merged = self.0[from..to]
            .iter()
            .fold(range, |all, have| Range::new(all.start.min(have.start), all.end.max(have.end)));
        self.0.splice(from..to, [merged]);
    }

    /// Adds every range of `other`.
    pub fn union(&mut self, other: &Self) {
        for range in &other.0 {
            self.insert(*range);
        }
    }

    /// Whether every offset of `range` is in the set. An empty range always is.
    pub fn covers(&self, range: Range) -> bool {
        if range.start >= range.end {
            return true;
        }
        let at = self.0.partition_point(|have| have.end <= range.start);
        self.0.get(at).is_some_and(|have| have.start <= range.start && range.end <= have.end)
    }

    /// Whether any offset of `range` is in the set.
    pub fn touches(&self, range: Range) -> bool {
        let at = self.0.partition_point(|have| have.end <= range.start);
        range.start < range.end && self.0.get(at).is_some_and(|have| have.start < range.end)
    }

    /// Appends to `out` the parts of `range` that are not in the set.
    pub fn gaps_within(&self, range: Range, out: &mut Vec<Range>) {
        let mut start = range.start;
        let from = self.0.partition_point(|have| have.end <= range.start);
        for have in self.0[from..].iter().take_while(|have| have.start < range.end) {
            if start < have.start {
                out.push(Range::new(start, have.start));
            }
            start = have.end;
        }
        if start < range.end {
            out.push(Range::new(start, range.end));
        }
    }

    /// First offset not in the set: where reading starts again.
    pub fn low_water(&self) -> u64 {
        match self.0.first() {
            Some(first) if first.start == 0 => first.end,
            _ => 0,
        }
    }

    /// First offset behind everything in the set.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.end)
    }

    /// The ranges, sorted.
    pub fn as_slice(&self) -> &[Range] {
        &self.0
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

/// `0-500,620-700`, as in `x-rask-batch` (`docs/wire-format.md`).
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}-{}", range.start, range.end)?;
        }
        Ok(())
    }
}

/// Why a text is not a set of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of ranges such as 0-500,620-700")]
pub struct RangesError;

impl std::str::FromStr for Ranges {
    type Err = RangesError;

    fn from_str(text: &str) -> Result<Self, RangesError> {
        let mut set = Self::default();
        for (i, part) in text.split(',').filter(|part| !part.is_empty()).enumerate() {
            let (start, end) = part.split_once('-').ok_or(RangesError)?;
            let (start, end) = (start.parse().map_err(|_| RangesError)?, end.parse().map_err(|_| RangesError)?);
            if start > end || i >= crate::limits::MAX_RANGES {
                return Err(RangesError);
            }
            set.insert(Range { start, end });
        }
        Ok(set)
    }
}

/// Lines of earlier generations of the same container that went into a record: a message that was split, and the log rotated
/// between its parts. The record is delivered as one of the generation that holds its last part; these are settled with it.
pub type Carried = Vec<(Generation, Ranges)>;

/// For each record of a batch, in order, how many lines it was made from and where they stand in the source: so that a batch
/// can be split, or cut after a 409, long after its source is gone. About four bytes a record.
///
/// Encoding (also in the spool, `docs/spool-format.md`): for each record `varint(lines)`, `varint(n)` (ranges; none where a record
/// stands for no bytes), then for each
/// range `zigzag-varint(start − previous end)` and `varint(length)`, where the previous end begins at 0 and runs on over all
/// records. Varints are LEB128.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    bytes: Vec<u8>,
    records: usize,
    last_end: u64,
}

impl Cover {
    /// Adds a record made from `lines` lines that stand at `ranges`.
    pub fn push(&mut self, lines: u32, ranges: &[Range]) {
        put_varint(&mut self.bytes, u64::from(lines));
        put_varint(&mut self.bytes, ranges.len() as u64);
        for range in ranges {
            let step = range.start.wrapping_sub(self.last_end) as i64;
            put_varint(&mut self.bytes, ((step << 1) ^ (step >> 63)) as u64);
            put_varint(&mut self.bytes, range.end - range.start);
            self.last_end = range.end;
        }
        self.records += 1;
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
        self.last_end = 0;
    }

    /// The encoded form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the encoded form of `records` records; `None` when it is damaged.
    pub fn from_bytes(bytes: &[u8], records: usize) -> Option<Self> {
        Self::from_front(bytes, records).filter(|(_, behind)| behind.is_empty()).map(|(cover, _)| cover)
    }

    /// The same with what stands behind it.
    pub fn from_front(bytes: &[u8], records: usize) -> Option<(Self, &[u8])> {
        let mut iter = CoverIter { bytes, last_end: 0 };
        let mut scratch = Vec::new();
        for _ in 0..records {
            iter.next_into(&mut scratch)?;
        }
        let (behind, last_end) = (iter.bytes, iter.last_end);
        let bytes = bytes[..bytes.len() - behind.len()].to_vec();
        Some((Self { bytes, records, last_end }, behind))
    }

    /// The ranges of each record, in order.
    pub fn iter(&self) -> CoverIter<'_> {
        CoverIter { bytes: &self.bytes, last_end: 0 }
    }

    /// All ranges of all records, merged.
    pub fn ranges(&self) -> Ranges {
        let (mut all, mut scratch, mut iter) = (Ranges::default(), Vec::new(), self.iter());
        while iter.next_into(&mut scratch).is_some() {
            for range in &scratch {
                all.insert(*range);
            }
        }
        all
    }
}

/// Reads a [`Cover`] record by record into a vector that the caller owns.
pub struct CoverIter<'a> {
    bytes: &'a [u8],
    last_end: u64,
}

impl CoverIter<'_> {
    /// Replaces the content of `ranges` with the next record's and returns its number of lines; `None` behind the last record,
    /// or where the bytes are damaged.
    pub fn next_into(&mut self, ranges: &mut Vec<Range>) -> Option<u32> {
        ranges.clear();
        let lines = u32::try_from(take_varint(&mut self.bytes)?).ok()?;
        for _ in 0..take_varint(&mut self.bytes)? {
            let step = take_varint(&mut self.bytes)?;
            let step = (step >> 1) as i64 ^ -((step & 1) as i64);
            let start = self.last_end.wrapping_add(step as u64);
            let end = start.checked_add(take_varint(&mut self.bytes)?)?;
            ranges.push(Range { start, end });
            self.last_end = end;
        }
        Some(lines)
    }
}

/// Appends `value` as LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a LEB128 value off the front; `None` when it is cut off or longer than 64 bits.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SPAN: u64 = 40;

    fn some_ranges() -> impl Strategy<Value = Vec<Range>> {
        prop::collection::vec((0..SPAN, 0..8u64).prop_map(|(start, len)| Range::new(start, start + len)), 0..12)
    }

    fn offsets(ranges: &[Range]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|range| range.start..range.end).collect()
    }

    proptest! {
        /// The naive twin: a set of single offsets.
        #[test]
        fn ranges_are_sets_of_offsets(ranges in some_ranges(), probe in (0..SPAN, 0..8u64)) {
            let (set, naive): (Ranges, _) = (ranges.iter().copied().collect(), offsets(&ranges));
            let probe = Range::new(probe.0, probe.0 + probe.1);
            prop_assert_eq!(&offsets(set.as_slice()), &naive);
            prop_assert!(set.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start), "sorted, not adjacent");
            prop_assert_eq!(set.covers(probe), (probe.start..probe.end).all(|offset| naive.contains(&offset)));
            prop_assert_eq!(set.touches(probe), (probe.start..probe.end).any(|offset| naive.contains(&offset)));
            prop_assert_eq!(set.low_water(), (0..).find(|offset| !naive.contains(offset)).unwrap_or(0));
            let mut gaps = Vec::new();
            set.gaps_within(probe, &mut gaps);
            let missing: BTreeSet<_> = (probe.start..probe.end).filter(|offset| !naive.contains(offset)).collect();
            prop_assert_eq!(offsets(&gaps), missing);
            prop_assert_eq!(set.to_string().parse::<Ranges>(), Ok(set));
        }

        #[test]
        fn covers_read_back(records in prop::collection::vec((1..4u32, some_ranges()), 0..20)) {
            let mut cover = Cover::default();
            for (lines, ranges) in &records {
                cover.push(*lines, ranges);
            }
            let back = Cover::from_bytes(cover.as_bytes(), records.len()).expect("just written");
            prop_assert_eq!(&back, &cover);
            let (mut iter, mut scratch) = (back.iter(), Vec::new());
            for (lines, ranges) in &records {
                prop_assert_eq!(iter.next_into(&mut scratch), Some(*lines));
                prop_assert_eq!(&scratch, ranges);
            }
            prop_assert_eq!(iter.next_into(&mut scratch), None);
        }

        #[test]
        fn damaged_covers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), records in 0..10usize) {
            if let Some(cover) = Cover::from_bytes(&bytes, records) {
                prop_assert_eq!(cover.as_bytes(), bytes.as_slice());
            }
        }
    }

    #[test]
    fn a_generation_is_known_once_its_first_line_is() {
        assert_eq!(Generation::of_head(b"{\"log\":\"half"), None);
        let whole = Generation::of_head(b"{}\nmore");
        assert_eq!(whole, Generation::of_head(b"{}\n"));
        assert_ne!(whole, Generation::of_head(b"{ }\n"));
        let long = [b'x'; crate::limits::FINGERPRINT_BYTES + 9];
        assert_eq!(Generation::of_head(&long), Generation::of_head(&long[..crate::limits::FINGERPRINT_BYTES]));
        assert_eq!(Generation(0xab).to_string(), "00000000000000ab");
    }
}

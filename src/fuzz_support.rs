//! What `crates/fuzz` plays against: each function takes any bytes and panics when a promise is broken. The oracles stand
//! beside the parts that they judge, whose tests run them on mutated seeds, so that they cannot rot. Not for programs.

pub use crate::collector::fuzz_support::api_stream;
pub use crate::parser::fuzz_support::{envelope, formats, joiner, records};
pub use crate::sender::spool::fuzz_support::spool;

use crate::position::{Cover, Range, Ranges};
use std::collections::BTreeSet;

/// Text as ranges (`x-rask-batch`, the 409 answer): what is read back is sorted, disjoint, and the same set; bytes as a cover are
/// refused or read back the same.
pub fn ranges(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(set) = text.parse::<Ranges>()
    {
        let slice = set.as_slice();
        assert!(slice.iter().all(|range| range.start < range.end), "no empty ranges");
        assert!(slice.windows(2).all(|pair| pair[0].end < pair[1].start), "sorted and apart");
        assert_eq!(set.to_string().parse::<Ranges>().as_ref(), Ok(&set));
        assert_eq!(small(slice), text.split(',').filter_map(numbers).flatten().collect::<BTreeSet<u64>>());
    }
    let Some((&records, bytes)) = data.split_first() else { return };
    if let Some(cover) = Cover::from_bytes(bytes, usize::from(records)) {
        assert_eq!((cover.len(), cover.as_bytes()), (usize::from(records), bytes));
        let (mut again, mut iter, mut scratch) = (Cover::default(), cover.iter(), Vec::new());
        while let Some(lines) = iter.next_into(&mut scratch) {
            again.push(lines, &scratch);
        }
        assert_eq!(again.ranges(), cover.ranges());
    }
}

/// The offsets below 200, one by one.
fn small(ranges: &[Range]) -> BTreeSet<u64> {
    ranges.iter().flat_map(|range| range.start.min(200)..range.end.min(200)).collect()
}

/// The same of a part such as `5-9`.
fn numbers(part: &str) -> Option<std::ops::Range<u64>> {
    let (start, end) = part.split_once('-')?;
    let bound = |text: &str| text.parse::<u64>().ok().map(|number| number.min(200));
    Some(bound(start)?..bound(end)?)
}

/// Plays `judge` on every seed and on some hundred mutations of each; the same ones every time.
#[cfg(test)]
pub(crate) fn mutate(seeds: &[Vec<u8>], judge: fn(&[u8])) {
    let mut rng = fastrand::Rng::with_seed(7);
    for seed in seeds {
        judge(seed);
        for _ in 0..60 {
            let mut bytes = seed.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..=bytes.len());
                match rng.u8(..4) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, rng.u8(..)),
                    2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
                    _ => {
                        let from = rng.usize(..=at);
                        let piece = bytes[from..at].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            judge(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_covers() {
        let seeds = ["0-500,620-700", "", "5-5", "9-3", "18446744073709551615-18446744073709551615", "1-2,2-3,0-9"];
        mutate(&seeds.map(|seed| seed.as_bytes().to_vec()), ranges);
        let mut cover = Cover::default();
        cover.push(1, &[Range::new(0, 10)]);
        cover.push(2, &[Range::new(30, 40), Range::new(10, 20)]);
        mutate(&[[&[2], cover.as_bytes()].concat()], ranges);
    }
}

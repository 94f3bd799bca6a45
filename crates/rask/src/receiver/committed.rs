//! Which bytes of which logs are stored: the rule of `docs/wire-format.md` that makes delivery exactly once.

use rask_log_forwarder::position::Ranges;
use std::collections::{BTreeMap, VecDeque};

/// Batches that cover nothing of which a source remembers the bodies.
const BODIES: usize = 64;

/// What a batch is to a receiver that has some of its source already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of it is here: store it.
    Fresh,
    /// All of it is here: say so, store nothing.
    Duplicate,
    /// Some of it is here: refuse it with what is here.
    Overlap(Ranges),
}

/// The committed ranges of every source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed(BTreeMap<(String, u64), Source>);

/// What is stored of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    ranges: Ranges,
    /// Hashes of the last bodies that covered nothing, oldest first.
    bodies: VecDeque<u64>,
}

impl Committed {
    /// Judges a batch. One that covers nothing is told by the hash of its `body`, and fresh where there is none.
    pub fn judge(&self, container: &str, generation: u64, cover: &Ranges, body: Option<u64>) -> Verdict {
        let have = self.of(container, generation);
        if cover.is_empty() {
            let known = body.is_some_and(|body| self.bodies(container, generation).any(|known| known == body));
            return if known { Verdict::Duplicate } else { Verdict::Fresh };
        }
        if !cover.as_slice().iter().any(|range| have.touches(*range)) {
            Verdict::Fresh
        } else if cover.as_slice().iter().all(|range| have.covers(*range)) {
            Verdict::Duplicate
        } else {
            Verdict::Overlap(have)
        }
    }

    /// Adds a batch that has been stored.
    pub fn commit(&mut self, container: &str, generation: u64, cover: &Ranges, body: Option<u64>) {
        let source = self.0.entry((container.to_owned(), generation)).or_default();
        source.ranges.union(cover);
        if let Some(body) = body.filter(|_| cover.is_empty()) {
            if source.bodies.len() == BODIES {
                source.bodies.pop_front();
            }
            source.bodies.push_back(body);
        }
    }

    /// What is stored of a source.
    pub fn of(&self, container: &str, generation: u64) -> Ranges {
        self.0.get(&(container.to_owned(), generation)).map(|source| source.ranges.clone()).unwrap_or_default()
    }

    /// Hashes of the bodies that are remembered of a source, oldest first.
    pub fn bodies(&self, container: &str, generation: u64) -> impl Iterator<Item = u64> {
        self.0.get(&(container.to_owned(), generation)).into_iter().flat_map(|source| source.bodies.iter().copied())
    }

    /// Every source: container, generation, ranges.
    pub fn sources(&self) -> impl Iterator<Item = (&str, u64, &Ranges)> {
        self.0.iter().map(|((container, generation), source)| (container.as_str(), *generation, &source.ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn fresh_duplicate_overlap() {
        let mut committed = Committed::default();
        committed.commit("a", 1, &"0-500,620-700".parse().unwrap(), None);
        let judge =
            |container, generation, cover: &str| committed.judge(container, generation, &cover.parse().unwrap(), None);
        let check = |cover: &str, want: Verdict| assert_eq!(judge("a", 1, cover), want, "{cover}");
        let overlap = || Verdict::Overlap("0-500,620-700".parse().unwrap());
        check("500-620", Verdict::Fresh);
        check("700-800", Verdict::Fresh);
        check("500-510,800-900", Verdict::Fresh);
        check("", Verdict::Fresh);
        check("0-500", Verdict::Duplicate);
        check("10-20,630-640", Verdict::Duplicate);
        check("0-501", overlap());
        check("400-650", overlap());
        check("0-10,800-900", overlap());
        assert_eq!(judge("a", 2, "0-500"), Verdict::Fresh, "another generation");
        assert_eq!(judge("b", 1, "0-500"), Verdict::Fresh, "another container");
    }

    #[test]
    fn what_covers_nothing_is_told_by_its_body() {
        let (mut committed, nothing) = (Committed::default(), Ranges::default());
        let bodies = 0..BODIES as u64 + 1;
        for body in bodies.clone() {
            assert_eq!(committed.judge("a", 1, &nothing, Some(body)), Verdict::Fresh);
            committed.commit("a", 1, &nothing, Some(body));
            assert_eq!(committed.judge("a", 1, &nothing, Some(body)), Verdict::Duplicate);
        }
        let known = |body: &u64| committed.judge("a", 1, &nothing, Some(*body)) == Verdict::Duplicate;
        assert_eq!(bodies.filter(known).count(), BODIES, "memory is bounded");
        assert_eq!(committed.judge("a", 2, &nothing, Some(5)), Verdict::Fresh, "another generation");
        assert_eq!(committed.judge("a", 1, &nothing, None), Verdict::Fresh, "nobody can tell");
        assert_eq!(committed.judge("a", 1, &"0-9".parse().unwrap(), Some(5)), Verdict::Fresh, "told by its cover");
    }

    fn ranges(offsets: &BTreeSet<u64>) -> Ranges {
        offsets.iter().map(|at| rask_log_forwarder::position::Range::new(*at, at + 1)).collect()
    }

    proptest! {
        /// Against sets of single offsets, over a whole history of batches.
        #[test]
        fn agrees_with_sets(batches in prop::collection::vec(prop::collection::btree_set(0u64..24, 0..6), 0..12)) {
            let (mut committed, mut set) = (Committed::default(), BTreeSet::new());
            for batch in &batches {
                let cover = ranges(batch);
                let want = if batch.is_disjoint(&set) {
                    Verdict::Fresh
                } else if batch.is_subset(&set) {
                    Verdict::Duplicate
                } else {
                    Verdict::Overlap(ranges(&set))
                };
                let verdict = committed.judge("a", 1, &cover, None);
                prop_assert_eq!(&verdict, &want);
                if verdict == Verdict::Fresh {
                    committed.commit("a", 1, &cover, None);
                    set.extend(batch);
                }
            }
            prop_assert_eq!(committed.of("a", 1), ranges(&set));
        }
    }
}

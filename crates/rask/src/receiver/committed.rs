//! Which bytes of which logs are stored: the rule of `docs/wire-format.md` that makes delivery exactly once.

use rask_log_forwarder::position::Ranges;
use std::collections::BTreeMap;

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
pub struct Committed(BTreeMap<(String, u64), Ranges>);

impl Committed {
    /// Judges a batch. One that covers nothing is always fresh.
    pub fn judge(&self, container: &str, generation: u64, cover: &Ranges) -> Verdict {
        let have = self.of(container, generation);
        if !cover.as_slice().iter().any(|range| have.touches(*range)) {
            Verdict::Fresh
        } else if cover.as_slice().iter().all(|range| have.covers(*range)) {
            Verdict::Duplicate
        } else {
            Verdict::Overlap(have)
        }
    }

    /// Adds the cover of a batch that has been stored.
    pub fn commit(&mut self, container: &str, generation: u64, cover: &Ranges) {
        self.0.entry((container.to_owned(), generation)).or_default().union(cover);
    }

    /// What is stored of a source.
    pub fn of(&self, container: &str, generation: u64) -> Ranges {
        self.0.get(&(container.to_owned(), generation)).cloned().unwrap_or_default()
    }

    /// Every source: container, generation, ranges.
    pub fn sources(&self) -> impl Iterator<Item = (&str, u64, &Ranges)> {
        self.0.iter().map(|((container, generation), ranges)| (container.as_str(), *generation, ranges))
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
        committed.commit("a", 1, &"0-500,620-700".parse().unwrap());
        let check =
            |cover: &str, want: Verdict| assert_eq!(committed.judge("a", 1, &cover.parse().unwrap()), want, "{cover}");
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
        assert_eq!(committed.judge("a", 2, &"0-500".parse().unwrap()), Verdict::Fresh, "another generation");
        assert_eq!(committed.judge("b", 1, &"0-500".parse().unwrap()), Verdict::Fresh, "another container");
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
                let verdict = committed.judge("a", 1, &cover);
                prop_assert_eq!(&verdict, &want);
                if verdict == Verdict::Fresh {
                    committed.commit("a", 1, &cover);
                    set.extend(batch);
                }
            }
            prop_assert_eq!(committed.of("a", 1), ranges(&set));
        }
    }
}

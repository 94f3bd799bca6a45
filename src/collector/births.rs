//! Files that had the log's name and were never seen: how often the directory says that the name was given to a file, held
//! against the files found.
//!
//! With `max-file=1` a rotation leaves nothing behind, so that several of them between two looks cannot be told from one by
//! looking. Their events can: one for each file. But events and looks run apart: a file may be found before its event is read,
//! and an event be read before its file is found.
//!
//! - Asked before a look, the count is of files that the look finds, or that are gone. So after a look, more events than files
//!   are files that nobody saw.
//! - More files than events are events still to come, or events from before the watch. Which of the two is known when the
//!   kernel holds no unread event: then they are from before, and are forgotten.
//! - At the beginning, and after the kernel has lost events, nothing is claimed until that moment has come.
//!
//! No I/O, no clock, no tokio.

use super::watch;

/// The account of one watch.
#[derive(Debug, Default)]
pub struct Births {
    /// Files found.
    found: u64,
    /// The kernel's losses of events that are known.
    losses: u64,
    /// `found` and the events have been on a par once since the beginning or the last loss.
    settled: bool,
}

/// What the account shows after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// No file that had the name was missed.
    None,
    /// So many files had the name and were never seen.
    Files(u64),
    /// The kernel has lost events, and the log is another one than before.
    Unknown,
}

impl Births {
    /// Takes in a look at the directory. `events` and `quiet` (no event unread) are from before it, `found` are the files
    /// that it showed for the first time; all there was has been found.
    pub fn looked(&mut self, events: watch::Births, quiet: bool, found: u64) -> Unseen {
        self.found += found;
        let lost = events.losses != self.losses;
        let begun = self.settled;
        let unseen = match begun && !lost {
            true => events.count.saturating_sub(self.found),
            false => 0,
        };
        self.found += unseen;
        let ahead = self.found > events.count;
        self.losses = events.losses;
        self.settled &= !lost;
        // What was found just now may have its event still to come.
        if quiet && found == 0 {
            self.found = events.count;
            self.settled = true;
        }
        match unseen {
            0 if lost && begun && ahead => Unseen::Unknown,
            0 => Unseen::None,
            files => Unseen::Files(files),
        }
    }

    /// Files found of which the look was not complete.
    pub fn found(&mut self, found: u64) {
        self.found += found;
    }

    /// Whether the account is even, so that `quiet` need not be asked for.
    pub fn is_even(&self, events: watch::Births) -> bool {
        self.is_settled(events) && self.found == events.count
    }

    /// Whether every file that was missed is claimed to be.
    pub fn is_settled(&self, events: watch::Births) -> bool {
        self.settled && self.losses == events.losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(count: u64, losses: u64) -> watch::Births {
        watch::Births { count, losses }
    }

    #[test]
    fn nothing_is_claimed_before_the_account_is_even() {
        let mut births = Births::default();
        // Events from before the watch, which another watch had asked for.
        assert_eq!(births.looked(events(3, 0), false, 1), Unseen::None);
        assert_eq!(births.looked(events(5, 0), true, 0), Unseen::None);
        assert_eq!(births.looked(events(8, 0), true, 1), Unseen::Files(2));
        assert_eq!(births.looked(events(8, 0), true, 0), Unseen::None);
    }

    #[test]
    fn lost_events_are_unknown_where_the_log_is_another() {
        let mut births = Births::default();
        births.looked(events(0, 0), true, 0);
        assert_eq!(births.looked(events(0, 1), true, 0), Unseen::None, "the log is the same");
        assert_eq!(births.looked(events(0, 2), true, 1), Unseen::Unknown);
        births.looked(events(0, 2), true, 0);
        // The file is found first, the loss is noticed later.
        assert_eq!(births.looked(events(0, 2), false, 1), Unseen::None);
        assert_eq!(births.looked(events(0, 3), false, 0), Unseen::Unknown);
    }

    proptest! {
        /// Files appear, are replaced, are found, their events are read, in any order that can be: none is missed, and none
        /// is called missed that was found.
        #[test]
        fn what_was_not_found_is_counted(steps in prop::collection::vec((0..4u64, any::<bool>(), any::<bool>()), 1..60)) {
            let mut births = Births::default();
            births.looked(events(0, 0), true, 0);
            let (mut born, mut read, mut missed, mut said, mut seen) = (0, 0, 0, 0, 0);
            for (new, reads, between) in steps {
                // Some appear before the events are asked for, one perhaps between that and the look.
                born += new;
                if reads {
                    read = born;
                }
                let (asked, quiet) = (events(read, 0), read == born);
                born += u64::from(between);
                let fresh = born - seen;
                seen = born;
                let found = u64::from(fresh > 0);
                missed += fresh.saturating_sub(1);
                if let Unseen::Files(files) = births.looked(asked, quiet, found) {
                    said += files;
                }
                prop_assert!(said <= missed);
            }
            if let Unseen::Files(files) = births.looked(events(born, 0), true, 0) {
                said += files;
            }
            prop_assert_eq!(said, missed);
        }
    }
}

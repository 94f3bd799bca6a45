//! Memory that is given back: large blocks as soon as they are freed, and the code of the start once it has run.
//!
//! glibc serves large blocks by `mmap` and gives them back when they are freed; but each one freed raises the size from which it does so, up
//! to 32 MiB, and from then on they come from a heap that keeps them. A few bodies of a MiB, held and freed in turn, then cost
//! twice what they hold: 17.2 instead of 15.1 MB at the peak of `tests/it/memory.rs` with messages of 1 MiB on both streams.
//! Setting the size ends the raising. On other C libraries nothing is done.

/// Blocks from this size on are given back when they are freed.
#[cfg(target_env = "gnu")]
const MMAP_BYTES: std::ffi::c_int = 128 << 10;
/// Free bytes at the end of the heap above which they are given back.
#[cfg(target_env = "gnu")]
const TRIM_BYTES: std::ffi::c_int = 256 << 10;

/// Sets the allocator up. Call it first, while there is one thread.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_back_early() {
    // SAFETY: mallopt(3) takes two integers and changes the allocator's settings under its own lock. That it may refuse
    // changes nothing but how much memory is taken.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
    }
}

/// Nothing to set.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_early() {}

/// Lets go of the pages of the program's code that have been touched so far; what is used from now on comes back
/// from the page cache, 64 KiB at a time. Much of what a forwarder at rest holds is code that only its start has run: command
/// line, configuration, recovery, building of patterns.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn forget_start() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for range in maps.lines().filter_map(clean_mapping) {
        // SAFETY: the mapping is private and of a file, and nothing has been written to it: the linker gives what is to be
        // relocated a segment of its own. So every page that is dropped comes back with the same bytes when it is touched.
        unsafe {
            libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Nothing is let go of.
#[cfg(not(target_os = "linux"))]
pub fn forget_start() {}

/// The addresses of a line of `/proc/PID/maps` (proc_pid_maps(5)) that is a private mapping of code in a file.
#[cfg(target_os = "linux")]
fn clean_mapping(line: &str) -> Option<std::ops::Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (addresses, access) = (words.next()?, words.next()?);
    // Behind them offset, device and inode; then the file, which neither the kernel's own code nor anonymous memory has.
    let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    (access == "r-xp" && is_file).then_some(address(start)?..address(end)?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_in_files() {
        let check = |line: &str, expected| assert_eq!(clean_mapping(line), expected, "{line}");
        check("1000-3000 r-xp 001c6000 fe:00 10011466                   /rask-log-forwarder", Some(0x1000..0x3000));
        check(
            "1000-3000 r-xp 001c6000 fe:00 10011466                   /rask-log-forwarder (deleted)",
            Some(0x1000..0x3000),
        );
        check("1000-3000 r--p 001c6000 fe:00 10011466                   /rask-log-forwarder", None);
        check("1000-3000 rw-p 001c6000 fe:00 10011466                   /rask-log-forwarder", None);
        check("1000-3000 r-xs 001c6000 fe:00 10011466                   /rask-log-forwarder", None);
        check("1000-3000 r-xp 00000000 00:00 0                          [vdso]", None);
        check("1000-3000 r-xp 00000000 00:00 0", None);
        check("", None);
    }

    #[test]
    fn what_was_touched_goes() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let kib = status.lines().find_map(|line| line.strip_prefix("RssFile:")?.strip_suffix("kB")).unwrap();
            kib.trim().parse::<u64>().unwrap()
        };
        let before = resident();
        forget_start();
        let after = resident();
        assert!(after < before, "{after} KiB of {before}");
    }
}

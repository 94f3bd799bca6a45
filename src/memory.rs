//! How the C library's allocator gives memory back: at once, what is large.
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

//! `rask_log_forwarder::fuzz_support::formats`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rask_log_forwarder::fuzz_support::formats(data));

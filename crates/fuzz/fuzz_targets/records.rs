//! `rask_log_forwarder::fuzz_support::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rask_log_forwarder::fuzz_support::records(data));

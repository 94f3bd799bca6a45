//! From records to acknowledged batches.
pub mod batch;
pub mod http;
pub mod retry;
pub mod spool;

//! From records to acknowledged batches.
pub mod batch;
pub mod spool;

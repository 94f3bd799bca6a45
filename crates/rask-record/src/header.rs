//! Names of the request's headers, lower case, and the fixed values.

/// What the batch is: see [`BatchHeader`](crate::BatchHeader).
pub const BATCH: &str = "x-rask-batch";
/// Number of records in the body.
pub const BATCH_SIZE: &str = "x-batch-size";
/// A UUID made from `x-rask-batch`, for receivers that know only it.
pub const BATCH_ID: &str = "x-batch-id";
/// Always [`BATCH_TYPE_LOGS`].
pub const BATCH_TYPE: &str = "x-batch-type";
/// Version of the sending program.
pub const FORWARDER_VERSION: &str = "x-forwarder-version";

/// Value of `content-type`.
pub const NDJSON: &str = "application/x-ndjson";
/// Value of `x-batch-type`.
pub const BATCH_TYPE_LOGS: &str = "logs";

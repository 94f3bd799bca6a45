//! The formats of the inner line.

/// A format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON of Go's loggers (`slog`, `zap`, `zerolog`, `logrus`).
    Go,
    /// nginx access and error log.
    Nginx,
    /// PostgreSQL stderr log.
    Postgres,
    /// Anything.
    Plain,
}

//! The configuration as written: flags, environment, file.

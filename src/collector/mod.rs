//! stub
pub mod checkpoint;
pub mod containers_dir;
pub mod docker;
pub mod monitor;
pub mod stream;
pub mod tail;
pub mod watch;

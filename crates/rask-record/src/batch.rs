//! `x-rask-batch`: which bytes of which log a batch was made from.

use std::fmt;

/// The header's parts. The cover stays text here: whoever computes with ranges has a type for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchHeader<'a> {
    /// 64 hexadecimal digits.
    pub container: &'a str,
    /// Which log file of the container, written as 16 hexadecimal digits.
    pub generation: u64,
    /// `0-500,620-700`; may be empty.
    pub cover: &'a str,
    /// Hash of the body, written as 16 hexadecimal digits: what a batch whose cover is empty is told by.
    pub body: Option<u64>,
}

/// Why a header is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeaderError(&'static str);

impl fmt::Display for BatchHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x-rask-batch: {}", self.0)
    }
}

impl std::error::Error for BatchHeaderError {}

impl<'a> BatchHeader<'a> {
    /// Reads version 1. Keys may come in any order; unknown keys are passed over, so that version 1 can grow.
    pub fn parse(text: &'a str) -> Result<Self, BatchHeaderError> {
        let (mut version, mut container, mut generation, mut cover, mut body) = (None, None, None, None, None);
        for part in text.split(';') {
            let (key, value) = part.split_once('=').ok_or(BatchHeaderError("a part without ="))?;
            match key {
                "v" => version = Some(value),
                "container" => container = Some(value),
                "generation" => generation = Some(value),
                "cover" => cover = Some(value),
                "body" => body = Some(value),
                _ => {}
            }
        }
        if version != Some("1") {
            return Err(BatchHeaderError("version is not 1"));
        }
        let container = container.filter(|id| is_hex(id, 64)).ok_or(BatchHeaderError("container is not 64 digits"))?;
        let generation = generation.and_then(number).ok_or(BatchHeaderError("generation is not 16 digits"))?;
        let cover = cover
            .filter(|cover| cover.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b',')))
            .ok_or(BatchHeaderError("cover is not a list of ranges"))?;
        let body = body.map(|digits| number(digits).ok_or(BatchHeaderError("body is not 16 digits"))).transpose()?;
        Ok(Self { container, generation, cover, body })
    }
}

fn number(digits: &str) -> Option<u64> {
    u64::from_str_radix(Some(digits).filter(|digits| is_hex(digits, 16))?, 16).ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The header's value.
impl fmt::Display for BatchHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=1;container={};generation={:016x};cover={}", self.container, self.generation, self.cover)?;
        self.body.map_or(Ok(()), |body| write!(f, ";body={body:016x}"))
    }
}

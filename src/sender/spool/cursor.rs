//! The two cursor slots: the whole [`State`], written alternately in place, so that one of them is always intact.
//!
//! A slot is preallocated and overwritten, so that a checkpoint needs no new space on a full disk.

use super::state::State;
use super::{disk, fault};
use std::fs::File;
use std::io;
use std::path::Path;

const MAGIC: [u8; 4] = [0xF5, b'R', b'S', b'C'];
const VERSION: u32 = 1;
const HEAD: usize = 24;
/// Space bought when a slot is created.
const PREALLOCATED: u64 = 64 << 10;
/// Longest slot that is believed.
const MAX_BYTES: u64 = 64 << 20;

/// Names of the slots, by parity of the sequence number.
pub(super) const SLOTS: [&str; 2] = ["cursor.a", "cursor.b"];

/// Both slots, open for writing.
pub(super) struct Cursors {
    files: [File; 2],
    sequence: u64,
    scratch: Vec<u8>,
}

/// What reading the slots found out.
pub(super) struct Loaded {
    /// The newest intact state, if any.
    pub(super) state: Option<State>,
    sequence: u64,
    /// Whether there is content in which no slot is intact.
    pub(super) damaged: bool,
}

impl Cursors {
    /// Opens the slots, creating what is missing, and goes on behind what was loaded.
    pub(super) fn open(dir: &Path, loaded: &Loaded) -> io::Result<Self> {
        let open = |name| -> io::Result<File> {
            let file = fault::open(disk::private().create(true).truncate(false), &dir.join(name))?;
            let len = file.metadata()?.len();
            if len < PREALLOCATED {
                fault::write_all_at(&file, &vec![0; (PREALLOCATED - len) as usize], len)?;
                fault::sync_all(&file)?;
            }
            Ok(file)
        };
        Ok(Self { files: [open(SLOTS[0])?, open(SLOTS[1])?], sequence: loaded.sequence, scratch: Vec::new() })
    }

    /// Writes the state over the older slot; durable when it returns. A failure leaves the newer slot as it is.
    /// Returns the bytes written.
    pub(super) fn write(&mut self, state: &State) -> io::Result<usize> {
        let sequence = self.sequence + 1;
        let out = &mut self.scratch;
        out.clear();
        out.resize(HEAD, 0);
        state.encode(out);
        let len = (out.len() - HEAD) as u32;
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&sequence.to_le_bytes());
        out[16..20].copy_from_slice(&len.to_le_bytes());
        let crc = crc(out);
        out[20..24].copy_from_slice(&crc.to_le_bytes());
        let file = &self.files[(sequence % 2) as usize];
        fault::write_all_at(file, out, 0)?;
        fault::sync_data(file)?;
        self.sequence = sequence;
        let written = out.len();
        super::frame::trim(out);
        Ok(written)
    }
}

/// Reads both slots without a lock: the newest intact one counts.
///
/// # Errors
/// When a slot is there and cannot be read.
pub(super) fn load(dir: &Path) -> io::Result<Loaded> {
    let mut loaded = Loaded { state: None, sequence: 0, damaged: false };
    for name in SLOTS {
        let bytes = match File::open(dir.join(name)) {
            Ok(file) => read(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match decode(&bytes) {
            Some((sequence, state)) if sequence >= loaded.sequence => {
                loaded.sequence = sequence;
                loaded.state = Some(state);
            }
            Some(_) => {}
            None => loaded.damaged |= bytes.iter().any(|byte| *byte != 0),
        }
    }
    loaded.damaged &= loaded.state.is_none();
    Ok(loaded)
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len().min(MAX_BYTES) as usize];
    super::segment::read_lenient(file, &mut bytes, 0);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<(u64, State)> {
    let head = bytes.first_chunk::<HEAD>()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let end = HEAD.checked_add(word(16) as usize)?;
    let all = bytes.get(..end)?;
    if head[..4] != MAGIC || word(4) != VERSION || word(20) != crc(all) {
        return None;
    }
    Some((u64::from(word(8)) | u64::from(word(12)) << 32, State::decode(&all[HEAD..])?))
}

fn crc(slot: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&slot[4..20]);
    crc.update(&slot[HEAD..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Generation, Range, Ranges};
    use crate::source::SourceKey;

    fn state(end: u64) -> State {
        let mut state = State::default();
        let key = SourceKey { container: "c".into(), generation: Generation(1) };
        state.add(&key, &Ranges::from_iter([Range::new(0, end)]), end);
        state.changed.clear();
        state
    }

    #[test]
    fn damage_to_either_slot_costs_at_most_one_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let mut cursors = Cursors::open(dir.path(), &load(dir.path()).unwrap()).unwrap();
        for end in 1..=5 {
            cursors.write(&state(end)).unwrap();
        }
        let whole = SLOTS.map(|name| std::fs::read(dir.path().join(name)).unwrap());
        for slot in 0..2 {
            // The newest, sequence 5, stands in slot b.
            let left = if slot == 1 { 4 } else { 5 };
            for at in 0..60 {
                let mut bytes = whole[slot].clone();
                bytes[at] ^= 0x10;
                std::fs::write(dir.path().join(SLOTS[slot]), &bytes).unwrap();
                let loaded = load(dir.path()).unwrap();
                let intact = at >= HEAD + crate_len(&whole[slot]);
                assert_eq!(loaded.state, Some(state(if intact { 5 } else { left })), "flip at {at} of slot {slot}");
                assert!(!loaded.damaged);
            }
            std::fs::write(dir.path().join(SLOTS[slot]), &whole[slot]).unwrap();
        }
    }

    fn crate_len(slot: &[u8]) -> usize {
        u32::from_le_bytes(slot[16..20].try_into().unwrap()) as usize
    }

    #[test]
    fn after_damage_the_intact_slot_is_not_overwritten_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut cursors = Cursors::open(dir.path(), &load(dir.path()).unwrap()).unwrap();
        cursors.write(&state(1)).unwrap();
        cursors.write(&state(2)).unwrap();
        // Sequence 2 (slot a) is torn; 1 (slot b) is all there is.
        std::fs::write(dir.path().join(SLOTS[0]), b"torn").unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.state, Some(state(1)));
        Cursors::open(dir.path(), &loaded).unwrap().write(&state(3)).unwrap();
        std::fs::write(dir.path().join(SLOTS[0]), b"torn").unwrap();
        assert_eq!(load(dir.path()).unwrap().state, Some(state(1)), "slot b must still be there");
    }

    #[test]
    fn nothing_is_not_damage() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!load(dir.path()).unwrap().damaged);
        drop(Cursors::open(dir.path(), &load(dir.path()).unwrap()).unwrap());
        let loaded = load(dir.path()).unwrap();
        assert!(!loaded.damaged && loaded.state.is_none());
        std::fs::write(dir.path().join(SLOTS[0]), b"what is this").unwrap();
        assert!(load(dir.path()).unwrap().damaged);
    }
}

//! Dead letters on their way back: every one comes into the spool, in order, as it was; what a crash, a full disk or a torn
//! file leaves is neither lost nor hidden.

use super::*;
use fault::faulty::{self, Disk};

/// A letter whose place and record say which one it is.
fn numbered(number: u64, bytes: usize) -> DeadLetter {
    let mut random = fastrand::Rng::with_seed(number);
    let pad: String = (0..bytes).map(|_| random.alphanumeric()).collect();
    let record = format!(r#"{{"message":"letter {number}","pad":"{pad}"}}"#);
    let cover = Ranges::from_iter([Range::new(number * 10, number * 10 + 5)]);
    DeadLetter {
        key: key(1),
        cover,
        carried: Vec::new(),
        lines: 2,
        record: (record + "\n").into(),
        status: 400,
        answer: "no".into(),
    }
}

fn keep(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        run(store.dead_letter(numbered(number, 10))).unwrap();
    }
}

/// Which letters the spool holds, checked to be whole.
fn spooled(store: &Store, bytes: usize) -> Vec<u64> {
    let number = |batch: &Batch| {
        let number = batch.cover.ranges().as_slice()[0].start / 10;
        let letter = numbered(number, bytes);
        assert_eq!((&batch.key, &batch.body, batch.lines), (&letter.key, &letter.record, letter.lines));
        assert_eq!((batch.cover.ranges(), batch.records()), (letter.cover, 1));
        number
    };
    run(drain(store)).iter().map(|(_, batch)| number(batch)).collect()
}

fn files(dir: &Path) -> Vec<String> {
    disk::names(&dir.join("dead"))
}

fn moved(letters: u64) -> Moved {
    Moved { letters, lines: letters * 2, ..Moved::default() }
}

#[test]
fn letters_come_back_in_order_and_the_books_balance() {
    let dir = scratch();
    let (store, _, metrics) = open(dir.path());
    assert_eq!(run(store.drain_dead_letters()), Ok(Moved::default()), "there are none");
    // More than one slice of them.
    keep(&store, 0..200);
    let waiting = run(store.append(&batch_at(2, 0, 1, 10))).unwrap();
    assert_eq!(run(store.drain_dead_letters()), Ok(moved(200)));
    run(store.refilled());
    assert_eq!(run(store.next(None)).unwrap().0, waiting, "they come behind what waits already");
    store.retire(waiting, 1);
    assert_eq!(spooled(&store, 10), (0..200).collect::<Vec<_>>());
    assert_eq!((metrics.lines_recovered.get(), pending(&metrics)), (400, 400));
    assert_eq!(files(dir.path()), [] as [String; 0]);
    keep(&store, 200..201);
    assert_eq!(files(dir.path()), ["dead-letters.ndjson"], "a new file for what is refused from now on");
    assert_eq!(run(store.drain_dead_letters()), Ok(moved(1)));
    run(store.sync()).unwrap();
    store.crash();
    let (store, recovered, _) = open(dir.path());
    assert_eq!((recovered.frames, spooled(&store, 10).len()), (201, 201), "durable");
}

/// The files as a crash leaves them at each point of a drain.
#[test]
fn what_a_crash_leaves_is_taken_up_again() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    keep(&store, 0..3);
    store.crash();
    let (file, draining) = (dir.path().join(dead::FILE), dir.path().join(dead::DRAINING));
    // Renamed, the first one durable in the spool and marked.
    fs::rename(&file, &draining).unwrap();
    flip_to(&draining, 0, b'#');
    let (store, _, metrics) = open(dir.path());
    wait_until(|| !draining.exists());
    run(store.sync()).unwrap();
    assert_eq!(spooled(&store, 10), [1, 2]);
    assert_eq!((metrics.lines_recovered.get(), pending(&metrics)), (4, 4));
    keep(&store, 3..5);
    store.crash();
    // Renamed and nothing more, while others have been refused since: only what was on its way is taken up by itself.
    fs::rename(&file, &draining).unwrap();
    let (store, _, _) = open(dir.path());
    keep(&store, 5..6);
    wait_until(|| !draining.exists());
    run(store.sync()).unwrap();
    assert_eq!(spooled(&store, 10), [1, 2, 3, 4]);
    assert_eq!(dead_letters(dir.path(), |_| Ok(())).unwrap().letters, 1);
    store.crash();
    // All marked, not yet deleted; a drain that is asked for takes the other file as well.
    fs::write(&draining, b"#\"time_ms\":1}\n").unwrap();
    let (store, _, _) = open(dir.path());
    assert_eq!(run(store.drain_dead_letters()), Ok(moved(1)));
    assert_eq!(spooled(&store, 10), [1, 2, 3, 4, 5]);
    assert_eq!((files(dir.path()), quarantined(dir.path())), (vec![], vec![]));
}

fn flip_to(path: &Path, at: u64, byte: u8) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[byte], at).unwrap();
}

fn wait_until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_torn_or_damaged_letter_costs_only_itself() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    keep(&store, 0..3);
    store.close();
    let path = dir.path().join(dead::FILE);
    let good = fs::read_to_string(&path).unwrap();
    let [first, second, third] = good.lines().collect::<Vec<_>>()[..] else { panic!("{good}") };
    let bad = [
        second[..second.len() / 2].to_owned(),
        "x".repeat(300_000),
        second.replace(r#""record":"{"#, r#""record":"["#),
        second.replace(r#"letter 1\""#, r#"letter 1\"\n"#).replace("pad", "pad\\n"),
        second.replace("10-15", "15-10"),
        second.replace(&"01".repeat(32), "no header; this"),
        second.replace(r#""generation":""#, r#""generation":"zz"#),
        "{}".to_owned(),
        "\u{0}\u{0}\u{0}".to_owned(),
    ];
    assert!(bad.iter().all(|bad| bad != second), "each differs");
    let without_lines = third.replace(r#""lines":2,"#, "");
    let torn = &first[..first.len() - 3];
    fs::write(
        &path,
        [&[first], &bad.each_ref().map(String::as_str)[..], &["", &without_lines, torn]].concat().join("\n"),
    )
    .unwrap();
    assert_eq!(dead_letters(dir.path(), |_| Ok(())).unwrap().damaged, 10);
    let (store, _, _) = open(dir.path());
    let found = run(store.drain_dead_letters()).unwrap();
    assert_eq!(
        (found.letters, found.lines, found.damaged, found.left),
        (2, 3, 10, 0),
        "a letter of old stands for one line"
    );
    let covers: Vec<_> = run(super::drain(&store)).iter().map(|(_, batch)| batch.cover.ranges().to_string()).collect();
    assert_eq!(covers, ["0-5", "20-25"]);
    let kept = quarantined(dir.path());
    assert!(kept.len() == 1 && kept[0].starts_with("dead-letters.ndjson-"), "{kept:?}");
    assert_eq!(run(store.drain_dead_letters()), Ok(Moved::default()), "said once");
    assert_eq!(store.usage().bytes, layout(dir.path()).iter().map(|(_, _, len, _)| len).sum::<u64>());
}

#[test]
fn what_does_not_fit_stays_and_follows_later() {
    let dir = scratch();
    let (store, _, metrics) = open_as(dir.path(), 1 << 20, true);
    let pad = 50_000;
    for number in 0..18 {
        run(store.dead_letter(numbered(number, pad))).unwrap();
    }
    let (mut all, mut left) = (Vec::new(), 18);
    while left > 0 {
        let moved = run(store.drain_dead_letters()).unwrap();
        assert_eq!((moved.letters + moved.left, moved.stopped.is_some()), (left, moved.left > 0), "{moved:?}");
        assert!(moved.letters > 0 && (left < 18 || moved.left > 0), "some fit, not all: {moved:?}");
        left = moved.left;
        let listed = dead_letters(dir.path(), |_| Ok(())).unwrap();
        assert_eq!((listed.letters, listed.draining), (left, left));
        all.extend(spooled(&store, pad));
        run(super::drain(&store)).iter().for_each(|(id, batch)| store.retire(*id, batch.lines));
        run(store.sync()).unwrap();
    }
    assert_eq!(all, (0..18).collect::<Vec<_>>(), "each once");
    assert_eq!(metrics.lines_recovered.get(), 36);
    assert_eq!(files(dir.path()), [] as [String; 0]);
}

#[test]
fn looking_changes_nothing_and_shows_what_is_there() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    keep(&store, 0..4);
    let ids: Vec<_> = (0..3).map(|i| run(store.append(&batch_at(2, i * 10, 10, 40))).unwrap()).collect();
    store.retire(ids[0], 10);
    run(store.sync()).unwrap();
    let (segment, at, ..) = layout(dir.path())[1];
    flip(&dir.path().join("spool").join(journal::name(segment)), at + 200, 3);
    let before = snapshot(dir.path());
    let mut bodies = Vec::new();
    let damaged = export(dir.path(), |batch| {
        bodies.push(batch.body.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!((damaged, bodies), (1, vec![batch_at(2, 20, 10, 40).body]));
    let mut records = Vec::new();
    let listed = dead_letters(dir.path(), |letter| {
        records.push(letter);
        Ok(())
    })
    .unwrap();
    assert_eq!((listed.letters, listed.lines, listed.draining, listed.damaged), (4, 8, 0, 0));
    assert!(
        records.iter().zip(0..).all(|(letter, number)| numbered(number, 10).record == letter.record.clone() + "\n")
    );
    let broken = export(dir.path(), |_| Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
    assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(snapshot(dir.path()), before);
    assert!(!list(dir.path()).unwrap().blind);
    store.crash();
    for slot in cursor::SLOTS {
        fs::write(dir.path().join(slot), b"\xffgarbage").unwrap();
    }
    assert!(list(dir.path()).unwrap().blind);
}

/// Names and content of all files but the index.
fn snapshot(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let below =
        |name: &str| disk::names(&dir.join(name)).into_iter().map(|file| dir.join(name).join(file)).collect::<Vec<_>>();
    let paths = [below("spool"), below("dead"), below("quarantine"), cursor::SLOTS.map(|slot| dir.join(slot)).to_vec()];
    paths.concat().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A person may edit the letters while the forwarder runs: editors write a new file under the name, or in place.
#[test]
fn letters_that_were_edited_are_added_to() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    keep(&store, 0..3);
    let path = dir.path().join(dead::FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let without_first = text.split_once('\n').unwrap().1;
    std::fs::write(path.with_extension("new"), without_first).unwrap();
    std::fs::rename(path.with_extension("new"), &path).unwrap();
    keep(&store, 3..4);
    let text = std::fs::read_to_string(&path).unwrap();
    let without_last_two = text.split_inclusive('\n').take(1).collect::<String>();
    std::fs::write(&path, without_last_two).unwrap();
    keep(&store, 4..5);
    assert_eq!(run(store.drain_dead_letters()), Ok(moved(2)));
    assert_eq!(spooled(&store, 10), [1, 4]);
    store.crash();
}

/// Letters that cannot be marked as moved are not moved: otherwise every drain that follows would move them once more.
#[test]
fn letters_that_cannot_be_marked_stay() {
    let scratch = scratch();
    let dir = scratch.path().join("state");
    let disk = Disk::new(&dir, 1);
    faulty::adopt(Some(disk.clone()));
    let (store, _, metrics) = open(&dir);
    keep(&store, 0..5);
    disk.set_unchangeable(true);
    let stopped = run(store.drain_dead_letters()).unwrap();
    assert_eq!((stopped.letters, stopped.left, stopped.stopped.is_some()), (0, 5, true), "{stopped:?}");
    assert_eq!(spooled(&store, 10), [] as [u64; 0]);
    assert_eq!((metrics.lines_recovered.get(), pending(&metrics)), (0, 0));
    disk.set_unchangeable(false);
    run(store.sync()).unwrap();
    disk.die();
    store.crash();
    disk.revive();
    let (store, recovered, metrics) = open(&dir);
    assert_eq!(recovered.frames, 0);
    // The start goes on with them by itself, and may be done.
    assert_eq!(run(store.drain_dead_letters()).unwrap().stopped, None);
    assert_eq!(spooled(&store, 10), [0, 1, 2, 3, 4], "each once");
    assert_eq!((metrics.lines_recovered.get(), pending(&metrics)), (10, 10));
    store.close();
    faulty::adopt(None);
}

/// The position goes with the letter, although nobody has waited for the answer, and stays when the letter goes.
#[test]
fn a_letter_is_a_position() {
    let dir = scratch();
    let (store, ..) = open(dir.path());
    let mut asked = Box::pin(store.dead_letter(numbered(1, 10)));
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = asked.as_mut().poll(&mut nobody);
    drop(asked);
    store.close();
    assert_eq!(dead_letters(dir.path(), |_| Ok(())).unwrap().letters, 1);
    fs::remove_file(dir.path().join(dead::FILE)).unwrap();
    let (_store, recovered, _) = open(dir.path());
    assert_eq!(recovered.positions[&key(1)].to_string(), "10-15");
}

/// A letter tells its own position, when the process was killed before a checkpoint did; an old one does not bring back a
/// generation that was forgotten.
#[test]
fn the_lines_of_a_new_letter_are_settled() {
    let dir = scratch();
    let (store, ..) = open(dir.path());
    store.commit(vec![(key(2), Ranges::from_iter([Range::new(0, 9)]))]);
    run(store.sync()).unwrap();
    let carried = vec![(Generation(77), Ranges::from_iter([Range::new(3, 4)]))];
    run(store.dead_letter(DeadLetter { carried, ..numbered(1, 10) })).unwrap();
    store.crash();
    let earlier = SourceKey { generation: Generation(77), ..key(1) };
    let (store, recovered, _) = open(dir.path());
    assert_eq!(recovered.positions[&key(1)].to_string(), "10-15");
    assert_eq!(recovered.positions[&earlier].to_string(), "3-4");
    store.crash();
    let path = dir.path().join(dead::FILE);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#","carried":[["000000000000004d","3-4"]],"#), "{text}");
    let at = text.find("\"time_ms\":").unwrap() + 10;
    let old = format!("{}1{}", &text[..at], &text[at + 13..]).replace("10-15", "20-25");
    fs::write(&path, old).unwrap();
    assert_eq!(dead_letters(dir.path(), |_| Ok(())).unwrap().letters, 1);
    let (_store, recovered, _) = open(dir.path());
    assert_eq!(recovered.positions[&key(1)].to_string(), "10-15");
}

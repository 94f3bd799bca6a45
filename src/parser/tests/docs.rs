//! The examples of `docs/formats.md`.

use super::*;

/// A line, and what its record must have: `fields` to the last of them.
#[test]
fn examples_of_the_documentation() {
    let text = include_str!("../../../docs/formats.md");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let mut examples = 0;
    for pair in lines.windows(2) {
        let Some(expected) = pair[1].strip_prefix("=> ") else { continue };
        let expected: Map<String, Value> = serde_json::from_str(expected).expect(expected);
        let record = one(None, pair[0]);
        for (key, value) in expected {
            assert_eq!(record.get(&key), Some(&value), "{key} of {}", pair[0]);
        }
        examples += 1;
    }
    assert!(examples > 30, "{examples} examples");
    let names = Format::NAMES.iter().filter(|name| !text.contains(&format!("`{name}`")));
    assert_eq!(names.collect::<Vec<_>>(), Vec::<&&str>::new(), "formats that are not documented");
}

//! Which of a container's labels say nothing that the parser understands, before a line of it is read.

use super::formats::Format;
use super::multiline::Rule;
use super::process::Rules;
use crate::source::Container;

/// What is wrong with each label that is left aside, for a person; beside `rules`, which hold for all containers.
pub fn problems(container: &Container, rules: &Rules) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(name) = container.format.as_deref().filter(|name| !matches!(*name, "" | "auto"))
        && Format::from_name(name).is_none()
    {
        problems.push(format!("rask.format={name}: no such format; there are auto, {}", Format::NAMES.join(", ")));
    }
    if let Some(label) = &container.multiline
        && let Err(error) = Rule::of_label(label)
    {
        problems.push(format!("rask.multiline={label}: neither auto nor off nor a regular expression: {error}"));
    }
    let (_, more) = rules.with_labels(&container.steering);
    problems.extend(more.into_iter().map(|(label, problem)| format!("{label}: {problem}")));
    problems
}

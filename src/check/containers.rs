//! The containers that match, and whether their logs can be had.

use super::Report;
use crate::collector::survey::{LogAccess, Survey, Surveyed};
use crate::config::Config;
use crate::exit;
use crate::parser::labels;
use crate::parser::process::Rules;

/// Most containers listed of those that do not match.
const OTHERS: usize = 20;

/// Asks discovery what it would find now.
pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let survey = runtime.block_on(crate::collector::survey(config));
            told(&config.target_service, &survey, &config.process, report);
        }
        Err(error) => report.bad(exit::FAILURE, &format!("no runtime to look for containers: {error}")),
    }
}

fn told(target: &str, survey: &Survey, rules: &Rules, report: &mut Report<'_>) {
    report.heading("Docker");
    sources(survey, report);
    report.heading(&format!("Containers of {target}"));
    for found in &survey.containers {
        container(found, rules, report);
    }
    for (name, why) in &survey.excluded {
        report.warn(&format!("{name} is left out: {why}"));
    }
    for problem in &survey.problems {
        report.warn(problem);
    }
    if survey.containers.is_empty() {
        report.bad(exit::UNAVAILABLE, "none matches; one that is started later is picked up");
        others(survey, report);
    }
}

/// One way of discovery is enough; none is not.
fn sources(survey: &Survey, report: &mut Report<'_>) {
    let has_api = matches!(survey.api, Some(Ok(_)));
    match &survey.directory {
        Ok(count) => report.good(&format!("the containers directory can be read; containers in it: {count}")),
        Err(problem) if has_api => report.warn(problem),
        Err(problem) => report.bad(exit::UNAVAILABLE, problem),
    }
    match &survey.api {
        None => report.line("    the API is not used"),
        Some(Ok(api)) => report.good(&format!("the API answers: {api}")),
        Some(Err(problem)) if survey.directory.is_ok() => {
            report.warn(&format!("{problem}; the containers directory is enough for json-file logs"));
        }
        Some(Err(problem)) => report.bad(exit::UNAVAILABLE, problem),
    }
}

fn container(found: &Surveyed, rules: &Rules, report: &mut Report<'_>) {
    let container = &found.container;
    let name =
        format!("{} ({}, {})", container.name, container.id.get(..12).unwrap_or(&container.id), container.log_driver);
    match &found.log {
        Ok(LogAccess::File(path)) => report.good(&format!("{name}: reads {}", path.display())),
        Ok(LogAccess::Stream) => report.good(&format!("{name}: streamed by the API")),
        Err(why) => report.bad(exit::UNAVAILABLE, &format!("{name}: {why}")),
    }
    if container.log_driver == "json-file" && container.max_size.is_none() {
        report.warn(&format!(
            "{} has no max-size: its log grows until the disk is full; set logging.options max-size and max-file",
            container.name
        ));
    }
    for problem in labels::problems(container, rules) {
        report.warn(&format!("{} has a label that is left aside: {problem}", container.name));
    }
}

/// A name that is nearly right is easy to see in the list of those there are.
fn others(survey: &Survey, report: &mut Report<'_>) {
    if survey.others.is_empty() {
        return;
    }
    report.line("    there are, by service (container):");
    for (name, service) in survey.others.iter().take(OTHERS) {
        report.line(&format!("      {service} ({name})"));
    }
    if let Some(more @ 1..) = survey.others.len().checked_sub(OTHERS) {
        report.line(&format!("      and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Container;
    use std::sync::Arc;

    fn survey() -> Survey {
        Survey {
            directory: Ok(3),
            api: None,
            containers: Vec::new(),
            excluded: Vec::new(),
            others: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn found(driver: &str, max_size: Option<&str>, log: Result<LogAccess, String>) -> Surveyed {
        let container = Container {
            name: "shop-api-1".into(),
            log_driver: driver.into(),
            max_size: max_size.map(str::to_owned),
            ..Container::new(&"0123456789abcdef".repeat(4), "api")
        };
        Surveyed { container: Arc::new(container), in_directory: true, in_api: false, log }
    }

    #[track_caller]
    fn check(survey: &Survey, code: u8, says: &[&str]) -> String {
        let mut out = Vec::new();
        let mut report = Report { out: &mut out, worst: exit::OK };
        told("api", survey, &Rules::default(), &mut report);
        let worst = report.worst;
        let text = String::from_utf8(out).unwrap();
        assert_eq!(worst, code, "{text}");
        for word in says {
            assert!(text.contains(word), "{word:?} is not in\n{text}");
        }
        text
    }

    #[test]
    fn labels_that_say_nothing_sensible_are_named() {
        let of = |change: fn(&mut Container)| {
            let mut found = found("json-file", Some("10m"), Ok(LogAccess::File("/c/0-json.log".into())));
            change(Arc::get_mut(&mut found.container).unwrap());
            Survey { containers: vec![found], ..survey() }
        };
        let wrong = of(|container| {
            container.format = Some("ngnix".into());
            container.multiline = Some("(".into());
            container.steering.min_level = Some("loud".into());
            container.steering.sample = Some("lots".into());
        });
        let says = ["! shop-api-1 has a label that is left aside: rask.format=ngnix", "nginx", "rask.multiline=("];
        check(&wrong, exit::OK, &[&says[..], &["rask.min_level: ", "rask.sample: "]].concat());
        let right = of(|container| {
            container.format = Some("nginx".into());
            container.multiline = Some("auto".into());
            container.steering.min_level = Some("warn".into());
        });
        let text = check(&right, exit::OK, &["✓ shop-api-1"]);
        assert!(!text.contains("left aside"), "{text}");
    }

    #[test]
    fn a_container_with_a_bounded_log_is_good() {
        let file = || Ok(LogAccess::File("/c/0-json.log".into()));
        let text = check(
            &Survey { containers: vec![found("json-file", Some("10m"), file())], ..survey() },
            exit::OK,
            &["✓ shop-api-1 (0123456789ab, json-file): reads /c/0-json.log"],
        );
        assert!(!text.contains("max-size"), "{text}");
        let unbounded = vec![found("json-file", None, file())];
        check(&Survey { containers: unbounded, ..survey() }, exit::OK, &["! shop-api-1 has no max-size"]);
        let local = vec![found("local", None, Ok(LogAccess::Stream))];
        let text = check(&Survey { containers: local, ..survey() }, exit::OK, &["streamed by the API"]);
        assert!(!text.contains("max-size"), "the driver local rotates by itself: {text}");
    }

    #[test]
    fn a_log_that_cannot_be_read_is_unavailable() {
        let closed = vec![found("journald", None, Err("needs the API".into()))];
        check(&Survey { containers: closed, ..survey() }, exit::UNAVAILABLE, &["✗ shop-api-1", "needs the API"]);
    }

    #[test]
    fn no_match_shows_what_there_is() {
        let others = (0..25).map(|i| (format!("shop-web-{i}"), "web".to_owned())).collect();
        let excluded = vec![("shop-api-9".to_owned(), "label rask.enabled is false".to_owned())];
        let says = ["✗ none matches", "web (shop-web-0)", "and 5 more", "! shop-api-9 is left out"];
        check(&Survey { others, excluded, ..survey() }, exit::UNAVAILABLE, &says);
    }

    #[test]
    fn one_way_of_discovery_is_enough() {
        let one = || vec![found("json-file", Some("1m"), Ok(LogAccess::File("/x".into())))];
        let with = |directory: Result<usize, String>, api| Survey { directory, api, containers: one(), ..survey() };
        check(&with(Ok(1), Some(Err("no socket".into()))), exit::OK, &["! no socket"]);
        check(&with(Err("no directory".into()), Some(Ok("1.51".into()))), exit::OK, &["! no directory", "✓ the API"]);
        let neither = with(Err("no directory".into()), Some(Err("no socket".into())));
        check(&neither, exit::UNAVAILABLE, &["✗ no directory", "✗ no socket"]);
        check(&with(Err("no directory".into()), None), exit::UNAVAILABLE, &["✗ no directory"]);
    }
}

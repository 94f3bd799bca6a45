//! Which containers are followed: by service, name and label; replicas; those that come later and come again.

use crate::harness::{World, messages, numbered, wait, write_numbered};
use rask::layout::Spec;

#[test]
fn replicas_are_followed_and_the_rest_is_left_alone() {
    let world = World::new();
    let mut early = world.container("app");
    let mut other = world.container("other");
    let labels = vec![("rask.enabled".to_owned(), "false".to_owned())];
    let mut excluded = world.container_as(Spec { labels, ..Spec::service("app") });
    write_numbered(&mut early, "early", 0..3);
    let forwarder = world.forward("app");
    let mut late = world.container("app");
    write_numbered(&mut late, "late", 0..3);
    write_numbered(&mut other, "other", 0..3);
    write_numbered(&mut excluded, "excluded", 0..3);
    world.wait_for_records(6);
    write_numbered(&mut early, "early", 3..5);
    world.wait_for_records(8);
    let mut all = messages(&world.receiver);
    all.sort();
    assert_eq!(all, [numbered("early", 0..5), numbered("late", 0..3)].concat());
    assert_eq!(forwarder.metric("containers"), 2.0);
    late.remove().expect("docker rm");
    wait("the removed replica is forgotten", || forwarder.metric("containers") == 1.0);
}

#[test]
fn names_and_labels_match_too_and_labels_enrich() {
    let world = World::new();
    let mut named = world.container_as(Spec { name: "app".into(), ..Spec::default() });
    let labels = [("rask.service", "app"), ("rask.group", "shop"), ("rask.format", "plain")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let mut labelled = world.container_as(Spec { name: "worker-7".into(), labels, ..Spec::default() });
    let _forwarder = world.forward("app");
    write_numbered(&mut named, "named", 0..1);
    world.wait_for_records(1);
    write_numbered(&mut labelled, "labelled", 0..1);
    world.wait_for_records(2);
    let records = world.receiver.records();
    assert_eq!((records[0].service_name.as_str(), records[0].service_group.as_deref()), ("app", None));
    assert_eq!((records[1].service_name.as_str(), records[1].service_group.as_deref()), ("app", Some("shop")));
    assert_eq!(records[1].container_id, labelled.id());
}

#[test]
fn a_service_that_is_re_created_continues() {
    let world = World::new();
    let forwarder = world.forward("app");
    for round in 0..10u64 {
        let mut container = world.container("app");
        write_numbered(&mut container, "line", round * 20..round * 20 + 20);
        world.wait_for_records(round * 20 + 20);
        container.remove().expect("docker rm");
    }
    assert_eq!(messages(&world.receiver), numbered("line", 0..200));
    forwarder.assert_conserved();
}

#[test]
fn the_containers_directory_may_come_later() {
    let world = World::new();
    std::fs::remove_dir(world.containers()).expect("empty");
    let _forwarder = world.forward("app");
    std::fs::create_dir(world.containers()).expect("a directory");
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..5);
    world.wait_for_records(5);
    assert_eq!(messages(&world.receiver), numbered("line", 0..5));
}

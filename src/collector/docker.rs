//! Docker's API, through bollard: reaching it, discovery by events, what one container is.
//!
//! Three listings ask the daemon for what may match (by Compose label, by name, by `rask.service`), so that the thousand
//! containers of others never travel; each match is then inspected. Events follow. They are asked for *from a minute before
//! the listing*: the daemon keeps its recent events and sends them again, so that nothing falls between listing and
//! subscribing, whatever the order in which the two are served and with some difference of clocks. What comes twice is
//! inspected twice, and the collector starts each container once.
//!
//! When the connection breaks (the daemon restarts), it is tried again with backoff and all is listed afresh. This task is
//! the one that probes a daemon that is away; log streams are woken by what it finds.
//!
//! The API version is negotiated on each connection: Debian's daemon speaks 1.41, and a daemon can be upgraded under us.

use super::containers_dir::{appears, log_file};
use super::monitor::{Facts, Labels, Launch, Rules, Verdict, is_id};
use super::watch::Watcher;
use super::{Backoff, Event, short};
use crate::config::DockerHost;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventActor, EventMessage};
use bollard::query_parameters::{EventsOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Where the daemon listens when nothing else is said.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Seconds from a request to the head of its answer. Listing can be slow on a loaded daemon.
const REQUEST_TIMEOUT_SECS: u64 = 30;

/// How far back events are asked for.
const EVENT_OVERLAP: Duration = Duration::from_secs(60);

/// Where Docker's API is. Connections are made from it, one for each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Unix(PathBuf),
    Tcp(String),
}

impl Api {
    /// `None` when the API is not to be used.
    pub(super) fn of(host: &DockerHost) -> Option<Self> {
        match host {
            DockerHost::None => None,
            DockerHost::Default => Some(Self::Unix(DEFAULT_SOCKET.into())),
            DockerHost::Unix(path) => Some(Self::Unix(path.clone())),
            DockerHost::Tcp(address) => Some(Self::Tcp(address.clone())),
        }
    }

    /// Whether it can be tried at all.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Unix(path) => path.exists(),
            Self::Tcp(_) => true,
        }
    }

    /// A client that speaks the daemon's version.
    pub(super) async fn connect(&self) -> Result<Docker, Error> {
        let docker = match self {
            Self::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), REQUEST_TIMEOUT_SECS, API_DEFAULT_VERSION)?
            }
            Self::Tcp(address) => Docker::connect_with_http(address, REQUEST_TIMEOUT_SECS, API_DEFAULT_VERSION)?,
        };
        docker.negotiate_version().await
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// Follows the daemon's events for ever, telling `events` what it finds.
pub(super) async fn discover(api: Api, rules: Arc<Rules>, watcher: Watcher, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::default();
    let mut said = None;
    loop {
        if let Api::Unix(path) = &api
            && !api.is_there()
        {
            tracing::info!(%api, "no Docker socket: containers are found through their directory alone");
            if !appears(&watcher, path).await {
                return;
            }
        }
        let error = match session(&api, &rules, &events, &mut backoff).await {
            Ok(()) => "the daemon closed the event stream".to_owned(),
            Err(error) => explain(&error),
        };
        if backoff.is_fresh() {
            said = None;
        }
        if said.as_ref() != Some(&error) {
            tracing::warn!(%api, error, "Docker's API is not available; it is tried again");
            said = Some(error);
        }
        backoff.pause().await;
    }
}

/// One connection: lists, then follows events until they end.
async fn session(api: &Api, rules: &Rules, events: &mpsc::Sender<Event>, backoff: &mut Backoff) -> Result<(), Error> {
    let docker = api.connect().await?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(EVENT_OVERLAP);
    for id in list(&docker, rules).await? {
        inspect(&docker, rules, events, &id).await?;
    }
    let filter = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let filters = HashMap::from([
        ("type".to_owned(), filter(&["container"])),
        ("event".to_owned(), filter(&["create", "start", "rename", "destroy"])),
    ]);
    let options = EventsOptions { since: Some(since.as_secs().to_string()), until: None, filters: Some(filters) };
    let mut stream = docker.events(Some(options));
    tracing::info!(%api, version = %docker.client_version(), "connected to Docker's API");
    backoff.reset();
    while let Some(event) = stream.next().await {
        handle(&docker, rules, events, event?).await?;
    }
    Ok(())
}

/// Ids of the containers that may match, running or not.
async fn list(docker: &Docker, rules: &Rules) -> Result<HashSet<String>, Error> {
    let target = rules.target();
    let mut ids = HashSet::new();
    for (key, value) in [
        ("label", format!("com.docker.compose.service={target}")),
        ("label", format!("rask.service={target}")),
        ("name", target.to_owned()),
    ] {
        let filters = Some(HashMap::from([(key.to_owned(), vec![value])]));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        let containers = docker.list_containers(Some(options)).await?;
        ids.extend(containers.into_iter().filter_map(|container| container.id));
    }
    Ok(ids)
}

async fn handle(
    docker: &Docker,
    rules: &Rules,
    events: &mpsc::Sender<Event>,
    event: EventMessage,
) -> Result<(), Error> {
    let Some(EventActor { id: Some(id), attributes }) = event.actor else { return Ok(()) };
    match event.action.as_deref() {
        Some("destroy") => {
            let _ = events.send(Event::Gone(id)).await;
        }
        Some("create" | "start" | "rename") => {
            // The attributes are the name and all labels.
            let attributes = attributes.unwrap_or_default();
            let name = attributes.get("name").map_or("", String::as_str);
            if rules.matches(name, &attributes.iter().collect()) {
                inspect(docker, rules, events, &id).await?;
            } else if event.action.as_deref() == Some("start") {
                // Renamed since it was found, perhaps.
                let _ = events.send(Event::Started(id)).await;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Tells of container `id` when it is to be collected; one that has gone meanwhile is passed over.
async fn inspect(docker: &Docker, rules: &Rules, events: &mpsc::Sender<Event>, id: &str) -> Result<(), Error> {
    let facts = match facts(docker, id).await {
        Ok(Some(facts)) => facts,
        Ok(None) => return Ok(()),
        // One answer that is not understood must not hide the other containers.
        Err(error @ (Error::JsonDataError { .. } | Error::JsonSerdeError { .. })) => {
            tracing::warn!(
                container = short(id),
                error = explain(&error),
                "container cannot be looked at through the API"
            );
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match rules.judge(&facts) {
        Verdict::Collect => {
            let _ = events.send(Event::Found(Box::new(facts))).await;
        }
        verdict => tracing::debug!(container = facts.name, ?verdict, "not collected"),
    }
    Ok(())
}

/// What the API tells of a container; `None` when there is none of that id or name.
pub(super) async fn facts(docker: &Docker, id: &str) -> Result<Option<Facts>, Error> {
    match docker.inspect_container(id, None).await {
        // The id becomes part of a path.
        Ok(answer) => Ok(Some(facts_of(answer)).filter(|facts| is_id(&facts.id))),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn facts_of(answer: ContainerInspectResponse) -> Facts {
    let id = answer.id.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let log = answer.host_config.and_then(|host| host.log_config).unwrap_or_default();
    let started_at = answer.state.and_then(|state| state.started_at);
    let driver = log.typ.filter(|driver| !driver.is_empty());
    Facts {
        name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: config.labels.iter().flatten().collect::<Labels>(),
        tty: config.tty.unwrap_or_default(),
        log_driver: driver.unwrap_or_else(|| "json-file".into()),
        max_size: log.config.and_then(|mut options| options.remove("max-size")).filter(|size| !size.is_empty()),
        log_file: log_file(answer.log_path.as_deref().unwrap_or_default(), &id),
        started: started_at.is_some_and(|at| !at.starts_with("0001-")),
        launch: Launch {
            argv: answer.path.into_iter().chain(answer.args.unwrap_or_default()).collect(),
            env: config.env.unwrap_or_default(),
        },
        id,
    }
}

/// Whether a container is running; `None` when it does not exist.
pub(super) async fn running(docker: &Docker, id: &str) -> Result<Option<bool>, Error> {
    match docker.inspect_container(id, None).await {
        Ok(answer) => Ok(Some(answer.state.and_then(|state| state.running).unwrap_or_default())),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An error of the API for a person: the causes too, which bollard's own text leaves out. What serde says of an answer can
/// quote it, and answers hold environment variables, so that stays out.
pub(super) fn explain(error: &Error) -> String {
    if let Error::JsonDataError { .. } | Error::JsonSerdeError { .. } = error {
        return "an answer of the daemon is not understood".into();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Id, name and labels of all containers, for the advice of `check`.
pub(super) async fn everything(docker: &Docker) -> Result<Vec<(String, String, Labels)>, Error> {
    let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let containers = docker.list_containers(Some(options)).await?;
    let described = |container: ContainerSummary| {
        let name = container.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let labels = container.labels.iter().flatten().collect();
        (container.id.unwrap_or_default(), name.trim_start_matches('/').to_owned(), labels)
    };
    Ok(containers.into_iter().map(described).collect())
}

/// Candidates of the survey: everything that may match, inspected.
pub(super) async fn candidates(docker: &Docker, rules: &Rules) -> Result<Vec<Facts>, Error> {
    let mut all = Vec::new();
    for id in list(docker, rules).await? {
        all.extend(facts(docker, &id).await?);
    }
    Ok(all)
}

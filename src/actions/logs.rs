//! The logs of a lab's containers, line by line, each with its pod and container in front.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use tokio::{
    sync::mpsc::{Sender, channel},
    task::JoinSet,
};

use crate::{
    actions::standing,
    cluster::{Cluster, Refused},
    labels::COMPONENT,
    run::advice::{Advise, Blame, Hint, Trouble},
    spec::LabName,
};

/// How often following looks for containers that are new.
const EVERY: Duration = Duration::from_secs(2);
/// Lines that may wait for a slow reader.
const WAITING: usize = 256;

/// Which logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// A part (`database`, `discovery`, `agent`, `operator`, `frontend`, `storage`, `autoscale`, `backup`, `monitoring`) or a pod's name; all of them when there is none.
    pub of: Option<String>,
    /// Only what was written within this time.
    pub since: Option<Duration>,
    /// Also the containers before the last restart.
    pub previous: bool,
    /// Goes on with new lines until it is interrupted.
    pub follow: bool,
}

/// Tells each line with its pod and container in front.
///
/// # Errors
/// [`crate::actions::standing::NoSuchLab`], no such part or pod, or the cluster does not answer.
pub async fn logs(lab: &LabName, options: &LogOptions, mut on_line: impl FnMut(&str) + Send) -> Result<()> {
    let cluster = standing::open(lab).await?;
    let sources = sources(lab, &pods(&cluster).await?, options.of.as_deref())?;
    let mut params = LogParams { since_seconds: options.since.map(whole_seconds), ..LogParams::default() };
    if options.follow {
        return follow(&cluster, options, sources, &params, on_line).await;
    }
    for source in &sources {
        if options.previous && source.restarts > 0 {
            params.previous = true;
            // The kubelet keeps one earlier container, and may have removed it.
            if let Ok(mut lines) = source.open(&cluster, &params).await {
                while let Ok(Some(line)) = lines.next().await {
                    on_line(&line);
                }
            }
            params.previous = false;
        }
        let mut lines = source.open(&cluster, &params).await?;
        while let Some(line) = lines.next().await? {
            on_line(&line);
        }
    }
    Ok(())
}

/// A lab has no part or pod of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchPart {
    /// The lab.
    pub lab: LabName,
    /// The name.
    pub of: String,
    /// The parts and pods that it has.
    pub known: Vec<String>,
}

impl fmt::Display for NoSuchPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoSuchPart { lab, of, known } = self;
        write!(f, "lab {lab} has no part or pod {of:?}; there is: {}", known.join(", "))
    }
}

impl Advise for NoSuchPart {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Logs { lab: self.lab.clone(), of: None }]
    }
}

/// One container that has written, or may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    namespace: String,
    pod: String,
    container: String,
    /// The same container is another source after a restart, in the same pod or in one of the same name.
    restarts: i32,
    uid: String,
}

impl Source {
    async fn open(&self, cluster: &Cluster, params: &LogParams) -> Result<Lines<impl AsyncBufRead + Unpin + use<>>> {
        let params = LogParams { container: Some(self.container.clone()), ..params.clone() };
        let api: Api<Pod> = cluster.api_in(&self.namespace);
        let stream = api.log_stream(&self.pod, &params).await;
        let stream = stream
            .map_err(Refused)
            .with_context(|| format!("cannot read the log of {} in pod {}", self.container, self.pod))?;
        Ok(Lines::new(Box::pin(stream), format!("{}/{}", self.pod, self.container)))
    }
}

/// The lines of a stream with what stands in front of each. Programs may write what is no text.
struct Lines<S> {
    stream: S,
    prefix: String,
    line: Vec<u8>,
}

impl<S: AsyncBufRead + Unpin> Lines<S> {
    fn new(stream: S, prefix: String) -> Lines<S> {
        Lines { stream, prefix, line: Vec::new() }
    }

    async fn next(&mut self) -> Result<Option<String>> {
        self.line.clear();
        let count = self.stream.read_until(b'\n', &mut self.line).await;
        let count = count.with_context(|| format!("the log of {} broke off", self.prefix))?;
        Ok((count > 0).then(|| format!("{}: {}", self.prefix, String::from_utf8_lossy(&self.line).trim_end())))
    }
}

async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let selector: Vec<String> = cluster.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let params = ListParams::default().labels(&selector.join(","));
    Ok(cluster.all::<Pod>().list(&params).await.map_err(Refused).context("cannot list the lab's pods")?.items)
}

/// The containers asked for that have begun, in the order of their pods.
fn sources(lab: &LabName, pods: &[Pod], of: Option<&str>) -> Result<Vec<Source>> {
    let part = |pod: &Pod| pod.labels().get(COMPONENT).cloned().unwrap_or_default();
    let asked = |pod: &&Pod| of.is_none_or(|of| part(pod) == of || pod.name_any() == of);
    let chosen: Vec<&Pod> = pods.iter().filter(asked).collect();
    if let (true, Some(of)) = (chosen.is_empty(), of) {
        let parts: BTreeSet<String> = pods.iter().map(part).filter(|part| !part.is_empty()).collect();
        let names: BTreeSet<String> = pods.iter().map(ResourceExt::name_any).collect();
        if names.is_empty() {
            bail!("the lab has no pods");
        }
        let known = parts.into_iter().chain(names).collect();
        return Err(Trouble::from(NoSuchPart { lab: lab.clone(), of: of.to_owned(), known }).into());
    }
    let mut sources: Vec<Source> = chosen.into_iter().flat_map(of_pod).collect();
    sources.sort();
    Ok(sources)
}

fn of_pod(pod: &Pod) -> Vec<Source> {
    let Some(status) = &pod.status else { return Vec::new() };
    let begun = |c: &&ContainerStatus| {
        c.restart_count > 0 || c.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    };
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let source = |c: &ContainerStatus| Source {
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        container: c.name.clone(),
        restarts: c.restart_count,
        uid: pod.uid().unwrap_or_default(),
    };
    all.filter(begun).map(source).collect()
}

/// Tells lines as they come, of containers that are there and of those that begin meanwhile, until it is dropped.
async fn follow(
    cluster: &Cluster,
    options: &LogOptions,
    sources: Vec<Source>,
    params: &LogParams,
    mut on_line: impl FnMut(&str) + Send,
) -> Result<()> {
    let params = LogParams { follow: true, ..params.clone() };
    let (sender, mut lines) = channel(WAITING);
    let (mut running, mut known) = (JoinSet::new(), BTreeSet::new());
    let mut new = sources;
    let mut beat = tokio::time::interval(EVERY);
    loop {
        for source in new.drain(..) {
            if known.insert(source.clone()) {
                running.spawn(forward(cluster.clone(), source, params.clone(), sender.clone()));
            }
        }
        while running.try_join_next().is_some() {}
        tokio::select! {
            line = lines.recv() => if let Some(line) = line { on_line(&line) },
            _ = beat.tick() => {
                // An API server that does not answer for a moment is no reason to stop; neither is a pod that is being replaced.
                let pods = pods(cluster).await.unwrap_or_default();
                new = self::sources(&cluster.lab, &pods, options.of.as_deref()).unwrap_or_default();
            }
        }
    }
}

/// Sends a container's lines on. A reader that has gone away ends the command, and this with it.
async fn forward(cluster: Cluster, source: Source, params: LogParams, sender: Sender<String>) {
    let mut lines = match source.open(&cluster, &params).await {
        Ok(lines) => lines,
        Err(error) => {
            let _ = sender.send(format!("{}/{}: ({error:#})", source.pod, source.container)).await;
            return;
        }
    };
    while let Ok(Some(line)) = lines.next().await {
        if sender.send(line).await.is_err() {
            return;
        }
    }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, part: &str, containers: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "wplab", "uid": "u", "labels": { COMPONENT: part } },
            "status": containers
        }))
        .expect("a pod")
    }

    fn container(name: &str, state: &str, restarts: i32) -> serde_json::Value {
        json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": { state: if state == "terminated" { json!({ "exitCode": 0 }) } else { json!({}) } } })
    }

    fn lab() -> Vec<Pod> {
        vec![
            pod("wordpress-a", "frontend", json!({ "containerStatuses": [container("wordpress", "waiting", 0)] })),
            pod(
                "db-0",
                "database",
                json!({ "initContainerStatuses": [container("tools", "terminated", 0)],
                        "containerStatuses": [container("mysql", "waiting", 2)] }),
            ),
        ]
    }

    #[test]
    fn a_part_or_a_pod_picks_the_containers_that_have_begun() {
        let names = |of| {
            let sources = sources(&LabName::default(), &lab(), of).expect("known");
            sources.into_iter().map(|s| format!("{}/{}", s.pod, s.container)).collect::<Vec<_>>()
        };
        assert_eq!(names(Some("database")), ["db-0/mysql", "db-0/tools"]);
        assert_eq!(names(Some("db-0")), names(Some("database")));
        assert_eq!(names(None), names(Some("database")));
        assert!(names(Some("frontend")).is_empty());
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let error = sources(&LabName::default(), &lab(), Some("cache")).expect_err("unknown").to_string();
        assert_eq!(error, "lab wplab has no part or pod \"cache\"; there is: database, frontend, db-0, wordpress-a");
        assert_eq!(
            sources(&LabName::default(), &[], Some("cache")).expect_err("unknown").to_string(),
            "the lab has no pods"
        );
        assert_eq!(sources(&LabName::default(), &[], None).expect("all of nothing"), []);
    }

    #[tokio::test]
    async fn every_line_gets_its_pod_and_container_even_one_that_is_no_text() {
        let bytes: &[u8] = b"one\r\n\xff two\nlast";
        let (mut lines, mut heard) = (Lines::new(bytes, "db-0/mysql".into()), Vec::new());
        while let Some(line) = lines.next().await.expect("read") {
            heard.push(line);
        }
        assert_eq!(heard, ["db-0/mysql: one", "db-0/mysql: \u{fffd} two", "db-0/mysql: last"]);
    }
}

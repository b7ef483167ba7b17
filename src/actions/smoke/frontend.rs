//! Checks of the site, through the front door and at every replica. What is done there is in [`super::site`]; this file
//! knows where the doors are.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::FutureExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;
use reqwest::Url;
use tokio::sync::Mutex;

use crate::{
    actions::smoke::{
        browser::{Browser, Door},
        check::{Check, Hopeless},
        marker::Marker,
        site::{Doors, Login, Visit},
    },
    cluster::{Cluster, forward::Forward, ready},
    parts::frontend::Site,
    run::{StepCx, advice::Hint, wait::Look},
    spec::{LabSpec, Reads},
};

/// Where WordPress listens in its pods.
const PORT: u16 = 8080;
const SUBJECT: &str = "frontend";
const LIMIT: Duration = Duration::from_secs(60);
/// How often the first page is asked for, and how long it may take.
const PAGE_EVERY: Duration = Duration::from_millis(100);
const PAGE_PATIENCE: Duration = Duration::from_secs(4);

/// A visit to the lab's site: its doors are the front door and a port-forward to every replica.
///
/// # Errors
/// The site's URL is none.
pub(super) fn visit<'a>(cluster: &'a Cluster, site: &'a Site, marker: &Marker) -> Result<Visit<'a>> {
    let open = Arc::new(Mutex::new(BTreeMap::new()));
    let doors: Doors<'a> = Box::new(move || doors(cluster, &site.url, open.clone()).boxed());
    Visit::new(&site.url, &site.title, marker, doors)
}

/// Waits for the first page behind the front door and says how long it took. Whether it is the right one is for the checks.
///
/// # Errors
/// The site's URL is none, or there is no page in time.
pub(in crate::actions) async fn first_page(cx: &StepCx, site: &str, limit: Duration) -> Result<String> {
    let (browser, door) = (Browser::new(site)?, front_door(site).await?);
    let begin = Instant::now();
    cx.until("the first page", limit, PAGE_EVERY, || async {
        // A replica that is not there any more swallows a request; the next one goes to another.
        Ok(match tokio::time::timeout(PAGE_PATIENCE, browser.get(&door, "/")).await {
            Ok(Ok(page)) if page.status == 200 => Look::Ready(()),
            Ok(Ok(page)) => Look::NotYet(format!("the site answers {}", page.status)),
            Ok(Err(error)) => Look::NotYet(format!("{error:#}")),
            Err(_) => Look::NotYet("the site does not answer".to_owned()),
        })
    })
    .await?;
    Ok(format!("first page after {:.1} s", begin.elapsed().as_secs_f64()))
}

/// The checks of a visit, in the order in which a person would make them.
pub(super) fn checks<'a>(cluster: &'a Cluster, visit: &'a Visit<'_>, spec: &LabSpec) -> Vec<Check<'a>> {
    let logs = [Hint::Logs { lab: cluster.lab.clone(), of: Some("frontend") }];
    let login = move || async move { visit.log_in(&login(cluster).await?).await };
    let mut checks = vec![
        Check::new(
            "front-page",
            SUBJECT,
            "the front page shows the site's title from every replica",
            LIMIT,
            &logs,
            || visit.front_page(),
        ),
        Check::new("login", SUBJECT, "wp-login.php lets the administrator in", LIMIT, &logs, login).needs("front-page"),
        Check::new("dashboard", SUBJECT, "every replica shows the dashboard to the same cookie", LIMIT, &logs, || {
            visit.dashboard()
        })
        .needs("login"),
        Check::new("post", SUBJECT, "a published post is read from every replica", LIMIT, &logs, || visit.publish())
            .needs("login"),
        Check::new(
            "upload",
            SUBJECT,
            "an uploaded image comes back byte for byte from every replica",
            LIMIT,
            &logs,
            || visit.upload(),
        )
        .needs("login"),
    ];
    // With a single member nobody is left to read from.
    if spec.database.members > 1 {
        let sentence = "without a writer pages are read from the readers, and what must be saved is told to come again";
        let check = Check::new("readers", SUBJECT, sentence, LIMIT, &logs, || visit.without_writer());
        checks.push(check.needs("front-page"));
        if spec.wordpress.reads == Reads::Readers {
            let sentence = "pages are read from the readers, and at the writer for who has just saved something";
            let check = Check::new("split", SUBJECT, sentence, LIMIT, &logs, || visit.split_reads());
            checks.push(check.needs("front-page"));
        }
    }
    checks
}

/// The replicas that serve, by name.
///
/// # Errors
/// Not all of them are ready; says how many are, and what troubles the others.
pub(super) async fn replicas(cluster: &Cluster) -> Result<Vec<Pod>> {
    let deployment = cluster.get::<Deployment>("wordpress").await?.context("there is no Deployment wordpress")?;
    let spec = deployment.spec.context("Deployment wordpress is empty")?;
    let labels = spec.selector.match_labels.unwrap_or_default();
    let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut pods = cluster.pods(&selector.join(",")).await?;
    let trouble = ready::trouble(&pods);
    pods.retain(|pod| ready::pod(Some(pod)) == Look::Ready(()));
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    if pods.len() < wanted {
        let trouble = trouble.map_or_else(String::new, |text| format!("; {text}"));
        bail!("{} of {wanted} replicas are ready{trouble}", pods.len());
    }
    ensure!(!pods.is_empty(), "there are no replicas");
    Ok(pods)
}

type Open = Arc<Mutex<BTreeMap<String, Arc<Forward>>>>;

/// The front door, and a forward to every replica; those to pods that are still there stay open from look to look.
async fn doors(cluster: &Cluster, url: &str, open: Open) -> Result<Vec<Door>> {
    let mut doors = vec![front_door(url).await?];
    let pods: Vec<String> = replicas(cluster).await?.iter().map(ResourceExt::name_any).collect();
    let mut open = open.lock().await;
    open.retain(|pod, _| pods.contains(pod));
    for pod in pods {
        let forward = match open.get(&pod) {
            Some(forward) => forward.clone(),
            None => open.entry(pod.clone()).or_insert(Arc::new(cluster.forward(&pod, PORT).await?)).clone(),
        };
        doors.push(Door::new(pod, forward.addr).held_by(forward));
    }
    Ok(doors)
}

/// The site's own address as a way in.
///
/// # Errors
/// The URL is none.
pub(in crate::actions) async fn front_door(url: &str) -> Result<Door> {
    let parsed = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
    let (host, port) = (parsed.host_str().unwrap_or_default(), parsed.port_or_known_default().unwrap_or(80));
    let found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("cannot find {host}"))?.next();
    Ok(Door::new("the front door", found.with_context(|| format!("{host} has no address"))?))
}

/// Who may write.
///
/// # Errors
/// The API server does not answer, or there is no such Secret.
pub(in crate::actions) async fn login(cluster: &Cluster) -> Result<Login> {
    let absent = || Hopeless("there is no Secret wordpress-credentials with admin-user and admin-password".to_owned());
    let mut values = cluster.secret("wordpress-credentials").await?.ok_or_else(absent)?;
    let (user, password) =
        (values.remove("admin-user").ok_or_else(absent)?, values.remove("admin-password").ok_or_else(absent)?);
    Ok(Login { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_front_door_is_where_the_url_says() {
        let at = |url: &'static str| async move { front_door(url).await.map(|door| door.addr.to_string()) };
        assert_eq!(at("http://127.0.0.1:8080").await.expect("a door"), "127.0.0.1:8080");
        assert_eq!(at("http://127.0.0.1").await.expect("a door"), "127.0.0.1:80");
        assert!(at("nowhere").await.is_err());
    }
}

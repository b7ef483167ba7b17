//! Building recipes: what others are built from first, side by side as far as the cores allow. What is in Docker under
//! the tag of the recipe's hash is never built again, and an interrupted build goes on at its last finished step.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    base,
    catalogue::{Catalogue, context_tar, dockerfile, labels_of},
    leftover::{self, Stages},
    schedule::{self, Plan, Queue},
};
use crate::{
    host::docker::Docker,
    run::{StepCx, event::Amount},
};

/// Where an administrator's own certificate authorities are, on Debian and its relatives.
const OWN_AUTHORITIES: &str = "/usr/local/share/ca-certificates";

/// What is missing of these recipes, in the order in which it can be built.
pub(super) async fn missing(docker: &Docker, catalogue: &Catalogue, recipes: &[&str]) -> Result<Vec<String>> {
    let mut present = BTreeSet::new();
    for name in catalogue.closure(recipes)? {
        if docker.image(&catalogue.tag(&name, docker.arch())?).await?.is_some() {
            present.insert(name);
        }
    }
    needed(catalogue, recipes, &present)
}

/// What has to be built: nothing below what is present.
fn needed(catalogue: &Catalogue, recipes: &[&str], present: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut wanted: Vec<&str> = recipes.iter().copied().filter(|&name| !present.contains(name)).collect();
    let mut needed = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if needed.insert(name) {
            wanted.extend(catalogue.from(name).iter().map(String::as_str).filter(|&from| !present.contains(from)));
        }
    }
    Ok(catalogue.closure(recipes)?.into_iter().filter(|name| needed.contains(name.as_str())).collect())
}

/// Builds what is missing of these recipes; returns what it built.
///
/// # Errors
/// [`crate::host::docker::BuildFailed`]; the other builds under way end with it.
pub(super) async fn build(
    cx: &StepCx,
    docker: &Docker,
    catalogue: &Catalogue,
    recipes: &[&str],
    mirror: Option<&str>,
) -> Result<Vec<String>> {
    let missing = missing(docker, catalogue, recipes).await?;
    if missing.is_empty() {
        return Ok(missing);
    }
    let cores = usize::try_from(docker.info().await?.cpus).unwrap_or(1).max(1);
    let builds = Builds {
        cx,
        docker,
        catalogue,
        mirror,
        plan: schedule::plan(catalogue, &missing, cores),
        began: Instant::now(),
        pace: Mutex::default(),
    };
    let mut queue = Queue::new(catalogue, &missing, cores);
    let mut running = FuturesUnordered::new();
    loop {
        while let Some(name) = queue.begin() {
            let (builds, gives_way) = (&builds, queue.is_in_no_hurry(name));
            running.push(async move { builds.one(name, gives_way).await.map(|()| name) });
        }
        match running.next().await {
            Some(built) => queue.end(builds.heard_of(built?)),
            None => break,
        }
    }
    drop(running);
    Ok(missing)
}

/// The builds of one call, side by side.
struct Builds<'a> {
    cx: &'a StepCx,
    docker: &'a Docker,
    catalogue: &'a Catalogue,
    mirror: Option<&'a str>,
    plan: Plan,
    began: Instant,
    pace: Mutex<Pace>,
}

/// How fast this machine is, and what the builds under way have said last.
struct Pace {
    slower: f64,
    warned: bool,
    notes: BTreeMap<String, String>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { slower: 1.0, warned: false, notes: BTreeMap::new() }
    }
}

impl Builds<'_> {
    /// Builds one recipe, or makes one base; everything that it is built from is there.
    async fn one(&self, name: &str, gives_way: bool) -> Result<()> {
        let tag = self.catalogue.tag(name, self.docker.arch())?;
        if let Some(base) = self.catalogue.base(name) {
            self.note(name, "bootstrapping Debian");
            base::ensure(self.cx, self.docker, name, base, &tag, self.mirror, |note| self.note(name, note)).await?;
            self.cx.task_done(name, "");
            return Ok(());
        }
        self.note(name, "building");
        let mut args = of_machine(dockerfile(name)?, |v| std::env::var(v).ok(), Path::new(OWN_AUTHORITIES));
        for from in self.catalogue.from(name) {
            args.insert(argument(from), self.catalogue.tag(from, self.docker.arch())?);
        }
        let mut stages = Stages::default();
        let log = |line: &str| {
            stages.hear(line);
            if let Some(step) = step(line) {
                self.note(name, step);
            }
        };
        self.docker
            .build(context_tar(name)?, &tag, &args, &labels_of(name), gives_way, log)
            .await
            .with_context(|| format!("cannot build image {name}"))?;
        self.cx.task_done(name, "built");
        leftover::remove(self.docker, name, &tag, &stages).await;
        Ok(())
    }

    /// Says what a build does, and how long it takes on this machine as far as that is known.
    fn note(&self, name: &str, note: impl Into<String>) {
        let note = note.into();
        let slower = {
            let Ok(mut pace) = self.pace.lock() else { return };
            pace.notes.insert(name.to_owned(), note.clone());
            pace.slower
        };
        let seconds = schedule::whole(self.plan.takes(name) * slower);
        self.cx.task(name, note, Some(Amount::Estimate { seconds }));
    }

    /// One is built: when that was tells how fast this machine is.
    fn heard_of<'n>(&self, name: &'n str) -> &'n str {
        let Ok(mut pace) = self.pace.lock() else { return name };
        pace.notes.remove(name);
        let Some(slower) = self.plan.slower(name, self.began.elapsed().as_secs_f64()) else { return name };
        pace.slower = slower;
        let sentence = schedule::slowness(slower, self.plan.seconds()).filter(|_| !pace.warned);
        pace.warned |= sentence.is_some();
        let notes = pace.notes.clone();
        drop(pace);
        if let Some(sentence) = sentence {
            self.cx.say(sentence);
        }
        notes.into_iter().for_each(|(name, note)| self.note(&name, note));
        name
    }
}

/// The build argument that carries the image of a base or recipe: `debian-trixie` is in `DEBIAN_TRIXIE`.
pub(super) fn argument(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// `Step 3/7 : RUN …` of the classic builder as a progress note.
fn step(line: &str) -> Option<String> {
    let (step, what) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let what: Vec<&str> = what.split_whitespace().collect();
    let what = what.join(" ");
    let shown: String = what.chars().take(60).collect();
    let more = if shown.len() < what.len() { "…" } else { "" };
    Some(format!("step {step}: {shown}{more}"))
}

/// What this machine's network needs: its proxies (predefined arguments, which leave no trace in the image), its Go
/// module proxy, and the authorities that its administrator trusts, where the recipe has arguments for them.
fn of_machine(
    dockerfile: &str,
    variable: impl Fn(&str) -> Option<String>,
    authorities: &Path,
) -> BTreeMap<String, String> {
    let has = |name: &str| dockerfile.lines().any(|line| line.split(['=', ' ']).take(2).eq(["ARG", name]));
    let mut args = BTreeMap::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] {
        args.extend(variable(name).filter(|v| !v.is_empty()).map(|value| (name.to_owned(), value)));
    }
    if has("GOPROXY") {
        args.extend(variable("GOPROXY").filter(|v| !v.is_empty()).map(|value| ("GOPROXY".to_owned(), value)));
    }
    if has("EXTRA_CA") {
        let files = std::fs::read_dir(authorities).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "crt")).collect();
        files.sort();
        let texts: Vec<String> = files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        if !texts.is_empty() {
            args.insert("EXTRA_CA".to_owned(), texts.iter().map(|t| t.trim()).collect::<Vec<_>>().join("\n"));
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_below_a_present_image_is_built_again() {
        let catalogue = Catalogue::embedded().expect("parses");
        let needed = |present: &[&str]| {
            let present = present.iter().map(|&s| s.to_owned()).collect();
            super::needed(&catalogue, &["metrics-server", "nfs"], &present).expect("an order")
        };
        assert_eq!(needed(&[]), ["debian-trixie", "golang", "programs", "metrics-server", "nfs"]);
        assert_eq!(needed(&["programs", "nfs"]), ["metrics-server"]);
        assert_eq!(needed(&["golang"]), ["debian-trixie", "programs", "metrics-server", "nfs"]);
        assert!(needed(&["metrics-server", "nfs"]).is_empty());
    }

    #[test]
    fn steps_of_the_builder_become_short_notes() {
        assert_eq!(step("Step 3/7 : RUN apt-get update  && x").as_deref(), Some("step 3/7: RUN apt-get update && x"));
        assert!(
            step(&format!("Step 1/2 : RUN {}", "x".repeat(90)))
                .is_some_and(|note| note.ends_with("x…") && note.chars().count() < 80)
        );
        assert_eq!(step(" ---> 0123"), None);
    }

    #[test]
    fn a_recipe_gets_the_machines_settings_only_where_it_asks_for_them() {
        let folder = tempfile::tempdir().expect("a folder");
        for (file, text) in [("b.crt", "B\n"), ("a.crt", "A\n"), ("readme", "no")] {
            std::fs::write(folder.path().join(file), text).expect("written");
        }
        let variable = |name: &str| ["GOPROXY", "https_proxy"].contains(&name).then(|| "http://p".to_owned());
        let args = of_machine("ARG EXTRA_CA=\nARG GOPROXY=x\n", variable, folder.path());
        let args: Vec<(&str, &str)> = args.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(args, [("EXTRA_CA", "A\nB"), ("GOPROXY", "http://p"), ("https_proxy", "http://p")]);
        assert_eq!(of_machine("FROM scratch", variable, folder.path()).len(), 1);
    }
}

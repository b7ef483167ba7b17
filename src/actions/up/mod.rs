//! The recipe: from whatever there is to a proven lab, on one screen. What each step does is a method of `World`; the
//! real one is in `world`, and the tests' one only keeps a diary.

mod diagnostics;
pub(crate) mod standing;
mod world;

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use tokio::sync::SetOnce;

pub use self::{diagnostics::Diagnosed, standing::OtherData};

use crate::{
    actions::smoke::SmokeReport,
    host::{lock::LabLock, machine::fix::Consent},
    parts::images::ImageSet,
    run::{Run, StepCx, StepTiming, Stepped, event::StepId},
    spec::{LabName, LabSpec},
};

/// What `up` is asked for.
pub struct UpOptions {
    /// The lab.
    pub spec: LabSpec,
    /// Who is asked before missing things are installed (`--fix`); with nobody to ask, nothing is installed.
    pub fix: Option<Box<dyn Consent>>,
    /// `HOST[:PORT]` of a registry to pull from instead of the references' own.
    pub registry_mirror: Option<String>,
}

/// What `up` reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpReport {
    /// Which lab.
    pub name: LabName,
    /// Where the site answers.
    pub url: String,
    /// The lab's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Whether anything had to be done.
    pub changed: bool,
    /// The images in use.
    pub images: ImageSet,
    /// How long each step took.
    pub timings: Vec<StepTiming>,
    /// Every check.
    pub smoke: SmokeReport,
}

/// Brings the lab up, or repairs and completes it; run again on a healthy lab it changes nothing.
///
/// # Errors
/// The first step that failed, with its name and the last reason; what is there is kept, and from the cluster step on the
/// error carries [`Diagnosed`]. A failed check is no error: it is in the report.
pub async fn up(run: &Run, options: &UpOptions) -> Result<UpReport> {
    let lock = LabLock::take(&StepCx::new(run, StepId::Preflight), &options.spec.name).await?;
    let world = world::Real::new(options, &lock);
    let reached = match recipe(run, &world).await {
        Ok(reached) => reached,
        Err(error) => return Err(diagnostics::attach(run, &world, error).await),
    };
    let timings = run.timings();
    Ok(UpReport {
        name: options.spec.name.clone(),
        url: reached.site.url,
        kubeconfig: reached.nodes.kubeconfig,
        changed: run.changed(),
        images: reached.images,
        timings,
        smoke: reached.smoke,
    })
}

/// What the steps hand to each other; one real world, and one for the tests.
trait World {
    type Host;
    type NodeImage;
    type Images;
    type Nodes;
    type Cluster;
    type Storage;
    type Database;
    type Site;
    type Report;
    async fn preflight(&self, cx: StepCx) -> Result<Stepped<Self::Host>>;
    /// Hands on the image for nodes as soon as it is there; the others may take longer.
    async fn images(
        &self,
        cx: StepCx,
        host: &Self::Host,
        node: &SetOnce<Self::NodeImage>,
    ) -> Result<Stepped<Self::Images>>;
    async fn nodes(&self, cx: StepCx, host: &Self::Host, image: &Self::NodeImage) -> Result<Stepped<Self::Nodes>>;
    async fn load(&self, cx: StepCx, host: &Self::Host, images: &Self::Images) -> Result<Stepped<()>>;
    /// Starts a node again that stops while the lab comes up; ends only with an error.
    async fn guard(&self, run: &Run, host: &Self::Host) -> anyhow::Error;
    async fn connect(&self, nodes: &Self::Nodes, images: &Self::Images) -> Result<Self::Cluster>;
    async fn storage(
        &self,
        cx: StepCx,
        cluster: &Self::Cluster,
        images: &Self::Images,
    ) -> Result<Stepped<Self::Storage>>;
    async fn database(
        &self,
        cx: StepCx,
        cluster: &Self::Cluster,
        images: &Self::Images,
    ) -> Result<Stepped<Self::Database>>;
    async fn frontend(
        &self,
        cx: StepCx,
        at: (&Self::Cluster, &Self::Nodes, &Self::Images),
        on: (&Self::Database, &Self::Storage),
    ) -> Result<Stepped<Self::Site>>;
    async fn autoscale(
        &self,
        cx: StepCx,
        cluster: &Self::Cluster,
        images: &Self::Images,
        site: &Self::Site,
    ) -> Result<Stepped<()>>;
    async fn smoke(
        &self,
        cx: StepCx,
        at: (&Self::Host, &Self::Cluster, &Self::Nodes, &Self::Images),
        site: &Self::Site,
    ) -> Result<Stepped<Self::Report>>;
}

/// What the recipe reached.
struct Reached<W: World> {
    images: W::Images,
    nodes: W::Nodes,
    site: W::Site,
    smoke: W::Report,
}

/// The recipe itself. Steps that do not need each other run side by side: nodes boot as soon as their own image is there,
/// the others are loaded while kubeadm still works, and from then on somebody keeps an eye on the nodes.
async fn recipe<W: World>(run: &Run, w: &W) -> Result<Reached<W>> {
    let host = run.step(StepId::Preflight, |cx| w.preflight(cx)).await?;
    let node_image = SetOnce::new();
    let loaded = async {
        let images = run.step(StepId::Images, |cx| w.images(cx, &host, &node_image)).await?;
        run.step(StepId::Load, |cx| w.load(cx, &host, &images)).await?;
        Ok(images)
    };
    let nodes = async {
        let image = node_image.wait().await;
        run.step(StepId::Cluster, |cx| w.nodes(cx, &host, image)).await
    };
    let (images, nodes) = tokio::try_join!(loaded, nodes)?;
    let (site, smoke) = tokio::select! {
        done = inside(run, w, &host, &images, &nodes) => done?,
        error = w.guard(run, &host) => return Err(error),
    };
    Ok(Reached { images, nodes, site, smoke })
}

/// What happens inside the cluster.
async fn inside<W: World>(
    run: &Run,
    w: &W,
    host: &W::Host,
    images: &W::Images,
    nodes: &W::Nodes,
) -> Result<(W::Site, W::Report)> {
    let cluster = w.connect(nodes, images).await?;
    let (storage, database) = tokio::try_join!(
        run.step(StepId::Storage, |cx| w.storage(cx, &cluster, images)),
        run.step(StepId::Database, |cx| w.database(cx, &cluster, images)),
    )?;
    let site =
        run.step(StepId::Frontend, |cx| w.frontend(cx, (&cluster, nodes, images), (&database, &storage))).await?;
    run.step(StepId::Autoscale, |cx| w.autoscale(cx, &cluster, images, &site)).await?;
    let smoke = run.step(StepId::Smoke, |cx| w.smoke(cx, (host, &cluster, nodes, images), &site)).await?;
    Ok((site, smoke))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::run::event::Event;

    /// Notes every step and fails the one it is told to fail.
    #[derive(Default)]
    struct Diary {
        lines: Mutex<Vec<&'static str>>,
        fails: Option<&'static str>,
    }

    impl Diary {
        async fn note(&self, line: &'static str) -> Result<Stepped<()>> {
            self.lines.lock().expect("not poisoned").push(line);
            tokio::task::yield_now().await;
            anyhow::ensure!(self.fails != Some(line), "{line} broke");
            Ok(Stepped::done((), line))
        }
    }

    impl World for Diary {
        type Host = ();
        type NodeImage = ();
        type Images = ();
        type Nodes = ();
        type Cluster = ();
        type Storage = ();
        type Database = ();
        type Site = ();
        type Report = ();
        async fn preflight(&self, _: StepCx) -> Result<Stepped<()>> {
            self.note("preflight").await
        }
        async fn images(&self, _: StepCx, (): &(), node: &SetOnce<()>) -> Result<Stepped<()>> {
            let noted = self.note("images").await;
            if noted.is_ok() {
                node.set(()).expect("it is handed on once");
            }
            // The others take their time, until the nodes are on their way.
            while noted.is_ok() && !self.lines.lock().expect("not poisoned").contains(&"cluster") {
                tokio::task::yield_now().await;
            }
            noted
        }
        async fn nodes(&self, _: StepCx, (): &(), (): &()) -> Result<Stepped<()>> {
            self.note("cluster").await
        }
        async fn load(&self, _: StepCx, (): &(), (): &()) -> Result<Stepped<()>> {
            self.note("load").await
        }
        async fn guard(&self, _: &Run, (): &()) -> anyhow::Error {
            std::future::pending().await
        }
        async fn connect(&self, (): &(), (): &()) -> Result<()> {
            Ok(())
        }
        async fn storage(&self, _: StepCx, (): &(), (): &()) -> Result<Stepped<()>> {
            self.note("storage").await
        }
        async fn database(&self, _: StepCx, (): &(), (): &()) -> Result<Stepped<()>> {
            self.note("database").await
        }
        async fn frontend(&self, _: StepCx, _: (&(), &(), &()), _: (&(), &())) -> Result<Stepped<()>> {
            self.note("frontend").await
        }
        async fn autoscale(&self, _: StepCx, (): &(), (): &(), (): &()) -> Result<Stepped<()>> {
            self.note("autoscale").await
        }
        async fn smoke(&self, _: StepCx, _: (&(), &(), &(), &()), (): &()) -> Result<Stepped<()>> {
            self.note("smoke").await
        }
    }

    #[tokio::test]
    async fn the_steps_run_in_the_order_that_users_are_shown() {
        let (run, mut events) = Run::new(None);
        let diary = Diary::default();
        recipe(&run, &diary).await.expect("every step ends well");
        let wanted: Vec<&str> = StepId::UP.iter().map(|s| s.name()).collect();
        assert_eq!(*diary.lines.lock().expect("not poisoned"), wanted);
        drop(run);
        let mut finished = Vec::new();
        while let Some(event) = events.recv().await {
            if let Event::Finished { step, .. } = event {
                finished.push(step);
            }
        }
        finished.sort();
        let mut all = StepId::UP.to_vec();
        all.sort();
        assert_eq!(finished, all);
    }

    #[tokio::test]
    async fn a_failed_step_ends_the_recipe_and_is_named() {
        for (at, step) in StepId::UP.iter().enumerate() {
            let diary = Diary { fails: Some(step.name()), ..Diary::default() };
            let error = recipe(&Run::silent(), &diary).await.err().expect("must fail");
            assert_eq!(format!("{error:#}"), format!("step {0} failed: {0} broke", step.name()));
            // The partner of a step that runs beside it may have begun; nothing after the pair has.
            let begun = diary.lines.lock().expect("not poisoned").len();
            assert!(begun <= at + 2, "{begun} steps begun though step {at} failed");
        }
    }
}

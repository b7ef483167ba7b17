//! Golden roots: images are imported and unpacked once, and new nodes begin with a clone that has them
//! (docs/decisions/0016-golden-roots.md). Whatever stands in the way is told, and images are streamed into every node.

use anyhow::{Result, bail};

use super::{Image, ImageSet, NodeImage, Origin, Role, load, tool, transport::Lab};
use crate::{
    host::{
        Host,
        docker::Docker,
        nodes::{
            self,
            roots::{Clones, Key, Roots},
        },
    },
    run::{StepCx, Stepped, gate::Gate},
    spec::{LabName, LabSpec},
};

/// What the new nodes of a lab have as /var: clones of the golden root of its images, which is made if there is none. Empty
/// where images are to be streamed: when that is asked for, when some of them have to be got first, while which nodes boot,
/// and when there is no other way.
pub async fn roots(
    cx: &StepCx,
    host: &Host,
    spec: &LabSpec,
    stream: bool,
    node: &NodeImage,
    images: &Gate<ImageSet>,
) -> Clones {
    if !is_wanted(stream, node) {
        return Clones::new();
    }
    let images = images.wait().await;
    let nodes = nodes::node_names(&spec.name, spec.cluster.workers);
    match clones(cx, &host.docker, &spec.name, &nodes, images).await {
        Ok(clones) => clones,
        Err(error) => {
            cx.warn(format!("images go into every node by themselves: {error:#}"));
            Clones::new()
        }
    }
}

/// Whether nodes wait for a golden root; they boot at once while images are pulled or built.
fn is_wanted(stream: bool, node: &NodeImage) -> bool {
    !stream && !node.alone
}

/// The golden root of these images on a volume that is held; it is made if there is none.
///
/// # Errors
/// It cannot be made here; an image is in Docker no more.
pub async fn ensure(cx: &StepCx, docker: &Docker, roots: &Roots<'_>, images: &ImageSet) -> Result<Key> {
    let key = key(images)?;
    make(cx, docker, roots, &key, images).await?;
    Ok(key)
}

async fn clones(cx: &StepCx, docker: &Docker, lab: &LabName, nodes: &[String], images: &ImageSet) -> Result<Clones> {
    let roots = Roots::open(docker, Some(lab), images.reference(Role::Node)?).await?;
    let cloned = async {
        let key = ensure(cx, docker, &roots, images).await?;
        cx.say(format!("cloning golden root {key} for {} nodes", nodes.len()));
        roots.clone_for(&key, lab, nodes).await
    };
    match cloned.await {
        Ok(clones) => Ok(clones),
        Err(error) => {
            roots.close().await?;
            Err(error)
        }
    }
}

/// What workers that come to a lab that stands have as /var: clones, if the lab's nodes have some and the golden root of its
/// images is still there. Empty where images are to be streamed.
pub async fn later(cx: &StepCx, docker: &Docker, lab: &LabName, nodes: &[String], images: &ImageSet) -> Clones {
    let cloned = async {
        match Roots::of(docker, lab).await? {
            Some(roots) => roots.add(&key(images)?, lab, nodes).await,
            None => Ok(None),
        }
    };
    match cloned.await {
        Ok(clones) => clones.unwrap_or_default(),
        Err(error) => {
            cx.warn(format!("images go into the new nodes by themselves: {error:#}"));
            Clones::new()
        }
    }
}

/// Makes sure of the golden root of these images, and removes those that are old or too many; says whether it was made.
///
/// # Errors
/// It cannot be made here.
pub async fn warm(cx: StepCx, host: &Host, images: &ImageSet) -> Result<Stepped<()>> {
    let roots = Roots::open(&host.docker, None, images.reference(Role::Node)?).await?;
    let key = key(images)?;
    let made = closing(&roots, make(&cx, &host.docker, &roots, &key, images).await).await?;
    Ok(Stepped::changed(made, (), format!("golden root {key} with {} images", images.0.len() - 1)))
}

/// Removes golden roots, all or those that are old or too many; returns their keys.
///
/// # Errors
/// The engine does not answer, or has no image of a node to look at them with.
pub async fn prune(docker: &Docker, all: bool) -> Result<Vec<String>> {
    let pruned = match look(docker).await? {
        Some(roots) => closing(&roots, roots.prune(all).await).await?,
        None if !all && nodes::roots::any(docker).await? => {
            bail!("there is no image of a node to look at golden roots with")
        }
        None => Vec::new(),
    };
    if all {
        nodes::roots::remove_volume(docker).await?;
    }
    Ok(pruned)
}

/// What new nodes of a lab with these images would begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// A golden root that has them all.
    Golden,
    /// One that is made of another.
    Near,
    /// One that is made from nothing.
    Nothing,
}

/// Looks which golden roots there are.
///
/// # Errors
/// The engine does not answer.
pub async fn beginning(docker: &Docker, images: &ImageSet) -> Result<Beginning> {
    let there = match look(docker).await? {
        Some(roots) => closing(&roots, roots.list().await).await?,
        None => Vec::new(),
    };
    let mut images = images.clone();
    if let Some(tool) = tool::present(docker).await? {
        let origin = Origin::Packages("tool".to_owned());
        let image = Image { reference: String::new(), id: tool.id, size: tool.size, origin };
        images.0.insert(Role::Tool, image);
    }
    Ok(nearest(&there, &key(&images)?))
}

fn nearest(there: &[Key], key: &Key) -> Beginning {
    if there.contains(key) {
        Beginning::Golden
    } else if there.iter().any(|other| other.is_near(key)) {
        Beginning::Near
    } else {
        Beginning::Nothing
    }
}

/// Holds the volume for a while with whatever node image is here, if there are both.
async fn look(docker: &Docker) -> Result<Option<Roots<'_>>> {
    if !nodes::roots::any(docker).await? {
        return Ok(None);
    }
    match a_node(docker).await? {
        Some(node) => Roots::open(docker, None, &node).await.map(Some),
        None => Ok(None),
    }
}

/// The image of a node that is here, by its id.
///
/// # Errors
/// The engine does not answer.
pub async fn a_node(docker: &Docker) -> Result<Option<String>> {
    let rows = super::list(docker).await?;
    Ok(rows.into_iter().find(|row| row.role == Role::Node).and_then(|row| row.present).map(|node| node.id))
}

/// Lets go of the volume, whatever came of what was done on it.
async fn closing<T>(roots: &Roots<'_>, came: Result<T>) -> Result<T> {
    roots.close().await?;
    came
}

/// Says whether it had to be made.
async fn make(cx: &StepCx, docker: &Docker, roots: &Roots<'_>, key: &Key, images: &ImageSet) -> Result<bool> {
    if roots.holds(key).await? {
        return Ok(false);
    }
    cx.say(format!("making golden root {key}: images are unpacked once for all nodes"));
    let wanted: Vec<(Role, Image)> = load::of_nodes(images);
    roots.begin(key).await?;
    let engine = Lab { docker, labels: roots.labels().clone() };
    load::into(cx, &engine, &[roots.container().to_owned()], &wanted).await?;
    let names: Vec<&str> = wanted.iter().map(|(_, image)| image.reference.as_str()).collect();
    roots.finish(key, &names).await?;
    for old in roots.prune(false).await? {
        cx.say(format!("golden root {old} was removed: it is old, or there were too many"));
    }
    Ok(true)
}

/// The name in Docker changes with the content, so that ids say everything.
fn key(images: &ImageSet) -> Result<Key> {
    let node = images.get(Role::Node)?;
    let others = images.0.iter().filter(|(role, _)| **role != Role::Node).map(|(_, image)| image.id.as_str());
    Ok(Key::new(&node.id, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tool: &str) -> ImageSet {
        let image = |role: Role, id: &str| {
            let origin = Origin::Packages(role.name().into());
            (role, Image { reference: format!("docker.io/wplab/{}:{id}", role.name()), id: id.into(), size: 1, origin })
        };
        ImageSet([image(Role::Node, "n"), image(Role::Mysql, "m"), image(Role::Tool, tool)].into())
    }

    #[test]
    fn another_executable_is_another_golden_root_and_near_the_last() {
        let (one, other) = (key(&set("t")).expect("a key"), key(&set("u")).expect("a key"));
        assert_ne!(one, other);
        assert_eq!(one.to_string().split('-').next(), other.to_string().split('-').next());
        let there = std::slice::from_ref(&one);
        assert_eq!((nearest(there, &one), nearest(there, &other)), (Beginning::Golden, Beginning::Near));
        assert_eq!(nearest(&[], &one), Beginning::Nothing);
        assert!(key(&ImageSet::default()).is_err(), "without a node image there is none");
    }

    #[test]
    fn images_that_are_on_their_way_are_not_waited_for() {
        let node = |alone| NodeImage { reference: "n".into(), alone };
        assert!(is_wanted(false, &node(false)));
        assert!(!is_wanted(false, &node(true)) && !is_wanted(true, &node(false)));
    }
}

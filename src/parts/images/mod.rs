//! Images: from a registry, from packages or from a bundle, behind one function; and onto every node. The rest of the
//! code cannot tell where an image came from (docs/decisions/0010-images-from-three-places.md).

mod base;
mod build;
mod bundle;
pub mod catalogue;
pub mod check;
mod choose;
mod estimate;
pub mod forecast;
pub mod golden;
mod here;
mod leftover;
mod load;
mod needed;
mod own;
pub mod pull;
mod rule;
mod schedule;
mod set;
mod sound;
mod stream;
pub(super) mod tool;
mod transport;

use std::{fmt, path::Path};

use anyhow::{Context, Result};
use futures_util::future::try_join;

pub use base::NoBase;
pub use bundle::NotABundle;
pub use check::{Checked, ContractBroken};
pub use estimate::{Estimate, Forecast, RoleEstimate, estimate};
pub use here::{ImageRow, Present, list};
pub use load::{Waves, load, on_workers, onto};
pub use pull::{PullError, PullErrorKind};
pub use rule::{How, Kept, NoRecipe, NotKept, Pulling};
pub use set::{Image, ImageSet, Origin, Role};
pub use transport::DiskFull;

use crate::{
    host::{Host, docker::Docker},
    run::{
        StepCx, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
        gate::Gate,
    },
    spec::{Flavour, ImageSource, LabSpec, Topology},
};
use catalogue::Catalogue;
use check::Candidate;
use needed::Chances;
use set::{name, named};
use sound::Gathering;

/// Docker has no image for a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoImage {
    /// The role.
    pub role: Role,
}

impl fmt::Display for NoImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no image for {} here", self.role.name())
    }
}

impl Advise for NoImage {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::GetImage { role: self.role.name() }]
    }
}

/// Docker has no image of a name that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchImage {
    /// The name.
    pub image: String,
}

impl fmt::Display for NoSuchImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Docker has no image {}", self.image)
    }
}

impl Advise for NoSuchImage {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words(format!("`docker pull {}` fetches it", self.image))]
    }
}

/// The image of the nodes, handed on before the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    /// Its name.
    pub reference: String,
    /// Others have to be pulled or built first.
    pub alone: bool,
}

/// Makes sure that every image that a lab needs is in Docker, and has the name that manifests use. [`ImageSet::flavour`]
/// of the set tells which flavour the lab got. `kept` is what the lab has, if it stands. `node` gets the node's image as soon
/// as it is there: nodes can boot while others are on their way.
///
/// # Errors
/// [`PullError`], [`NoRecipe`], [`NotKept`], [`NotABundle`], [`ContractBroken`],
/// [`crate::host::docker::BuildFailed`], or Docker's own.
pub async fn ensure(
    cx: StepCx,
    host: &Host,
    spec: &LabSpec,
    mirror: Option<&str>,
    kept: &Kept,
    node: &Gate<NodeImage>,
) -> Result<Stepped<ImageSet>> {
    let catalogue = Catalogue::embedded()?;
    let gathering = Gathering { cx: &cx, host, catalogue: &catalogue, spec, mirror, kept };
    let roles = choose::roles(&host.docker, &catalogue, spec, mirror).await?;
    let mut alone = false;
    for role in &roles {
        alone |= !gathering.is_here(*role).await?;
    }
    let hand_on = |images: &ImageSet| {
        let reference = images.reference(Role::Node)?.to_owned();
        node.open(NodeImage { reference, alone });
        anyhow::Ok(())
    };
    let (mut images, mut changed) = if gathering.is_at_hand(Role::Node).await? {
        // Nothing that has to be built for the others has to be built for it.
        let first = async {
            let first = gathering.sound(&[Role::Node]).await?;
            hand_on(&first.0)?;
            anyhow::Ok(first)
        };
        let others: Vec<Role> = roles.into_iter().filter(|role| *role != Role::Node).collect();
        let (first, others) = try_join(first, gathering.sound(&others)).await?;
        let mut images = others.0;
        images.0.extend(first.0.0);
        (images, first.1 | others.1)
    } else {
        let all = gathering.sound(&roles).await?;
        hand_on(&all.0)?;
        all
    };
    let (tool, made) = tool::ensure(&cx, &host.docker).await?;
    images.0.insert(Role::Tool, named(&host.docker, Role::Tool, &tool, Origin::Packages("tool".to_owned())).await?);
    changed |= made;
    let size: u64 = images.0.values().map(|image| image.size).sum();
    let detail = format!("{} images in Docker, {} MB", images.0.len(), size / 1_000_000);
    Ok(Stepped::changed(changed, images, detail))
}

/// Builds the images of these roles (all that have a recipe, when there are none) from packages, and what they are built
/// from.
///
/// # Errors
/// [`NoRecipe`], [`crate::host::docker::BuildFailed`], or Docker's own.
pub async fn build(cx: StepCx, host: &Host, roles: &[Role], mirror: Option<&str>) -> Result<Stepped<ImageSet>> {
    some(cx, host, &ImageSource::Packages, roles, mirror, &Kept::new(), "built").await
}

/// Pulls the public images of these roles (all, when there are none).
///
/// # Errors
/// [`PullError`], or Docker's own.
pub async fn pull(cx: StepCx, host: &Host, roles: &[Role], mirror: Option<&str>) -> Result<Stepped<ImageSet>> {
    some(cx, host, &ImageSource::Registry, roles, mirror, &Kept::new(), "pulled").await
}

/// Makes sure of the images of these roles (all, when there are none) as `up` would, in advance.
///
/// # Errors
/// As [`ensure`].
pub async fn get(
    cx: StepCx,
    host: &Host,
    source: &ImageSource,
    roles: &[Role],
    mirror: Option<&str>,
) -> Result<Stepped<ImageSet>> {
    some(cx, host, source, roles, mirror, &Kept::new(), "at hand").await
}

/// Chooses images for these roles alone as `up` chooses for a lab that has `kept`, and gathers them. They are not held
/// against their contracts.
///
/// # Errors
/// As [`ensure`].
pub async fn take(
    cx: StepCx,
    host: &Host,
    roles: &[Role],
    mirror: Option<&str>,
    kept: &Kept,
) -> Result<Stepped<ImageSet>> {
    let catalogue = Catalogue::embedded()?;
    let (images, changed) = choose::gather(&cx, host, &catalogue, &ImageSource::Auto, mirror, kept, roles).await?;
    let detail = format!("{} images taken", images.0.len());
    Ok(Stepped::changed(changed, images, detail))
}

async fn some(
    cx: StepCx,
    host: &Host,
    source: &ImageSource,
    roles: &[Role],
    mirror: Option<&str>,
    kept: &Kept,
    verb: &str,
) -> Result<Stepped<ImageSet>> {
    let catalogue = Catalogue::embedded()?;
    let can = |role: Role| {
        let of_role = catalogue.role(role);
        of_role.is_some_and(|of_role| of_role.recipe.is_some() || !matches!(source, ImageSource::Packages))
    };
    let chosen = |role: &Role| if roles.is_empty() { can(*role) } else { roles.contains(role) };
    let roles: Vec<Role> = Role::ALL.into_iter().filter(chosen).collect();
    let spec = LabSpec { images: source.clone(), ..LabSpec::default() };
    let gathering = Gathering { cx: &cx, host, catalogue: &catalogue, spec: &spec, mirror, kept };
    let (images, changed) = gathering.sound(&roles).await?;
    let detail = format!("{} images {verb}, and sound", images.0.len());
    Ok(Stepped::changed(changed, images, detail))
}

/// Holds the images that Docker has for these roles (all of them, when there are none) against their contracts; with
/// `image`, that one instead, whatever it is called.
///
/// # Errors
/// There is no image to look at, or one cannot be run at all. A line that breaks is no error: it is in the report.
pub async fn check(cx: StepCx, host: &Host, roles: &[Role], image: Option<&str>) -> Result<Stepped<Vec<Checked>>> {
    let candidates = candidates(host, roles, image).await?;
    let checked = check::check(&cx, &host.docker, candidates).await?;
    let broken = checked.iter().filter(|checked| checked.broken().is_some()).count();
    let detail = match (checked.len(), broken) {
        (0, _) => "no image is here yet".to_owned(),
        (all, 0) => format!("{all} images keep their contracts"),
        (all, broken) => format!("{broken} of {all} images break their contracts"),
    };
    Ok(Stepped::done(checked, detail))
}

/// The images that are to be looked at.
pub(super) async fn candidates(host: &Host, roles: &[Role], image: Option<&str>) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    if let (Some(name), Some(role)) = (image, roles.first()) {
        let found = host.docker.image(name).await?;
        let found = found.ok_or_else(|| Trouble::from(NoSuchImage { image: name.to_owned() }))?;
        candidates.push(Candidate { role: *role, image: name.to_owned(), id: found.id });
    } else {
        for row in here::list(&host.docker).await? {
            let wanted = roles.is_empty() || roles.contains(&row.role);
            match row.present.filter(|_| wanted) {
                Some(Present { id, origin: Origin::Registry(image), .. }) => {
                    candidates.push(Candidate { role: row.role, image, id });
                }
                Some(Present { id, .. }) => {
                    candidates.push(Candidate { role: row.role, image: row.built_tag.unwrap_or_default(), id });
                }
                None if roles.contains(&row.role) => {
                    return Err(Trouble::from(NoImage { role: row.role }).into());
                }
                None => {}
            }
        }
    }
    Ok(candidates)
}

/// Writes the images of both topologies into one file (see [`ImageSource::Bundle`]), after making sure that they are
/// there: of the flavours of Galera the one that was asked for, else the one that a lab would get. Returns its size in
/// bytes.
///
/// # Errors
/// As [`ensure`]; or the file cannot be written.
pub async fn save(
    cx: StepCx,
    host: &Host,
    flavour: Flavour,
    mirror: Option<&str>,
    path: &Path,
) -> Result<Stepped<u64>> {
    let catalogue = Catalogue::embedded()?;
    let mut spec = LabSpec { images: ImageSource::Auto, ..LabSpec::default() };
    let mut roles = choose::roles(&host.docker, &catalogue, &spec, mirror).await?;
    (spec.database.topology, spec.database.flavour) = (Topology::Galera, flavour);
    roles.extend(choose::roles(&host.docker, &catalogue, &spec, mirror).await?);
    // Whoever has no network may want backups and monitoring, too.
    roles.extend([Role::Versitygw, Role::Prometheus, Role::MysqldExporter]);
    roles.sort_unstable();
    roles.dedup();
    let (images, _) = choose::gather(&cx, host, &catalogue, &spec.images, mirror, &Kept::new(), &roles).await?;
    let size = bundle::save(&cx, &host.docker, &images, path).await?;
    Ok(Stepped::done(size, format!("{} images in {}, {} MB", images.0.len(), path.display(), size / 1_000_000)))
}

/// Builds the image of the recipe `kind`, whose `/kind` is the executable, and returns its reference.
///
/// # Errors
/// [`crate::host::docker::BuildFailed`], or Docker's own.
pub async fn kind_recipe(cx: &StepCx, docker: &Docker) -> Result<String> {
    let catalogue = Catalogue::embedded()?;
    let recipe = catalogue.tool("kind").context("the catalogue has no tool kind")?.recipe.clone();
    build::build(cx, docker, &catalogue, &[recipe.as_str()], None).await?;
    catalogue.tag(&recipe, docker.arch())
}

/// The images that Docker has for a lab, under the names that manifests use, without changing anything; where one is
/// absent, its public reference stands for it.
///
/// # Errors
/// [`NotABundle`]; Docker does not answer.
pub async fn present(docker: &Docker, spec: &LabSpec) -> Result<ImageSet> {
    let catalogue = Catalogue::embedded()?;
    let roles = choose::roles(docker, &catalogue, spec, None).await?;
    let mut images = public_of(&catalogue, &roles);
    for row in here::list(docker).await?.into_iter().filter(|row| roles.contains(&row.role)) {
        if let Some(Present { id, size, origin }) = row.present {
            let reference = format!("docker.io/{}", name(row.role, &id)?);
            images.0.insert(row.role, Image { reference, id, size, origin });
        }
    }
    for role in roles {
        let Some(of_file) = own::named_for(spec, role) else { continue };
        let image = match pull::present(docker, of_file).await? {
            Some(image) => {
                let reference = format!("docker.io/{}", name(role, &image.id)?);
                Image { reference, id: image.id, size: image.size, origin: Origin::Named(of_file.to_owned()) }
            }
            None => public(of_file),
        };
        images.0.insert(role, image);
    }
    Ok(images)
}

/// The public references of a lab's images, for who has no engine at hand.
///
/// # Errors
/// The catalogue is broken, which the tests rule out.
pub fn public_set(spec: &LabSpec) -> Result<ImageSet> {
    let chances = Chances { registry: true, ..Chances::default() };
    let roles = needed::roles(spec, needed::server(&spec.database, &spec.images, &chances));
    let mut images = public_of(&Catalogue::embedded()?, &roles);
    images.0.extend(roles.into_iter().filter_map(|role| Some((role, public(own::named_for(spec, role)?)))));
    Ok(images)
}

fn public_of(catalogue: &Catalogue, roles: &[Role]) -> ImageSet {
    let of = |&role: &Role| {
        let reference = catalogue.role(role).map_or(concat!("wplab/tool:", env!("CARGO_PKG_VERSION")), |r| &r.public);
        (role, public(reference))
    };
    ImageSet(roles.iter().map(of).collect())
}

fn public(reference: &str) -> Image {
    Image {
        reference: reference.to_owned(),
        id: String::new(),
        size: 0,
        origin: Origin::Registry(reference.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_engine_a_lab_gets_the_public_images_that_it_needs() {
        let mut spec = LabSpec::default();
        let set = public_set(&spec).expect("a set");
        assert_eq!((set.0.len(), set.get(Role::Mysql).is_ok(), set.flavour()), (6, true, None));
        spec.database.topology = Topology::Galera;
        let set = public_set(&spec).expect("a set");
        assert_eq!((set.0.len(), set.get(Role::Etcd).is_ok(), set.flavour()), (7, true, Some(Flavour::Percona)));
        (spec.images, spec.database.flavour) = (ImageSource::Packages, Flavour::Auto);
        assert_eq!(public_set(&spec).expect("a set").flavour(), Some(Flavour::Mariadb));
    }
}

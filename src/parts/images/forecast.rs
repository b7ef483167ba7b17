//! How long the images of a lab will take on this machine, and how much disk: for who is asked before anything is done.

use anyhow::{Context, Result};

use super::{
    Role, build,
    catalogue::Catalogue,
    estimate::{Forecast, estimate, forecast},
    needed::{self, Chances},
    rule::{self, Choice, Circumstances, Here, How, Kept},
};
use crate::{
    host::{Host, HostFacts, docker::Docker, machine::outlook::ImagesAhead},
    spec::{ImageSource, LabSpec},
};

/// What is ahead of a lab on this machine. Without an engine nothing can be seen of what is in it, and everything is
/// taken to be missing. `kind`: that recipe has to be built, too.
///
/// # Errors
/// An image can not be had at all ([`super::NoRecipe`]), or Docker's own.
pub async fn ahead(
    docker: Option<Docker>,
    facts: HostFacts,
    spec: &LabSpec,
    mirror: Option<&str>,
    kind: bool,
) -> Result<ImagesAhead> {
    let catalogue = Catalogue::embedded()?;
    let ways: Vec<How> = match &docker {
        Some(docker) => {
            let host = Host { docker: docker.clone(), kind: None, facts: facts.clone() };
            estimate(&host, spec, mirror, &Kept::new()).await?.roles.into_iter().map(|role| role.how).collect()
        }
        None => bare(&catalogue, &facts, spec)?,
    };
    let mut recipes: Vec<&str> =
        ways.iter().filter_map(|how| if let How::Build(recipe) = how { Some(recipe.as_str()) } else { None }).collect();
    if kind {
        recipes.push(&catalogue.tool("kind").context("the catalogue has no tool kind")?.recipe);
    }
    let builds = match &docker {
        Some(docker) => build::missing(docker, &catalogue, &recipes).await?,
        None => catalogue.closure(&recipes)?,
    };
    let Forecast { seconds, disk } = forecast(&catalogue, &builds, facts.cpus);
    let pulls = ways.iter().filter(|how| matches!(how, How::Pull(_))).count();
    Ok(ImagesAhead { builds, pulls, seconds, disk })
}

/// The ways to the images of a lab on a machine that has none of them.
fn bare(catalogue: &Catalogue, facts: &HostFacts, spec: &LabSpec) -> Result<Vec<How>> {
    if matches!(spec.images, ImageSource::Bundle(_)) {
        return Ok(Vec::new());
    }
    let chances = Chances { registry: facts.registry, ..Chances::default() };
    let roles = needed::roles(spec, needed::server(&spec.database, &spec.images, &chances));
    let kept = Kept::new();
    let now = Circumstances { source: &spec.images, facts, registry: facts.registry, kept: &kept };
    let way = |role: Role| {
        let source = catalogue.role(role)?;
        Some(rule::choose(role, source, Here::default(), now).map(|Choice { how, .. }| how))
    };
    roles.into_iter().filter_map(way).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        parts::images::rule::tests::able,
        spec::{Flavour, Topology},
    };

    async fn on(facts: HostFacts, images: ImageSource, kind: bool) -> ImagesAhead {
        let spec = LabSpec { images, ..LabSpec::default() };
        ahead(None, facts, &spec, None, kind).await.expect("a forecast")
    }

    #[tokio::test]
    async fn before_there_is_an_engine_everything_is_ahead() {
        let silent = on(able(), ImageSource::Auto, false).await;
        assert_eq!(silent.pulls, 0);
        for name in ["debian-trixie", "golang", "node", "mysql", "wordpress", "nfs", "metrics-server"] {
            assert!(silent.builds.iter().any(|built| built == name), "{name} is not ahead: {:?}", silent.builds);
        }
        assert!(!silent.builds.iter().any(|built| built == "mariadb"), "another topology's");
        let wide = on(HostFacts { cpus: 4, ..able() }, ImageSource::Auto, false).await;
        let narrow = on(HostFacts { cpus: 1, ..able() }, ImageSource::Auto, false).await;
        assert!(wide.seconds < silent.seconds && silent.seconds < narrow.seconds, "more cores take less time");
    }

    #[tokio::test]
    async fn with_a_registry_only_what_is_quick_is_built() {
        let facts = HostFacts { registry: true, ..able() };
        let auto = on(facts.clone(), ImageSource::Auto, false).await;
        assert_eq!(auto.builds, ["debian-sid", "mysql", "debian-trixie", "wordpress", "nfs"]);
        assert_eq!(auto.pulls, 2, "node and metrics-server");
        let silent = on(able(), ImageSource::Auto, false).await;
        assert!(auto.seconds < silent.seconds && auto.disk < silent.disk);
        let kind = on(facts.clone(), ImageSource::Registry, true).await;
        assert_eq!(
            (kind.builds.as_slice(), kind.pulls),
            (["debian-trixie", "golang", "kind"].map(String::from).as_slice(), 5)
        );
        let bundle = on(facts.clone(), ImageSource::Bundle("x.tar".into()), false).await;
        assert_eq!((bundle.builds.len(), bundle.pulls, bundle.seconds), (0, 0, 0));
        let unable = on(HostFacts { kernel_nfs: false, ..facts }, ImageSource::Auto, false).await;
        assert!(unable.builds.iter().any(|name| name == "node") && unable.pulls == 1, "{unable:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_an_error_here_already() {
        let mut spec = LabSpec::default();
        (spec.database.topology, spec.database.flavour) = (Topology::Galera, Flavour::Percona);
        let error = ahead(None, able(), &spec, None, false).await.expect_err("no registry");
        assert!(crate::run::advice::find::<super::super::NoRecipe>(&error).is_some(), "{error}");
    }
}

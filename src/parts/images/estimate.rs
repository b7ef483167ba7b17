//! What `up` would do about the images of a lab, and what that costs on this machine, without doing it.

use anyhow::Result;
use serde::Serialize;

use super::{
    Role, build, bundle,
    catalogue::Catalogue,
    choose::{Chosen, roles, survey},
    own,
    rule::{How, Kept},
    schedule,
};
use crate::{
    host::{
        Host,
        machine::needs::{self, Building},
    },
    spec::{ImageSource, LabSpec},
};

/// What the images of a lab cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forecast {
    /// Seconds that the builds take on this machine; how long pulls take is the network's secret.
    pub seconds: u64,
    /// Bytes on Docker's disk, with what building takes beside the images.
    pub disk: u64,
}

/// What it costs to have an image for every role when these are missing.
pub(super) fn forecast(catalogue: &Catalogue, builds: &[String], cores: u64) -> Forecast {
    let cores = usize::try_from(cores).unwrap_or(usize::MAX);
    let disk = needs::images(Building::Nothing) + catalogue.build_disk(builds);
    Forecast { seconds: schedule::plan(catalogue, builds, cores).seconds(), disk }
}

/// What `up` would do for one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RoleEstimate {
    /// The role.
    pub role: Role,
    /// The way to its image.
    pub how: How,
    /// Why that way, as a sentence fragment.
    pub because: String,
}

/// What `up` would do about images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Estimate {
    /// By role.
    pub roles: Vec<RoleEstimate>,
    /// Everything that would be built, in that order, each with its seconds on two cores.
    pub builds: Vec<(String, u64)>,
    /// What all of it costs on this machine.
    pub forecast: Forecast,
}

/// What [`super::ensure`] would do, without doing it.
///
/// # Errors
/// [`super::NoRecipe`], [`super::NotKept`], [`super::NotABundle`], or Docker's own.
pub async fn estimate(host: &Host, spec: &LabSpec, mirror: Option<&str>, kept: &Kept) -> Result<Estimate> {
    let catalogue = Catalogue::embedded()?;
    let roles = roles(&host.docker, &catalogue, spec, mirror).await?;
    let mut estimate = Estimate::default();
    let (named, roles): (Vec<Role>, Vec<Role>) =
        roles.into_iter().partition(|role| own::named_for(spec, *role).is_some());
    if let ImageSource::Bundle(path) = &spec.images {
        bundle::demand(path, host.docker.arch(), &roles)?;
        let bundled = roles.into_iter().filter(|role| *role != Role::Tool);
        estimate.roles =
            bundled.map(|role| RoleEstimate { role, how: How::Bundle, because: "asked for".into() }).collect();
    } else {
        let chosen = survey(host, &catalogue, &spec.images, mirror, kept, &roles).await?;
        let of = |c: Chosen<'_>| RoleEstimate { role: c.role, how: c.how, because: c.because };
        estimate.roles = chosen.into_iter().map(of).collect();
    }
    for role in named {
        let Some(reference) = own::named_for(spec, role) else { continue };
        let (how, because) = own::way(&host.docker, reference).await?;
        estimate.roles.push(RoleEstimate { role, how, because });
    }
    estimate.roles.sort_by_key(|estimate| estimate.role);
    let recipes: Vec<&str> = estimate
        .roles
        .iter()
        .filter_map(|r| if let How::Build(recipe) = &r.how { Some(recipe.as_str()) } else { None })
        .collect();
    let missing = build::missing(&host.docker, &catalogue, &recipes).await?;
    estimate.forecast = forecast(&catalogue, &missing, host.facts.cpus);
    estimate.builds = missing
        .into_iter()
        .map(|name| {
            let seconds = catalogue.seconds(&name);
            (name, seconds)
        })
        .collect();
    estimate.roles.push(RoleEstimate { role: Role::Tool, how: How::Tool, because: String::new() });
    Ok(estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_is_for_what_is_compiled_also_when_the_compiler_is_there() {
        let catalogue = Catalogue::embedded().expect("parses");
        let disk = |builds: &[&str]| {
            forecast(&catalogue, &builds.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), 2).disk
        };
        assert!(disk(&[]) < disk(&["mysql"]) && disk(&["mysql"]) < disk(&["programs"]));
    }

    #[test]
    fn by_the_table_everything_is_built_in_under_ten_minutes_on_two_cores() {
        let catalogue = Catalogue::embedded().expect("parses");
        // What only watches is built for who asks for it.
        let asked = |name: &&str| !["prometheus", "mysqld-exporter"].contains(name);
        let recipes: Vec<&str> = catalogue.recipe_names().filter(asked).collect();
        let all = catalogue.closure(&recipes).expect("no circle");
        let (two, four) = (forecast(&catalogue, &all, 2).seconds, forecast(&catalogue, &all, 4).seconds);
        assert!((300..600).contains(&two) && four < two, "{two} s on two cores, {four} s on four");
    }
}

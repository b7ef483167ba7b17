//! What a lab that stands cannot become. Its volumes hold the data of one server, which another does not read, so `up`
//! refuses before it touches anything inside the cluster.

use std::{fmt, time::Duration};

use anyhow::Result;

use crate::{
    cluster::Cluster,
    host::kind,
    labels,
    parts::images::ImageSet,
    spec::{Flavour, LabName, LabSpec, load::SpecError},
};

/// How long a lab may take to say what it is before anything is done; one that does not is asked again in [`check`].
const PATIENCE: Duration = Duration::from_secs(5);

/// Compares what is wanted with what the lab recorded, if there is one.
///
/// # Errors
/// [`OtherData`]; or the cluster does not answer.
pub(super) async fn check(cluster: &Cluster, wanted: &LabSpec, images: &ImageSet) -> Result<()> {
    match recorded(cluster).await? {
        Some((stands, flavour)) => Ok(compare(&stands, flavour, wanted, images.flavour())?),
        None => Ok(()),
    }
}

/// The same before images are chosen, if the lab answers at all: what can be refused at once is.
///
/// # Errors
/// [`OtherData`].
pub(super) async fn foresee(wanted: &LabSpec) -> Result<(), OtherData> {
    let asked = async {
        let cluster = Cluster::connect(&kind::kubeconfig_path(&wanted.name), &wanted.name).await?;
        recorded(&cluster).await
    };
    let chosen = Some(wanted.database.flavour).filter(|flavour| *flavour != Flavour::Auto);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Some((stands, flavour)))) => compare(&stands, flavour, wanted, chosen),
        _ => Ok(()),
    }
}

/// What the lab was made from, and the flavour of its images.
async fn recorded(cluster: &Cluster) -> Result<Option<(LabSpec, Option<Flavour>)>> {
    if !cluster.has_namespace().await? {
        return Ok(None);
    }
    let stands = match cluster.lab_file().await {
        // Records that another version wrote in another form are about to be written anew.
        Err(error) if error.is::<SpecError>() => return Ok(None),
        read => read?,
    };
    let images = cluster.record(labels::IMAGES).await?;
    let flavour = serde_json::from_str::<ImageSet>(&images).ok().and_then(|images| images.flavour());
    Ok(Some((stands, flavour)))
}

/// The data of a lab that stands is of another server than the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherData {
    lab: LabName,
    /// `topology` or `flavour`, as the flag is called.
    what: &'static str,
    has: &'static str,
    wanted: &'static str,
}

impl fmt::Display for OtherData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherData { lab, what, has, wanted } = self;
        write!(
            f,
            "lab {lab} has {what} {has}, and this would make it {wanted}, which does not read the same data; go on with --{what} {has}, remove the lab first (wplab down {lab}), or bring up another under a name of its own"
        )
    }
}

impl std::error::Error for OtherData {}

fn compare(
    stands: &LabSpec,
    flavour: Option<Flavour>,
    wanted: &LabSpec,
    chosen: Option<Flavour>,
) -> Result<(), OtherData> {
    let other = |what, has, asked| OtherData { lab: wanted.name.clone(), what, has, wanted: asked };
    let (has, asked) = (stands.database.topology, wanted.database.topology);
    if has != asked {
        return Err(other("topology", has.name(), asked.name()));
    }
    match (flavour, chosen) {
        (Some(has), Some(chosen)) if has != chosen => Err(other("flavour", has.name(), chosen.name())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Topology;

    #[test]
    fn a_lab_keeps_its_topology_and_its_flavour() {
        let replication = LabSpec::default();
        let mut galera = LabSpec::default();
        galera.database.topology = Topology::Galera;
        let (percona, mariadb) = (Some(Flavour::Percona), Some(Flavour::Mariadb));
        assert!(compare(&replication, None, &replication, None).is_ok());
        assert!(compare(&galera, mariadb, &galera, mariadb).is_ok());
        let told = |stands, flavour, wanted, chosen| {
            compare(stands, flavour, wanted, chosen).expect_err("refused").to_string()
        };
        assert!(told(&replication, None, &galera, mariadb).starts_with("lab wplab has topology replication, and this"));
        assert!(told(&galera, mariadb, &galera, percona).contains("go on with --flavour mariadb, remove"));
    }
}

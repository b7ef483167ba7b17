//! What a lab that stands keeps, and what it cannot become. Its volumes hold the data of one server, which another
//! does not read, so `up` refuses before it touches anything inside the cluster.

use std::{borrow::Cow, fmt, time::Duration};

use anyhow::{Context, Result};

use k8s_openapi::api::core::v1::ConfigMap;

use crate::{
    cluster::{Cluster, OtherVersion, apply::Elsewhere},
    host::nodes::{self, Access},
    inside::agent::record::{INITIALISED, STATE},
    labels,
    parts::{
        database::{self, TakenBack},
        images::{ImageSet, Kept},
    },
    run::{
        StepCx, Stepped,
        advice::{self, Advise, Blame, Hint, Trouble},
        gate::Gate,
    },
    spec::{Flavour, ImageSource, LabName, LabSpec, Topology},
};

/// How long a lab may take to say what it is before anything is done; one that does not is asked again in [`check`].
const PATIENCE: Duration = Duration::from_secs(5);

/// What of a lab matters before its images are chosen. Of a lab that does not answer (its nodes are stopped) nothing is
/// known and nothing is kept: its record is inside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The flavour of Galera that it runs.
    flavour: Option<Flavour>,
    /// Where its images came from.
    pub(crate) kept: Kept,
}

impl Standing {
    /// What is wanted, with the flavour that the lab has where it was left open and every flavour could be had.
    pub(crate) fn settle<'a>(&self, wanted: &'a LabSpec) -> Cow<'a, LabSpec> {
        let open = wanted.database.topology == Topology::Galera
            && wanted.database.flavour == Flavour::Auto
            && matches!(wanted.images, ImageSource::Auto | ImageSource::Registry);
        match self.flavour.filter(|_| open) {
            Some(flavour) => {
                let mut settled = wanted.clone();
                settled.database.flavour = flavour;
                Cow::Owned(settled)
            }
            None => Cow::Borrowed(wanted),
        }
    }
}

/// Compares what is wanted with what the lab recorded, if there is one.
///
/// # Errors
/// [`OtherData`]; or the cluster does not answer.
async fn check(cluster: &Cluster, wanted: &LabSpec, images: &ImageSet) -> Result<()> {
    match recorded(cluster).await? {
        Some((stands, had)) => {
            compare(&stands, had.flavour(), wanted, images.flavour())?;
            Ok(same_members(cluster, &stands, wanted).await??)
        }
        None => Ok(()),
    }
}

/// Members of a database that lives come and go one safe step at a time, which is not `up`'s business.
///
/// # Errors
/// The cluster does not answer; the inner one is [`OtherMembers`].
async fn same_members(cluster: &Cluster, stands: &LabSpec, wanted: &LabSpec) -> Result<Result<(), Trouble>> {
    let (has, wanted_members) = (stands.database.members, wanted.database.members);
    if has == wanted_members {
        return Ok(Ok(()));
    }
    let state: Option<ConfigMap> = cluster.get(STATE).await?;
    let lives = state.and_then(|state| state.data).is_some_and(|data| data.contains_key(INITIALISED));
    let other = OtherMembers { lab: wanted.name.clone(), has, wanted: wanted_members };
    Ok(if lives { Err(Trouble::from(other)) } else { Ok(()) })
}

/// Volumes only grow.
///
/// # Errors
/// [`SmallerVolume`].
fn not_smaller(stands: &LabSpec, wanted: &LabSpec) -> Result<(), Trouble> {
    let (has, asked) = (&stands.database.volume, &wanted.database.volume);
    if asked.value() >= has.value() {
        return Ok(());
    }
    let (has, asked) = (has.as_str().to_owned(), asked.as_str().to_owned());
    Err(Trouble::from(SmallerVolume { lab: wanted.name.clone(), has, wanted: asked }))
}

/// Connects to a cluster that may hold a lab, and writes into it what the lab is made from, for whoever comes later.
///
/// # Errors
/// As [`check`]; nothing inside the cluster was touched then.
pub(super) async fn take_over(access: &Access, spec: &LabSpec, images: &ImageSet) -> Result<Cluster> {
    let cluster = Cluster::from_text(&access.kubeconfig, &spec.name).await?;
    check(&cluster, spec, images).await?;
    let new = !cluster.has_namespace().await?;
    if new {
        cluster.hurry_dns().await?;
    }
    record(&cluster, spec, images).await?;
    if new {
        database::agent::unheld_lease(&cluster).await?;
    }
    Ok(cluster)
}

/// The database as it is wanted. Where a member did not do with that, the lab is written down as it was again.
///
/// # Errors
/// As [`database::ensure`].
pub(super) async fn declared(
    cx: StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    secrets: &Gate<()>,
    take_over: bool,
) -> Result<Stepped<()>> {
    let ensured = database::ensure(cx, cluster, spec, images, secrets, take_over).await;
    let taken_back = ensured.as_ref().err().and_then(advice::find::<TakenBack>);
    if let Some(stands) = taken_back.and_then(|what| what.stands.clone()) {
        let stands = stands.over(spec);
        database::declare_again(cluster, &stands, images).await?;
        record(cluster, &stands, images).await?;
    }
    ensured
}

/// Writes into a cluster what the lab is made from.
///
/// # Errors
/// The API server refuses, or the namespace is not this lab's.
pub(crate) async fn record(cluster: &Cluster, spec: &LabSpec, images: &ImageSet) -> Result<()> {
    let images = serde_json::to_string(images).context("cannot write down the images")?;
    let records = [(labels::LAB_FILE.to_owned(), spec.to_file()), (labels::IMAGES.to_owned(), images)];
    cluster.ensure_namespace(records.into()).await.map(drop)
}

/// Compares before images are chosen, if the lab answers at all: what can be refused at once is. Tells what it keeps.
///
/// # Errors
/// [`OtherData`].
pub(crate) async fn foresee(wanted: &LabSpec) -> Result<Standing, Trouble> {
    let asked = async {
        let cluster = Cluster::connect(&nodes::kubeconfig_path(&wanted.name), &wanted.name).await?;
        let Some((stands, had)) = recorded(&cluster).await? else { return anyhow::Ok(None) };
        let members = same_members(&cluster, &stands, wanted).await?;
        Ok(Some((stands, had, members)))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Some((stands, had, members)))) => {
            keep(&stands, had, wanted).and_then(|standing| members.map(|()| standing))
        }
        _ => Ok(Standing::default()),
    }
}

/// Looks before anything is touched whether others have declared something else than is wanted, if the lab answers at all.
///
/// # Errors
/// [`Elsewhere`].
pub(super) async fn undisputed(wanted: &LabSpec) -> Result<(), Trouble> {
    let asked = async {
        let cluster = Cluster::connect(&nodes::kubeconfig_path(&wanted.name), &wanted.name).await?;
        if !cluster.has_namespace().await? {
            return Ok(Vec::new());
        }
        database::disputed(&cluster, wanted).await
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(theirs)) if !theirs.is_empty() => {
            let others = theirs.into_iter().map(|one| (format!("database.{}", one.field), one.by)).collect();
            Err(Trouble::from(Elsewhere { lab: wanted.name.clone(), object: "Database/db".to_owned(), others }))
        }
        _ => Ok(()),
    }
}

fn keep(stands: &LabSpec, had: ImageSet, wanted: &LabSpec) -> Result<Standing, Trouble> {
    let chosen = Some(wanted.database.flavour).filter(|flavour| *flavour != Flavour::Auto);
    let flavour = had.flavour();
    compare(stands, flavour, wanted, chosen)?;
    Ok(Standing { flavour, kept: had.0.into_iter().map(|(role, image)| (role, image.origin)).collect() })
}

/// What the lab was made from, and its images.
async fn recorded(cluster: &Cluster) -> Result<Option<(LabSpec, ImageSet)>> {
    if !cluster.has_namespace().await? {
        return Ok(None);
    }
    let stands = match cluster.lab_file().await {
        // Records that another version wrote in another form are about to be written anew.
        Err(error) if advice::find::<OtherVersion>(&error).is_some() => return Ok(None),
        read => read?,
    };
    let images = cluster.record(labels::IMAGES).await?;
    Ok(Some((stands, serde_json::from_str(&images).unwrap_or_default())))
}

/// The data of a lab that stands is of another server than the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherData {
    /// The lab.
    pub lab: LabName,
    /// `topology` or `flavour`, as the flag is called.
    pub what: &'static str,
    /// What the lab has.
    pub has: &'static str,
    /// What is asked for.
    pub wanted: &'static str,
}

impl fmt::Display for OtherData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherData { lab, what, has, wanted } = self;
        write!(f, "lab {lab} has {what} {has}, and this would make it {wanted}, which does not read the same data")
    }
}

impl Advise for OtherData {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let OtherData { lab, what, has, .. } = self;
        vec![
            Hint::Keep { lab: lab.clone(), setting: what, has: (*has).to_owned() },
            Hint::Anew { lab: lab.clone() },
            Hint::OtherName,
        ]
    }
}

/// The lab has another number of database members than `up` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherMembers {
    /// The lab.
    pub lab: LabName,
    /// How many it has.
    pub has: u8,
    /// How many are asked for.
    pub wanted: u8,
}

impl fmt::Display for OtherMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherMembers { lab, has, wanted } = self;
        write!(f, "lab {lab} has {} in its database, and this asks for {wanted}", database::in_words(*has))
    }
}

impl Advise for OtherMembers {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let OtherMembers { lab, has, wanted } = self;
        let keep = Hint::words(format!("with `database: {{members: {has}}}` in its lab file it stays as it is"));
        vec![Hint::Scale { lab: lab.clone(), what: "db", to: wanted.to_string() }, keep]
    }
}

/// A lab's volumes are of another class than is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherClass {
    /// The lab.
    pub lab: LabName,
    /// What they are of.
    pub has: String,
    /// What is asked for.
    pub wanted: String,
}

impl fmt::Display for OtherClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherClass { lab, has, wanted } = self;
        write!(
            f,
            "the members' volumes of lab {lab} are of class {has}, and this asks for {wanted}; volumes do not change theirs"
        )
    }
}

impl Advise for OtherClass {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let keep =
            Hint::words(format!("with `database: {{volume-class: {}}}` in its lab file it stays as it is", self.has));
        vec![keep, Hint::Anew { lab: self.lab.clone() }]
    }
}

/// A lab's members have larger volumes than they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallerVolume {
    /// The lab.
    pub lab: LabName,
    /// What each member has.
    pub has: String,
    /// What is asked for.
    pub wanted: String,
}

impl fmt::Display for SmallerVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SmallerVolume { lab, has, wanted } = self;
        write!(f, "each member of lab {lab} has a volume of {has}, and this would make it {wanted}; volumes only grow")
    }
}

impl Advise for SmallerVolume {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let keep = Hint::words(format!("with `database: {{volume: {}}}` in its lab file it stays as it is", self.has));
        vec![keep, Hint::Anew { lab: self.lab.clone() }]
    }
}

fn compare(
    stands: &LabSpec,
    flavour: Option<Flavour>,
    wanted: &LabSpec,
    chosen: Option<Flavour>,
) -> Result<(), Trouble> {
    let other = |what, has, asked| Trouble::from(OtherData { lab: wanted.name.clone(), what, has, wanted: asked });
    let (has, asked) = (stands.database.topology, wanted.database.topology);
    if has != asked {
        return Err(other("topology", has.name(), asked.name()));
    }
    not_smaller(stands, wanted)?;
    let (has, asked) = (&stands.database.volume_class, &wanted.database.volume_class);
    if has != asked {
        let (has, asked) = (has.to_string(), asked.to_string());
        return Err(Trouble::from(OtherClass { lab: wanted.name.clone(), has, wanted: asked }));
    }
    match (flavour, chosen) {
        (Some(has), Some(chosen)) if has != chosen => Err(other("flavour", has.name(), chosen.name())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::{Client, client::Body};

    use super::*;
    use crate::parts::images::{Origin, Role};

    /// A lab with this record of its images.
    fn lab(stands: &LabSpec, images: &str) -> Cluster {
        let records = serde_json::json!({ labels::LAB_FILE: stands.to_file(), labels::IMAGES: images });
        let namespace = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": labels::NAMESPACE, "labels": labels::of_lab(&stands.name), "annotations": records},
        });
        let service = tower::service_fn(move |_: hyper::Request<Body>| {
            let body = Body::from(namespace.to_string().into_bytes());
            async move { Ok::<_, Infallible>(hyper::Response::new(body)) }
        });
        Cluster::new(Client::new(service, "default"), stands.name.clone())
    }

    #[tokio::test]
    async fn a_lab_keeps_the_origins_that_it_recorded() {
        let image = |origin: &str| {
            format!(r#"{{"reference": "docker.io/wplab/x:0", "id": "sha256:0", "size": 1, "origin": {{{origin}}}}}"#)
        };
        let (public, built) = (image(r#""registry": "wordpress:7.1""#), image(r#""packages": "mysql""#));
        let stands = LabSpec::default();
        // `database` is what older versions called the role.
        let images = format!(r#"{{"wordpress": {public}, "database": {built}}}"#);
        let (was, had) = recorded(&lab(&stands, &images)).await.expect("it answers").expect("it stands");
        let standing = keep(&was, had, &stands).expect("the same lab");
        let kept = [
            (Role::Mysql, Origin::Packages("mysql".into())),
            (Role::Wordpress, Origin::Registry("wordpress:7.1".into())),
        ];
        assert_eq!(standing.kept, kept.into());
        // A record in another form keeps nothing.
        let (was, had) = recorded(&lab(&stands, "?")).await.expect("it answers").expect("it stands");
        assert!(keep(&was, had, &stands).expect("the same lab").kept.is_empty());
    }

    #[test]
    fn a_flavour_that_was_left_open_is_that_of_the_lab_that_stands() {
        let settled = |has, topology, asked, images| {
            let mut wanted = LabSpec { images, ..LabSpec::default() };
            (wanted.database.topology, wanted.database.flavour) = (topology, asked);
            let standing = Standing { flavour: has, kept: Kept::new() };
            standing.settle(&wanted).database.flavour
        };
        let (galera, auto, mariadb) = (Topology::Galera, Flavour::Auto, Some(Flavour::Mariadb));
        assert_eq!(settled(mariadb, galera, auto, ImageSource::Auto), Flavour::Mariadb);
        assert_eq!(settled(mariadb, galera, auto, ImageSource::Registry), Flavour::Mariadb);
        assert_eq!(settled(None, galera, auto, ImageSource::Auto), auto);
        assert_eq!(settled(mariadb, galera, Flavour::Percona, ImageSource::Auto), Flavour::Percona);
        // What cannot be built and what a bundle lacks is told by who looks for it.
        assert_eq!(settled(Some(Flavour::Percona), galera, auto, ImageSource::Packages), auto);
        assert_eq!(settled(mariadb, galera, auto, ImageSource::Bundle("x".into())), auto);
        assert_eq!(settled(mariadb, Topology::Replication, auto, ImageSource::Auto), auto);
    }

    #[test]
    fn a_lab_keeps_its_topology_and_its_flavour() {
        let replication = LabSpec::default();
        let mut galera = LabSpec::default();
        galera.database.topology = Topology::Galera;
        let (percona, mariadb) = (Some(Flavour::Percona), Some(Flavour::Mariadb));
        assert!(compare(&replication, None, &replication, None).is_ok());
        assert!(compare(&galera, mariadb, &galera, mariadb).is_ok());
        let refusal = |stands, flavour, wanted, chosen| {
            compare(stands, flavour, wanted, chosen).expect_err("refused").to_string()
        };
        assert!(
            refusal(&replication, None, &galera, mariadb).starts_with("lab wplab has topology replication, and this")
        );
        assert!(refusal(&galera, mariadb, &galera, percona).starts_with("lab wplab has flavour mariadb, and this"));
        let mut larger = replication.clone();
        larger.database.volume = crate::spec::Quantity::new("1.5Gi").expect("a quantity");
        assert!(compare(&replication, None, &larger, None).is_ok());
        let told = refusal(&larger, None, &replication, None);
        assert!(told.contains("a volume of 1.5Gi, and this would make it 1Gi; volumes only grow"), "{told}");
    }
}

//! What `up` has to do with object `Database`: it makes the kind known and the operator run, writes the object, and waits for what the
//! operator says of it.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{
    CustomResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;

use super::{
    EVERY, LIMIT,
    declared::Declared,
    names::{CREDENTIALS, MEMBERS, ROOT, ROOT_KEY},
    object::object,
    objects::{TOOLS, image_of},
    taken_back::TakenBack,
};
use crate::{
    cluster::{
        Cluster, Refused, gone,
        manifests::{edit, part},
        pods::{pod_of, set_env, set_image},
        ready,
    },
    inside::{
        kinds::{DATABASE, Database, DatabasePhase, ROOT_PASSWORD},
        member::CONTAINER,
    },
    labels::{Component, FIELD_MANAGER},
    parts::{
        images::{ImageSet, Role},
        kinds,
    },
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
        wait::Look,
    },
    spec::{LabName, LabSpec},
};

/// The Deployment.
pub const OPERATOR: &str = "operator";
/// How long another version of the operator may take to come.
const COMES: Duration = Duration::from_mins(2);

/// The kind, and the operator.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn operator(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    let mut objects = kind()?;
    objects.extend(workload(spec, images)?);
    Ok(objects)
}

fn kind() -> Result<Vec<DynamicObject>> {
    kinds::objects([Database::crd()], Component::Database)
}

fn workload(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    let mut objects = part("operator")?;
    edit(&mut objects, OPERATOR, |deployment: &mut Deployment| {
        let pod = pod_of(&mut deployment.spec.as_mut().context("it has no spec")?.template)?;
        set_image(pod, OPERATOR, images.reference(Role::Tool)?)?;
        set_env(pod, OPERATOR, &[("WPLAB_LAB", spec.name.as_str())])
    })?;
    Ok(objects)
}

/// Declares the database of a lab; the generation that it has then, and whether anything changed. Where there are members already, an
/// operator of this version is waited for first: another one would make other members of it.
///
/// # Errors
/// [`crate::cluster::apply::Elsewhere`]: somebody else has declared something else; the API server refuses; the operator does not come.
pub(super) async fn declare(
    cx: &StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    take_over: bool,
) -> Result<(Option<i64>, bool)> {
    let called = LabSpec { name: cluster.inside.clone(), ..spec.clone() };
    let mut changed = kinds::ensure(cx, cluster, &kind()?).await?;
    changed |= cluster.apply(&workload(&called, images)?).await? > 0;
    if cluster.get::<Database>(DATABASE).await?.is_some() {
        cluster.until_ready(cx, &cluster.api::<Deployment>(), OPERATOR, COMES, ready::deployment).await?;
    }
    let (declared, new) = cluster.declare(&object(spec, images)?, take_over).await?;
    Ok((declared.metadata.generation, changed | new))
}

/// Waits until the members are what is declared; what was done for that.
///
/// # Errors
/// [`TakenBack`], [`NotTaken`]; or it takes too long: with the last reason.
pub(super) async fn followed(cx: &StepCx, cluster: &Cluster, generation: Option<i64>) -> Result<String> {
    let api = cluster.api::<Database>();
    let look = |database: Option<&Database>| look(&cluster.lab, database, generation);
    if let Err(error) = cluster.until(cx, &api, DATABASE, LIMIT, look).await {
        return Err(with_what_stands(cluster, error).await);
    }
    let database = cluster.get::<Database>(DATABASE).await?;
    Ok(database.and_then(|database| database.status).map(|status| status.done).unwrap_or_default())
}

/// Waits until root has the password that somebody brings, where somebody does.
///
/// # Errors
/// [`NotTaken`]; or it takes too long: with the last reason.
pub(super) async fn rooted(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    let look = || async {
        let Some(brought) = cluster.secret(ROOT).await? else { return Ok(Look::Ready(())) };
        let [has] = cluster.secret_values(CREDENTIALS, ["root-password"]).await?;
        let status = cluster.get::<Database>(DATABASE).await?.and_then(|database| database.status).unwrap_or_default();
        let said = status.conditions.into_iter().find(|one| one.type_ == ROOT_PASSWORD);
        Ok(match said {
            Some(said) if said.status == "True" && brought.get(ROOT_KEY) == Some(&has) => Look::Ready(()),
            Some(said) if said.reason == "Refused" => {
                return Err(Trouble::from(NotTaken { lab: cluster.lab.clone(), why: said.message }).into());
            }
            Some(said) => Look::NotYet(said.message),
            None => Look::NotYet("the operator has not seen it yet".to_owned()),
        })
    };
    cx.until("root to have the password that was brought", COMES, EVERY, look).await
}

/// Whoever is told of what was taken back is told what stands instead, which the members' set says.
async fn with_what_stands(cluster: &Cluster, error: anyhow::Error) -> anyhow::Error {
    let Some(what) = crate::run::advice::find::<TakenBack>(&error).cloned() else { return error };
    let set = cluster.get::<StatefulSet>(MEMBERS).await.ok().flatten();
    Trouble::from(TakenBack { stands: set.as_ref().and_then(Declared::read), ..what }).into()
}

fn look(lab: &LabName, database: Option<&Database>, generation: Option<i64>) -> Result<Look<()>> {
    let Some(status) = database.and_then(|database| database.status.as_ref()) else {
        return Ok(Look::NotYet("the operator has not seen it yet".to_owned()));
    };
    if status.observed_generation < generation {
        return Ok(Look::NotYet("the operator has not taken it up yet".to_owned()));
    }
    match (status.phase, &status.taken_back) {
        (DatabasePhase::TakenBack, Some(what)) => Err(Trouble::from(TakenBack {
            lab: lab.clone(),
            member: what.member.clone(),
            said: what.said.clone(),
            changes: what.changes.clone(),
            well: what.well,
            stands: None,
        })
        .into()),
        (DatabasePhase::Refused, _) => {
            Err(Trouble::from(NotTaken { lab: lab.clone(), why: status.message.clone() }).into())
        }
        (DatabasePhase::Settled, _) => Ok(Look::Ready(())),
        _ => Ok(Look::NotYet(status.message.clone())),
    }
}

/// Declares again what the members have, after something was taken back: with the images that they have again, too.
///
/// # Errors
/// Somebody else has declared something else ([`crate::cluster::apply::Elsewhere`]); the API server refuses.
pub async fn declare_again(cluster: &Cluster, stands: &LabSpec, images: &ImageSet) -> Result<()> {
    let mut object = object(stands, images)?;
    if let Some(set) = cluster.get::<StatefulSet>(MEMBERS).await? {
        object.spec.image = image_of(&set, CONTAINER).unwrap_or(object.spec.image);
        object.spec.tools = image_of(&set, TOOLS).unwrap_or(object.spec.tools);
    }
    cluster.declare(&object, false).await.map(drop)
}

/// Writes down another number of members, which come and go by other means.
///
/// # Errors
/// The API server refuses.
pub async fn declare_members(cluster: &Cluster, members: u8) -> Result<()> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "spec": { "members": members } }));
    // One that was made by a version that declared nothing has none.
    gone(cluster.api::<Database>().patch(DATABASE, &params, &patch).await)
        .context("cannot declare how many members there are")
}

/// Gives the members' set another number of members, and changes nothing else of it.
///
/// # Errors
/// The API server refuses.
pub async fn resize(cluster: &Cluster, members: u8) -> Result<()> {
    let patch = Patch::Merge(json!({ "spec": { "replicas": members } }));
    let scaled = cluster.api::<StatefulSet>().patch_scale(MEMBERS, &PatchParams::default(), &patch).await;
    scaled.map_err(Refused).context("cannot change the number of members").map(drop)
}

/// What is declared is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// The lab.
    pub lab: LabName,
    /// Why.
    pub why: String,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab {} does not take what is declared: {}", self.lab, self.why)
    }
}

impl Advise for NotTaken {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words("change that, and `up` again"), Hint::Status { lab: self.lab.clone() }]
    }
}

//! The password of root that somebody brings, in a Secret of its own: given to the servers beside the one that they have, then to their pods,
//! and when all have it the former one goes. The Secret of the lab says meanwhile that this is under way, so whoever comes next
//! finishes it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::ResourceExt;

use super::{MANAGER, Operator};
use crate::{
    cluster::ready,
    inside::{
        kinds::{ROOT_PASSWORD, condition},
        log,
        member::{CONTAINER, root::Has},
    },
    labels::{ROLE, WRITER},
    parts::database::{
        live,
        names::{CREDENTIALS, ROOT, ROOT_KEY, password_of},
    },
    run::wait::Look,
};

/// In the lab's Secret: its password of root.
const KEY: &str = "root-password";
/// Annotation of the lab's Secret: not all members have that password yet, or the former one is still let in.
const UNDER_WAY: &str = "wplab.dev/root-password";
/// How long members may take to have it.
const LIMIT: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(500);

impl Operator {
    /// Makes the password of root the one that somebody brings, if somebody does; what there is to say of it.
    ///
    /// # Errors
    /// The API server does not answer; a member does not take it. The next turn goes on.
    pub(super) async fn root_password(&self, set: Option<&StatefulSet>, pods: &[Pod]) -> Result<Option<Condition>> {
        let Some(brought) = self.cluster.secret(ROOT).await? else { return Ok(None) };
        let say = |yes: bool, reason: &str, why: &str| Ok(Some(condition(ROOT_PASSWORD, yes, reason, why, None)));
        let wanted = match password_of(&brought) {
            Ok(wanted) => wanted,
            Err(why) => return say(false, "Refused", &format!("Secret {ROOT}: {why}")),
        };
        let [has] = self.cluster.secret_values(CREDENTIALS, [KEY]).await?;
        let under_way = self.cluster.secret_note(CREDENTIALS, UNDER_WAY).await?.is_some();
        if has == wanted && !under_way {
            return say(true, "AsBrought", &format!("it is key {ROOT_KEY} of Secret {ROOT}"));
        }
        let all = set.and_then(|set| set.spec.as_ref()?.replicas).and_then(|all| usize::try_from(all).ok());
        let ready = pods.iter().filter(|pod| ready::pod(Some(pod)) == Look::Ready(())).count();
        let writer = pods.iter().find(|pod| pod.labels().get(ROLE).is_some_and(|role| role == WRITER));
        let Some(writer) = writer.filter(|_| Some(ready) == all) else {
            return say(false, "Waits", "until all members are ready and one takes writes");
        };
        self.change(&writer.name_any(), pods, wanted).await?;
        log("root has another password");
        say(true, "AsBrought", &format!("it is key {ROOT_KEY} of Secret {ROOT}"))
    }

    async fn change(&self, writer: &str, pods: &[Pod], wanted: &str) -> Result<()> {
        self.at(writer, "add", wanted).await?;
        let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
        let have = |what: &'static str, has: fn(Has) -> bool| {
            let names = &names;
            self.cx.until(what, LIMIT, EVERY, move || async move {
                for name in names {
                    if !has(self.at(name, "look", wanted).await?) {
                        return Ok(Look::NotYet(format!("{name} does not have it yet")));
                    }
                }
                Ok(Look::Ready(()))
            })
        };
        have("all servers to take the new password of root", |has| has.server).await?;
        let note = [(UNDER_WAY, Some("under way"))];
        self.cluster.change_secret(CREDENTIALS, MANAGER, &[(KEY, wanted)], &note).await?;
        live::hurry(&self.cluster, &format!("root-password {}", Timestamp::now())).await?;
        have("all members' pods to have the new password of root", |has| has.pod).await?;
        self.at(writer, "end", wanted).await?;
        self.cluster.change_secret(CREDENTIALS, MANAGER, &[], &[(UNDER_WAY, None)]).await
    }

    async fn at(&self, member: &str, step: &str, password: &str) -> Result<Has> {
        let command = ["/tools/wplab", "member", "root", "--step", step];
        let said = self.cluster.exec_told(member, CONTAINER, &command, password).await?;
        let has: Has = serde_json::from_str(said.trim())
            .with_context(|| format!("{member} runs another version, whose root cannot be given a password"))?;
        ensure!(step != "add" || has.server, "{member} does not take the password");
        Ok(has)
    }
}

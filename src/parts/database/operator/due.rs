//! Whether there is anything to do, and how the members are: pure, from what the objects say.

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::ResourceExt;

use super::Told;
use crate::{
    cluster::ready,
    inside::kinds::{self, Database, DatabasePhase, DatabaseStatus, condition, since},
    labels::{ROLE, WRITER},
    parts::database::{roll::FORMER, stuck::is_stale},
    run::wait::Look,
};

/// Whether the members may have to be given something: what is declared is another than what was told of, or somebody ended in the middle.
/// What was refused or taken back is not tried again as long as nothing else is declared.
pub(super) fn is_due(database: &Database, told: &Told, set: Option<&StatefulSet>, pods: &[Pod]) -> bool {
    if told.generation != database.metadata.generation {
        return true;
    }
    match told.phase {
        DatabasePhase::Refused | DatabasePhase::TakenBack => false,
        DatabasePhase::Pending | DatabasePhase::Changing | DatabasePhase::Failed => true,
        DatabasePhase::Settled => {
            set.is_none_or(|set| set.annotations().contains_key(FORMER) || pods.iter().any(|pod| is_stale(pod, set)))
        }
    }
}

/// What there is to say, with how the members are.
pub(super) fn seen(
    told: Told,
    root: Option<Condition>,
    set: Option<&StatefulSet>,
    pods: &[Pod],
    before: &DatabaseStatus,
) -> DatabaseStatus {
    let Told { generation, phase, message, done, taken_back } = told;
    let wanted = set.and_then(|set| set.spec.as_ref()?.replicas).unwrap_or_default();
    let ready = pods.iter().filter(|pod| ready::pod(Some(pod)) == Look::Ready(())).count();
    let writers: Vec<String> = pods
        .iter()
        .filter(|pod| pod.labels().get(ROLE).is_some_and(|role| role == WRITER))
        .map(ResourceExt::name_any)
        .collect();
    let (all, writes) = (usize::try_from(wanted) == Ok(ready) && ready > 0, writers.len() == 1);
    let (reason, why) = match (all, writes) {
        (true, true) => ("AllServe", String::new()),
        (false, _) => ("MembersMissing", format!("{ready} of {wanted} members are ready")),
        (true, false) => ("NoWriter", "no member takes writes".to_owned()),
    };
    let is_ready = condition(kinds::READY, all && writes, reason, &why, generation);
    let progresses = matches!(phase, DatabasePhase::Pending | DatabasePhase::Changing | DatabasePhase::Failed);
    let progressing = condition(kinds::PROGRESSING, progresses, &format!("{phase:?}"), &message, generation);
    DatabaseStatus {
        observed_generation: generation,
        phase,
        message,
        done,
        writer: writers.join(" "),
        ready: format!("{ready}/{wanted}"),
        taken_back,
        last_backup: None,
        conditions: [is_ready, progressing].into_iter().chain(root).map(|one| since(one, &before.conditions)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{inside::kinds::DatabaseSpec, labels::READER, parts::database::objects::TEMPLATE};

    fn set(annotations: &serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"annotations": annotations},
            "spec": {"replicas": 2, "selector": {}, "serviceName": "x", "template": {"metadata": {"annotations": {TEMPLATE: "a"}}}},
        }))
        .expect("a StatefulSet")
    }

    fn pod(name: &str, role: &str, made_of: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {ROLE: role}, "annotations": {TEMPLATE: made_of}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn there_is_something_to_do_when_something_else_is_declared_or_somebody_ended_in_the_middle() {
        let mut database = Database::new("db", DatabaseSpec::default());
        database.metadata.generation = Some(2);
        let told = |generation, phase| Told { generation: Some(generation), phase, ..Told::default() };
        let (whole, pods) = (set(&json!({})), [pod("db-0", WRITER, "a", true)]);
        let due = |told: Told, set: &StatefulSet, pods: &[Pod]| is_due(&database, &told, Some(set), pods);
        use DatabasePhase::{Changing, Failed, Refused, Settled, TakenBack};
        assert!(!due(told(2, Settled), &whole, &pods));
        for phase in [Settled, Refused, TakenBack] {
            assert!(due(told(1, phase), &whole, &pods), "something else is declared");
        }
        for phase in [Changing, Failed] {
            assert!(due(told(2, phase), &whole, &pods), "{phase:?}");
        }
        for phase in [Refused, TakenBack] {
            assert!(!due(told(2, phase), &set(&json!({FORMER: "{}"})), &pods), "{phase:?} is not tried again");
        }
        assert!(due(told(2, Settled), &set(&json!({FORMER: "{}"})), &pods), "there is something to go back to");
        assert!(due(told(2, Settled), &whole, &[pod("db-0", WRITER, "b", true)]), "it was made of something else");
        assert!(is_due(&database, &told(2, Settled), None, &[]), "there are no members");
    }

    #[test]
    fn a_database_is_ready_when_all_members_are_and_one_takes_writes() {
        let of = |pods: &[Pod]| {
            let told = Told { phase: DatabasePhase::Settled, ..Told::default() };
            let status = seen(told, None, Some(&set(&json!({}))), pods, &DatabaseStatus::default());
            let ready = status.conditions.iter().find(|one| one.type_ == kinds::READY).expect("it is told");
            (status.writer.clone(), status.ready.clone(), ready.status.clone(), ready.reason.clone())
        };
        let (writer, reader) = (pod("db-0", WRITER, "a", true), pod("db-1", READER, "a", true));
        let words = |words: [&str; 4]| {
            let [writer, ready, status, reason] = words.map(str::to_owned);
            (writer, ready, status, reason)
        };
        assert_eq!(of(&[writer.clone(), reader.clone()]), words(["db-0", "2/2", "True", "AllServe"]));
        assert_eq!(of(&[writer]), words(["db-0", "1/2", "False", "MembersMissing"]));
        assert_eq!(of(&[pod("db-0", READER, "a", true), reader]), words(["", "2/2", "False", "NoWriter"]));
    }

    #[test]
    fn a_condition_is_since_it_began() {
        let status = |before: &DatabaseStatus| {
            seen(Told { phase: DatabasePhase::Settled, ..Told::default() }, None, Some(&set(&json!({}))), &[], before)
        };
        let mut first = status(&DatabaseStatus::default());
        for condition in &mut first.conditions {
            condition.last_transition_time.0 = "2026-01-01T00:00:00Z".parse().expect("a time");
        }
        assert_eq!(status(&first).conditions, first.conditions);
    }
}

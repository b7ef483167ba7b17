//! What nobody in a lab may do: the agent's account is used for what it should not be, and the database is spoken to in the
//! open.

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{lab::Lab, ledger};

const AGENT: &str = "system:serviceaccount:wplab:agent";
/// What that account has no right to, on any member: verb, resource, subresource.
const FORBIDDEN: [(&str, &str, &str); 5] = [
    ("get", "secrets", ""),
    ("delete", "pods", ""),
    ("create", "pods", "eviction"),
    ("patch", "pods", "ephemeralcontainers"),
    ("create", "pods", "portforward"),
];

/// Whoever has the agent's account changes labels and annotations of ours, and nothing else of a pod.
pub(crate) fn the_agent_may_label_members_and_no_more(lab: &Lab) {
    let pods: Api<Pod> = Api::namespaced(lab.client_as(AGENT), "wplab");
    let patch = |patch: &Value| {
        let patched = lab.block_on(pods.patch("db-1", &PatchParams::default(), &Patch::Strategic(patch)));
        patched.map(drop).map_err(|error| error.to_string())
    };
    let mark = |value: Value| json!({"metadata": {"labels": {"wplab.dev/test": value}, "annotations": {"wplab.dev/test": value}}});
    for ours in [mark(json!("x")), mark(json!("y")), mark(Value::Null)] {
        assert_eq!(patch(&ours), Ok(()), "{ours}");
    }
    for (what, forbidden) in [
        ("what a pod runs", json!({"spec": {"containers": [{"name": "mysql", "image": "docker.io/wplab/other:1"}]}})),
        ("what a pod runs", json!({"spec": {"activeDeadlineSeconds": 1}})),
        ("who owns or holds a pod", json!({"metadata": {"finalizers": ["wplab.dev/held"]}})),
        ("only labels under", json!({"metadata": {"labels": {"app.kubernetes.io/component": "frontend"}}})),
        ("only labels under", json!({"metadata": {"labels": {"apps.kubernetes.io/pod-index": null}}})),
        ("only annotations under", json!({"metadata": {"annotations": {"prometheus.io/scrape": "false"}}})),
    ] {
        let refused = patch(&forbidden).expect_err("refused");
        assert!(refused.contains("the agent changes only") && refused.contains(what), "{forbidden}: {refused}");
    }
    let here: Api<Pod> = Api::namespaced(lab.client(), "wplab");
    let pod = lab.block_on(here.get("db-1")).expect("the pod");
    assert!(!pod.labels().contains_key("wplab.dev/test") && pod.finalizers().is_empty(), "{:?}", pod.metadata);
    let params = PatchParams::default();
    for value in [json!("x"), Value::Null] {
        let others = json!({"metadata": {"annotations": {"example.org/theirs": value}}});
        lab.block_on(here.patch("db-1", &params, &Patch::Merge(&others))).expect("others' changes pass by");
    }
}

/// Whatever else could be done with a pod, the agent's account has no right to.
pub(crate) fn the_agent_has_no_other_right_to_members(lab: &Lab) {
    let reviews: Api<SubjectAccessReview> = Api::all(lab.client());
    for (verb, resource, subresource) in FORBIDDEN {
        let attributes = ResourceAttributes {
            namespace: Some("wplab".to_owned()),
            verb: Some(verb.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|name| !name.is_empty()),
            name: Some("db-1".to_owned()),
            ..ResourceAttributes::default()
        };
        let (user, resource_attributes) = (Some(AGENT.to_owned()), Some(attributes));
        let spec = SubjectAccessReviewSpec { user, resource_attributes, ..SubjectAccessReviewSpec::default() };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = lab.block_on(reviews.create(&PostParams::default(), &review)).expect("an answer");
        assert!(!answer.status.expect("a status").allowed, "the agent may {verb} {resource}/{subresource}");
    }
}

/// A member says no to whoever comes without TLS, though the password is the one that opens it with TLS.
pub(crate) fn nobody_is_served_unencrypted(lab: &Lab) {
    for member in ["db-0", "db-1", "db-2"] {
        let refused = lab.block_on(ledger::in_the_open(lab.client(), member)).expect_err("refused");
        let told = ["Access denied for user 'wordpress'", "--require_secure_transport=ON"];
        assert!(told.iter().any(|told| refused.contains(told)), "{member}: {refused}");
        let demands = ledger::ask(lab.client(), member, "SELECT @@global.require_secure_transport");
        assert_eq!(lab.block_on(demands), "1", "{member} demands TLS of this account only");
    }
}

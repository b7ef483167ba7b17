//! What nobody in a lab may do: the agent's account is used for what it should not be, the database is spoken to in the open,
//! and keys are tried at doors that are not theirs.

use std::net::SocketAddr;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{lab::Lab, ledger};

const OPERATOR: &str = "system:serviceaccount:wplab:operator";
const AGENT: &str = "system:serviceaccount:wplab:agent";
/// What that account has no right to, on any member: verb, resource, subresource.
const FORBIDDEN: [(&str, &str, &str); 6] = [
    ("create", "pods", "exec"),
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
    for (verb, resource, subresource) in FORBIDDEN {
        let allowed = may(lab, AGENT, verb, resource, subresource, "db-1");
        assert!(!allowed, "the agent may {verb} {resource}/{subresource}");
    }
}

/// Whoever has the operator's account changes the members' set and their settings, and gets at nothing else by that.
pub(crate) fn the_operator_may_change_members_and_no_more(lab: &Lab) {
    let sets: Api<StatefulSet> = Api::namespaced(lab.client_as(OPERATOR), "wplab");
    let maps: Api<ConfigMap> = Api::namespaced(lab.client_as(OPERATOR), "wplab");
    let params = PatchParams::default();
    let patch = |pod: Value| {
        let patch = json!({"spec": {"template": {"spec": pod}}});
        let patched = lab.block_on(sets.patch("db", &params, &Patch::Strategic(&patch)));
        patched.map(drop).expect_err("refused").to_string()
    };
    let wordpress = json!({"name": "other", "secret": {"secretName": "wordpress-credentials"}});
    let key = json!({"secretKeyRef": {"name": "wordpress-credentials", "key": "admin-password"}});
    for (why, pod) in [
        ("no other Secrets", json!({"volumes": [wordpress]})),
        ("nothing of the node", json!({"volumes": [{"name": "other", "hostPath": {"path": "/"}}]})),
        (
            "no Secret as a variable",
            json!({"containers": [{"name": "mysql", "env": [{"name": "X", "valueFrom": key}]}]}),
        ),
        ("nobody's account", json!({"automountServiceAccountToken": true})),
        ("no rights on the node", json!({"hostNetwork": true})),
    ] {
        let refused = patch(pod);
        assert!(refused.contains("the operator gives members") && refused.contains(why), "{why}: {refused}");
    }
    let mut other = lab.block_on(Api::<StatefulSet>::namespaced(lab.client(), "wplab").get("db")).expect("the set");
    other.metadata = ObjectMeta { name: Some("other".to_owned()), ..ObjectMeta::default() };
    let refused = lab.block_on(sets.create(&PostParams::default(), &other)).expect_err("refused").to_string();
    assert!(refused.contains("makes the members' set and no other one"), "{refused}");
    let site: Vec<ConfigMap> =
        lab.list_in("wplab", &ListParams::default().labels("app.kubernetes.io/component=frontend"));
    let site = site.first().expect("what the site runs").name_any();
    let nothing = Patch::Merge(json!({"data": {"x": "y"}}));
    let refused = lab.block_on(maps.patch(&site, &params, &nothing)).expect_err("refused").to_string();
    assert!(refused.contains("the operator writes the members' settings"), "{refused}");
    let refused = lab.block_on(maps.delete(&site, &DeleteParams::default())).expect_err("refused").to_string();
    assert!(refused.contains("the operator writes the members' settings"), "{refused}");
    for (verb, resource, name) in [
        ("get", "secrets", "wordpress-credentials"),
        ("list", "secrets", ""),
        ("create", "pods", ""),
        ("delete", "pods", "agent"),
        ("patch", "pods", "agent"),
    ] {
        assert!(!may(lab, OPERATOR, verb, resource, "", name), "the operator may {verb} {resource} {name}");
    }
    assert!(!may(lab, OPERATOR, "create", "pods", "exec", "wordpress"), "the operator may look into the site");
}

/// Whether an account may do something.
fn may(lab: &Lab, account: &str, verb: &str, resource: &str, subresource: &str, name: &str) -> bool {
    let reviews: Api<SubjectAccessReview> = Api::all(lab.client());
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let attributes = ResourceAttributes {
        namespace: some("wplab"),
        verb: some(verb),
        resource: some(resource),
        subresource: some(subresource),
        name: some(name),
        ..ResourceAttributes::default()
    };
    let (user, resource_attributes) = (some(account), Some(attributes));
    let spec = SubjectAccessReviewSpec { user, resource_attributes, ..SubjectAccessReviewSpec::default() };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    lab.block_on(reviews.create(&PostParams::default(), &review)).expect("an answer").status.expect("a status").allowed
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

/// Each certificate of a lab, tried at etcd's two ports: as its client, and as one of its members.
pub(crate) fn a_key_opens_one_door(lab: &Lab) {
    const CLIENTS: (u16, &str, &str) = (2379, "etcd-server", "/v3/kv/range");
    const PEERS: (u16, &str, &str) = (2380, "etcd-peer", "/version");
    for ((port, trusted, path), key, opens) in [
        (CLIENTS, "etcd-client", true),
        (CLIENTS, "db-tls", false),
        (CLIENTS, "etcd-peer", false),
        (PEERS, "etcd-peer", true),
        (PEERS, "db-tls", false),
        (PEERS, "etcd-client", false),
        (PEERS, "etcd-server", false),
    ] {
        let ca = reqwest::Certificate::from_pem(lab.secret(trusted, "ca.crt").as_bytes()).expect("a certificate");
        let own = format!("{}\n{}", lab.secret(key, "tls.crt"), lab.secret(key, "tls.key"));
        let own = reqwest::Identity::from_pem(own.as_bytes()).expect("an identity");
        let client = lab.client();
        let asked = lab.block_on(async {
            let at = forward(client, "etcd-0", port).await;
            let builder = reqwest::Client::builder().http1_only().no_proxy().tls_certs_only([ca]).identity(own);
            let url = format!("https://etcd-0.etcd:{}{path}", at.port());
            let client = builder.resolve("etcd-0.etcd", at).build().expect("a client");
            if port == CLIENTS.0 {
                return client.post(url).body(r#"{"key":"YQ=="}"#).send().await;
            }
            client.get(url).send().await
        });
        let opened = asked.as_ref().is_ok_and(|answer| answer.status().is_success());
        assert_eq!(opened, opens, "{key} at port {port}: {asked:?}");
    }
}

/// A way for one connection to a port of a pod, through the API server.
async fn forward(client: Client, pod: &'static str, port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a connection");
        let pods: Api<Pod> = Api::namespaced(client, "wplab");
        let mut forward = pods.portforward(pod, &[port]).await.expect("a forward");
        let mut far = forward.take_stream(port).expect("a stream");
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    at
}

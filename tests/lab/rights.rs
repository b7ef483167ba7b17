//! What nobody in a lab may do: the agent's account is used for what it should not be, the database is spoken to in the open,
//! and keys are tried at doors that are not theirs.

use std::net::SocketAddr;

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Pod,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{lab::Lab, ledger};

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

//! Workers that come to a cluster that runs, and leave it: containers like the first worker's, of a fresh node, which join by
//! kubeadm's own `join`, with the configuration that `kind` gave the first one and a token of their own.
//!
//! Whoever is killed meanwhile leaves containers that carry the lab's labels and are no Node. They are removed and made anew.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{future::try_join_all, stream};
use serde_json::Value;

use crate::{
    host::{
        docker::{Cast, Docker},
        nodes::{
            create::{derive_image, network},
            halt::ADDRESS,
            roots::{Clones, Roots},
            there::{CLUSTER_LABEL, inside_name, node_names},
        },
    },
    labels,
    run::{StepCx, wait::Look},
    spec::LabName,
};

/// What a node has apart from its own files.
const VAR: &str = "/var";
/// What `kind` gives kubeadm on each node.
const CONFIG: &str = "/kind/kubeadm.conf";
/// Whom kubeadm acts as on the control plane.
const ADMIN: &str = "--kubeconfig=/etc/kubernetes/admin.conf";
/// A token that nobody deletes, because we were killed, is worth nothing after this.
const TOKEN_LIVES: &str = "--ttl=15m";
/// How long a node may take to boot; `kind` gives it 30 s.
const BOOT: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(250);

/// Workers that are to be made and to join.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// The engine.
    pub docker: &'a Docker,
    /// The lab.
    pub lab: &'a LabName,
    /// What its cluster is called inside.
    pub inside: &'a LabName,
    /// The workers' containers, by the names that `kind` would give them.
    pub names: &'a [String],
}

impl Joining<'_> {
    /// Makes the containers of a node image and boots them. `clones` are what they have as /var; with none, a volume of
    /// their own.
    ///
    /// # Errors
    /// The node image is in Docker no more, the engine refuses, or one does not boot.
    pub async fn make(&self, cx: &StepCx, node_image: &str, clones: &Clones) -> Result<()> {
        let Joining { docker, lab, inside, names } = *self;
        let first = &node_names(lab, 1)[1];
        let (mould, _) = docker.mould(first, VAR).await?;
        // Not the image of a worker that was made of a snapshot: that has its certificates in it.
        let image = derive_image(docker, lab, node_image).await?;
        let mut marks = labels::of_lab(lab);
        marks.insert(CLUSTER_LABEL.to_owned(), lab.to_string());
        let (net, ports) = (network(lab), BTreeMap::new());
        let made = names.iter().enumerate().map(async |(nth, name)| {
            let hostname = inside_name(name, lab, inside);
            let cast = Cast {
                name,
                image: &image,
                labels: &marks,
                network: (&net, &hostname, None),
                folder: (VAR, clones.get(nth).map(String::as_str)),
                ports: &ports,
            };
            docker.cast(&mould, &cast).await?;
            docker.start(name).await?;
            cx.until(&format!("{name} to boot"), BOOT, EVERY, || booted(docker, name)).await
        });
        try_join_all(made).await.map(drop)
    }

    /// Lets all of them join. The token is made for them and removed again; it is in no argument and no log.
    ///
    /// # Errors
    /// The control plane gives none, the first worker's configuration cannot be read, or kubeadm gives up: with its last
    /// words.
    pub async fn join(&self, cx: &StepCx) -> Result<()> {
        let Joining { docker, lab, .. } = *self;
        let [control_plane, first] = &node_names(lab, 1)[..] else { bail!("a lab has a control plane and workers") };
        let like = docker.read_file(first, CONFIG).await?;
        let like = like.with_context(|| format!("{first} has no {CONFIG}: kind did not make it"))?;
        let made = ["kubeadm", "token", "create", ADMIN, TOKEN_LIVES, "--description=a worker joins"];
        let made = docker.exec(control_plane, &made).await?;
        ensure!(made.code == 0, "kubeadm gives no token: {}", made.stderr.trim());
        let token = Token::read(&made.stdout)?;
        cx.say(format!("{} joins", self.names.join(", ")));
        let joined = try_join_all(self.names.iter().map(|name| self.join_one(name, &like, &token))).await;
        let forget = ["kubeadm", "token", "delete", ADMIN, token.id()];
        // It lives for minutes only.
        if let Err(error) = docker.exec(control_plane, &forget).await {
            cx.say(format!("the token of the new workers is left to run out: {error:#}"));
        }
        joined.map(drop)
    }

    async fn join_one(&self, name: &str, like: &str, token: &Token) -> Result<()> {
        let Joining { docker, lab, inside, .. } = *self;
        let address = docker.read_file(name, ADDRESS).await?;
        let address = address.with_context(|| format!("{name} does not say which address it has"))?;
        let config = configuration(like, &inside_name(name, lab, inside), address.trim(), token)?;
        let write = format!("umask 077 && cat >{CONFIG}");
        let written = stream::iter([Bytes::from(config)]);
        let written = docker.exec_with_input(name, &["sh", "-c", &write], written).await?;
        ensure!(written.code == 0, "cannot write {CONFIG} on {name}: {}", written.stderr.trim());
        let joined = docker.exec(name, &["kubeadm", "join", "--config", CONFIG, "--skip-phases=preflight"]).await?;
        if joined.code != 0 {
            let said = format!("{}\n{}", joined.stdout.trim(), joined.stderr.trim()).replace(&token.0, "TOKEN");
            let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            bail!("kubeadm could not let {name} join: {}", lines[lines.len().saturating_sub(6)..].join("\n"));
        }
        Ok(())
    }
}

/// Removes the containers of workers that left, or never joined, with their volumes.
///
/// # Errors
/// The engine cannot.
pub async fn part(docker: &Docker, names: &[String]) -> Result<()> {
    try_join_all(names.iter().map(|name| docker.remove_container(name))).await.map(drop)
}

/// Removes the clones of workers that are gone, if they had some.
///
/// # Errors
/// Who holds them does not answer.
pub async fn forget(docker: &Docker, lab: &LabName, names: &[String]) -> Result<()> {
    match Roots::of(docker, lab).await? {
        Some(roots) => roots.part(lab, names).await,
        None => Ok(()),
    }
}

/// Whether a node's services run; kind looks for the same in what a node prints.
async fn booted(docker: &Docker, name: &str) -> Result<Look<()>> {
    Ok(match docker.exec(name, &["systemctl", "is-active", "multi-user.target", "containerd"]).await {
        Ok(asked) if asked.code == 0 => Look::Ready(()),
        Ok(_) => Look::NotYet("its services do not run yet".to_owned()),
        Err(error) => Look::NotYet(format!("{error:#}")),
    })
}

/// What lets a node join; a secret.
struct Token(String);

impl Token {
    fn read(said: &str) -> Result<Token> {
        let token = said.split_whitespace().last().unwrap_or_default();
        let word = |text: &str, long: usize| text.len() == long && text.chars().all(|c| c.is_ascii_alphanumeric());
        let whole = token.split_once('.').is_some_and(|(id, secret)| word(id, 6) && word(secret, 16));
        ensure!(whole, "kubeadm does not give a token as it should");
        Ok(Token(token.to_owned()))
    }

    /// The part that is no secret.
    fn id(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

/// The first worker's configuration for another one: its address, its name and the token are its own.
fn configuration(like: &str, node: &str, address: &str, token: &Token) -> Result<String> {
    let documents: Vec<Value> = serde_yaml::from_multiple(like).context("kubeadm's configuration cannot be read")?;
    let join = documents.into_iter().find(|document| document["kind"] == "JoinConfiguration");
    let mut join = join.context("kubeadm's configuration does not say how to join")?;
    let lacks = |what: &str| format!("kubeadm's configuration lacks {what}");
    *join.pointer_mut("/discovery/bootstrapToken/token").with_context(|| lacks("a token"))? = token.0.clone().into();
    let args = join.pointer_mut("/nodeRegistration/kubeletExtraArgs").with_context(|| lacks("the kubelet's"))?;
    *argument(args, "node-ip").with_context(|| lacks("node-ip"))? = address.into();
    let provider = argument(args, "provider-id").with_context(|| lacks("provider-id"))?;
    let cluster = provider.as_str().and_then(|id| id.rsplit_once('/')).map(|(cluster, _)| cluster.to_owned());
    *provider = format!("{}/{node}", cluster.with_context(|| lacks("a provider-id that is one"))?).into();
    Ok(serde_yaml::to_string(&join)?)
}

/// An argument of the kubelet's, in the form of either version of kubeadm's configuration.
fn argument<'a>(args: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match args {
        Value::Array(list) => list.iter_mut().find(|one| one["name"] == name)?.get_mut("value"),
        map => map.get_mut(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIKE: &str = "\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: zoo
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {apiServerEndpoint: 'zoo-control-plane:6443', token: abcdef.0123456789abcdef, unsafeSkipCAVerification: true}
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
  - {name: node-ip, value: 172.18.0.3}
  - {name: provider-id, value: kind://docker/zoo/zoo-worker}
  - {name: node-labels, value: ''}
  - {name: housekeeping-interval, value: 5s}
";

    fn token() -> Token {
        Token::read("a1b2c3.0123456789abcdef\n").expect("a token")
    }

    #[test]
    fn a_new_worker_joins_as_the_first_one_did_under_its_own_name_and_address() {
        let text = configuration(LIKE, "zoo-worker4", "172.18.0.9", &token()).expect("a configuration");
        let join: Value = serde_yaml::from_str(&text).expect("one document");
        assert_eq!(
            (&join["kind"], &join["apiVersion"]),
            (&"JoinConfiguration".into(), &"kubeadm.k8s.io/v1beta4".into())
        );
        let discovery = &join["discovery"]["bootstrapToken"];
        assert_eq!(discovery["token"], "a1b2c3.0123456789abcdef");
        assert_eq!(discovery["apiServerEndpoint"], "zoo-control-plane:6443");
        let args: Vec<(&str, &str)> = join["nodeRegistration"]["kubeletExtraArgs"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|arg| Some((arg["name"].as_str()?, arg["value"].as_str()?)))
            .collect();
        let wanted = [
            ("node-ip", "172.18.0.9"),
            ("provider-id", "kind://docker/zoo/zoo-worker4"),
            ("node-labels", ""),
            ("housekeeping-interval", "5s"),
        ];
        assert_eq!(args, wanted);
    }

    #[test]
    fn the_older_form_of_the_configuration_is_read_too() {
        let like = "kind: JoinConfiguration\ndiscovery: {bootstrapToken: {token: x}}\n\
            nodeRegistration: {kubeletExtraArgs: {node-ip: 1.2.3.4, provider-id: kind://docker/zoo/zoo-worker}}\n";
        let text = configuration(like, "zoo-worker2", "172.18.0.9", &token()).expect("a configuration");
        let join: Value = serde_yaml::from_str(&text).expect("one document");
        assert_eq!(join["nodeRegistration"]["kubeletExtraArgs"]["provider-id"], "kind://docker/zoo/zoo-worker2");
        for lacking in ["kind: InitConfiguration\n", "kind: JoinConfiguration\n", "["] {
            assert!(configuration(lacking, "zoo-worker2", "172.18.0.9", &token()).is_err(), "{lacking}");
        }
    }

    #[test]
    fn a_token_is_taken_only_if_it_is_one_and_its_second_half_is_nobodys_business() {
        assert_eq!(token().id(), "a1b2c3");
        assert!(Token::read("W1130 a warning\na1b2c3.0123456789abcdef").is_ok());
        for wrong in ["", "error", "a1b2c3.short", "a1b2c3 0123456789abcdef"] {
            assert!(Token::read(wrong).is_err(), "{wrong}");
        }
    }
}

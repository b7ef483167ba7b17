//! The one door to a lab that stands: it is found on this machine by its labels, and its cluster is opened by its name.

use std::fmt;

use anyhow::Result;

use crate::{
    cluster::{Cluster, NotComplete},
    host::{
        docker::Docker,
        nodes::{
            self,
            labs::{self, Doing, LabOnHost},
        },
    },
    run::advice::{Advise, Blame, Hint, Trouble},
    spec::LabName,
};

/// There is no lab of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchLab {
    /// The name.
    pub name: LabName,
    /// The labs that there are.
    pub others: Vec<String>,
}

impl fmt::Display for NoSuchLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no lab {}", self.name)?;
        if self.others.is_empty() { Ok(()) } else { write!(f, "; there is: {}", self.others.join(", ")) }
    }
}

impl Advise for NoSuchLab {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::List, Hint::Up { lab: self.name.clone() }]
    }
}

/// What is asked for cannot be done to a lab as it is. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// The lab.
    pub lab: LabName,
    /// Why, in one sentence.
    pub why: String,
    /// What would have to be done first; where nobody knows, whoever asked is sent to look.
    pub hints: Vec<Hint>,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Advise for Impossible {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let status = Hint::Status { lab: self.lab.clone() };
        self.hints.iter().cloned().chain(self.hints.is_empty().then_some(status)).collect()
    }
}

/// The control plane of a lab does not run, so that nobody knows where its site is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The lab.
    pub lab: LabName,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the control plane of lab {} does not run", self.lab)
    }
}

impl Advise for Stopped {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Start { lab: self.lab.clone() }, Hint::Up { lab: self.lab.clone() }]
    }
}

/// A lab is frozen: nothing in it answers until it is thawed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// The lab.
    pub lab: LabName,
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab {} is paused", self.lab)
    }
}

impl Advise for Paused {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Resume { lab: self.lab.clone() }]
    }
}

/// One lab, as far as its node containers tell.
///
/// # Errors
/// [`NoSuchLab`], or the Docker engine does not answer.
pub(crate) async fn find(docker: &Docker, lab: &LabName) -> Result<LabOnHost> {
    pick(labs::labs(docker).await?, lab)
}

fn pick(labs: Vec<LabOnHost>, lab: &LabName) -> Result<LabOnHost> {
    let others = labs.iter().map(|l| l.name.clone()).collect();
    match labs.into_iter().find(|l| l.name == lab.as_str()) {
        Some(found) => Ok(found),
        None => Err(Trouble::from(NoSuchLab { name: lab.clone(), others }).into()),
    }
}

/// One lab that is neither frozen nor stopped as a whole: somebody in it may answer.
///
/// # Errors
/// [`NoSuchLab`], [`Paused`], [`Stopped`], or the Docker engine does not answer.
pub(crate) async fn awake(docker: &Docker, lab: &LabName) -> Result<LabOnHost> {
    let found = find(docker, lab).await?;
    match found.doing() {
        Doing::Running => Ok(found),
        Doing::Paused => Err(Trouble::from(Paused { lab: lab.clone() }).into()),
        Doing::Stopped => Err(Trouble::from(Stopped { lab: lab.clone() }).into()),
    }
}

/// The frontend's port of a lab.
///
/// # Errors
/// As [`awake`]; or the control plane is stopped.
pub(crate) async fn port(docker: &Docker, lab: &LabName) -> Result<u16> {
    answers(lab, awake(docker, lab).await?.port)
}

/// Where a lab's site answers.
///
/// # Errors
/// As [`port`].
pub(crate) async fn url(docker: &Docker, lab: &LabName) -> Result<String> {
    answers(lab, awake(docker, lab).await?.url())
}

/// What only a running control plane tells.
fn answers<T>(lab: &LabName, answer: Option<T>) -> Result<T> {
    Ok(answer.ok_or_else(|| Trouble::from(Stopped { lab: lab.clone() }))?)
}

/// The cluster of a lab that is there; whether it answers shows with the first request.
///
/// # Errors
/// As [`awake`]; or the lab has no kubeconfig yet.
pub(crate) async fn open(lab: &LabName) -> Result<Cluster> {
    awake(&Docker::connect().await?, lab).await?;
    connect(lab).await
}

/// As [`open`], for who has found the lab already.
///
/// # Errors
/// The lab has no kubeconfig yet.
pub(crate) async fn connect(lab: &LabName) -> Result<Cluster> {
    let cluster = Cluster::connect(&nodes::kubeconfig_path(lab), lab).await;
    let lacks = || NotComplete { lab: lab.clone(), lacks: "it has no kubeconfig that can be used".to_owned() };
    cluster.map_err(|error| Trouble::from(lacks()).because(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_host(name: &str, port: Option<u16>) -> LabOnHost {
        LabOnHost { name: name.into(), running: 4, paused: 0, nodes: 4, port }
    }

    #[test]
    fn a_lab_is_found_by_its_name_and_others_are_named_when_it_is_not() {
        let there = vec![on_host("a", Some(8081)), on_host("b", None)];
        let (a, c) = (LabName::new("a").expect("a name"), LabName::new("c").expect("a name"));
        let found = pick(there.clone(), &a).expect("found");
        assert_eq!(found.url().as_deref(), Some("http://127.0.0.1:8081"));
        let error = pick(there, &c).expect_err("not there");
        assert_eq!(crate::run::advice::find::<NoSuchLab>(&error).expect("typed").others, ["a", "b"]);
        assert_eq!(error.to_string(), "there is no lab c; there is: a, b");
        assert_eq!(pick(Vec::new(), &c).expect_err("not there").to_string(), "there is no lab c");
    }
}

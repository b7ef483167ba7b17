//! Where members of the database may run, as a lab file asks for it: labels of nodes and taints, each on one line as
//! Kubernetes' own tools write them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::problem::quoted;

/// Where each member may run. Two of them never share a node, whatever is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Placement {
    /// Only on nodes with all of these labels.
    pub nodes: NodeLabels,
    /// Rather on nodes with these labels, where there are such.
    pub prefer: NodeLabels,
    /// Also on nodes with these taints.
    pub tolerate: Taints,
}

/// Labels of nodes; none means any node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeLabels(BTreeMap<String, String>);

impl NodeLabels {
    /// Reads `any`, or labels as KEY=VALUE with spaces between them.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<NodeLabels, String> {
        if text == "any" {
            return Ok(NodeLabels::default());
        }
        let labels = text.split_whitespace().map(|label| {
            let (key, value) = label.split_once('=')?;
            (is_key(key) && is_value(value)).then(|| (key.to_owned(), value.to_owned()))
        });
        match labels.collect::<Option<BTreeMap<_, _>>>().filter(|labels| !labels.is_empty()) {
            Some(labels) => Ok(NodeLabels(labels)),
            None => Err(format!(
                "{} names no nodes: write any, or labels such as disk=ssd with spaces between them",
                quoted(text)
            )),
        }
    }

    /// The labels, by key.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// As [`NodeLabels::new`] reads it.
impl fmt::Display for NodeLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(if labels.is_empty() { "any" } else { "" })?;
        f.write_str(&labels.join(" "))
    }
}

/// Taints of nodes that keep other pods away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Taints(Vec<Taint>);

/// One taint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; `None` is any.
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; `None` is any.
    pub effect: Option<String>,
}

impl Taints {
    /// Reads `nothing`, or taints as `KEY[=VALUE][:EFFECT]` with spaces between them.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Taints, String> {
        if text == "nothing" {
            return Ok(Taints::default());
        }
        let taints = text.split_whitespace().map(|taint| {
            let (named, effect) = taint.split_once(':').map_or((taint, None), |(named, effect)| (named, Some(effect)));
            let (key, value) = named.split_once('=').map_or((named, None), |(key, value)| (key, Some(value)));
            let known = |effect: &str| ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
            (is_key(key) && value.is_none_or(is_value) && effect.is_none_or(known)).then(|| Taint {
                key: key.to_owned(),
                value: value.map(str::to_owned),
                effect: effect.map(str::to_owned),
            })
        });
        match taints.collect::<Option<Vec<_>>>().filter(|taints| !taints.is_empty()) {
            Some(taints) => Ok(Taints(taints)),
            None => Err(format!(
                "{} names no taints: write nothing, or taints such as dedicated=database:NoSchedule with spaces between them",
                quoted(text)
            )),
        }
    }

    /// Each of them.
    pub fn each(&self) -> &[Taint] {
        &self.0
    }
}

/// As [`Taints::new`] reads it.
impl fmt::Display for Taints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |mark: &str, of: &Option<String>| of.as_ref().map_or(String::new(), |text| format!("{mark}{text}"));
        let one = |taint: &Taint| format!("{}{}{}", taint.key, part("=", &taint.value), part(":", &taint.effect));
        let taints: Vec<String> = self.0.iter().map(one).collect();
        f.write_str(if taints.is_empty() { "nothing" } else { "" })?;
        f.write_str(&taints.join(" "))
    }
}

/// What Kubernetes takes for a label's key: perhaps a domain and a slash before its name.
fn is_key(text: &str) -> bool {
    let (domain, name) = text.rsplit_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let good = |domain: &str| !domain.is_empty() && domain.len() <= 253 && domain.chars().all(part) && has_ends(domain);
    !name.is_empty() && is_value(name) && domain.is_none_or(good)
}

fn is_value(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63 && text.chars().all(good) && has_ends(text)
}

fn has_ends(text: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    text.is_empty() || text.starts_with(end) && text.ends_with(end)
}

as_text!(NodeLabels, Taints);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["any", "disk=ssd", "disk=ssd topology.kubernetes.io/zone=a", "empty="] {
            assert_eq!(NodeLabels::new(text).expect("labels").to_string(), text);
        }
        for text in ["nothing", "dedicated", "a/b=c:NoExecute d:NoSchedule"] {
            assert_eq!(Taints::new(text).expect("taints").to_string(), text);
        }
        let one = &Taints::new("dedicated=database:NoSchedule").expect("a taint").0[0];
        assert_eq!((one.value.as_deref(), one.effect.as_deref()), (Some("database"), Some("NoSchedule")));
    }

    #[test]
    fn what_kubernetes_would_refuse_is_refused_with_what_is_allowed() {
        for text in ["", " ", "ssd", "=ssd", "disk=-ssd", "a b=c", "UPPER.example/x=y", "disk=a,b"] {
            assert!(NodeLabels::new(text).expect_err(text).contains("disk=ssd"), "{text}");
        }
        for text in ["", "a=b:Never", ":NoSchedule", "a=b=c"] {
            assert!(Taints::new(text).expect_err(text).contains("NoSchedule"), "{text}");
        }
    }
}

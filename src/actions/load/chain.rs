//! The chain from load to more replicas and back: what each look at the cluster adds to what is known, and the links that come of
//! it. Pure: whoever looks tells the time.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod, discovery::v1::EndpointSlice};

use super::{
    report::{Cpu, Line, Link, LinkName, Step},
    tally::{Sample, p95},
};
use crate::{cluster::ready, run::wait::Look, spec::AutoscaleSpec};

/// An autoscaler does nothing while CPU use is within a tenth of what it aims at.
const TOLERANCE: f64 = 1.1;
/// The stretches of time over which answers are compared, in seconds.
const BEFORE: f64 = 10.0;
const AFTER: f64 = 5.0;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    min: u32,
    target: f64,
    moments: BTreeMap<LinkName, f64>,
    old: BTreeSet<String>,
    pods: usize,
    pub(super) wanted: u32,
    pub(super) cpu: Vec<Cpu>,
    pub(super) wants: Vec<Step>,
    pub(super) ready: Vec<Step>,
    pub(super) p95: (Option<f64>, Option<f64>),
}

const ALL: [LinkName; 13] = [
    LinkName::Load,
    LinkName::Kubelet,
    LinkName::MetricsServer,
    LinkName::Decision,
    LinkName::Created,
    LinkName::Ready,
    LinkName::Endpoint,
    LinkName::Latency,
    LinkName::LoadEnds,
    LinkName::Idle,
    LinkName::Fewer,
    LinkName::Fewest,
    LinkName::Gone,
];

impl Chain {
    /// Nothing has happened, and these are the replicas of a lab at rest.
    pub(super) fn new(spec: &AutoscaleSpec, old: impl IntoIterator<Item = String>) -> Chain {
        let old: BTreeSet<String> = old.into_iter().collect();
        let (min, pods) = (u32::from(spec.min), old.len());
        Chain { min, target: f64::from(spec.cpu), wanted: min, old, pods, ..Chain::default() }
    }

    /// When a link was seen.
    pub(super) fn at(&self, link: LinkName) -> Option<f64> {
        self.moments.get(&link).copied()
    }

    /// A link was seen; only the first time counts.
    pub(super) fn note(&mut self, link: LinkName, at: f64) {
        self.moments.entry(link).or_insert(at);
    }

    /// The load begins anew, with more users.
    pub(super) fn begin(&mut self, at: f64) {
        self.moments.insert(LinkName::Load, at);
    }

    fn falls(&self) -> bool {
        self.moments.contains_key(&LinkName::LoadEnds)
    }

    /// CPU use as the kubelets, and as metrics-server, know it; in percent of what was asked for.
    pub(super) fn used(&mut self, at: f64, kubelet: Option<f64>, metrics: Option<f64>) {
        if self.cpu.last().is_none_or(|last| (last.kubelet, last.metrics) != (kubelet, metrics)) {
            self.cpu.push(Cpu { at, kubelet, metrics });
        }
        let above = |percent: Option<f64>| percent.is_some_and(|percent| percent > self.target * TOLERANCE);
        let (counted, told) = (above(kubelet), above(metrics));
        if self.falls() {
            if metrics.is_some_and(|percent| percent < self.target) {
                self.note(LinkName::Idle, at);
            }
            return;
        }
        if counted {
            self.note(LinkName::Kubelet, at);
        }
        if told {
            self.note(LinkName::MetricsServer, at);
        }
    }

    /// The autoscaler, now.
    pub(super) fn autoscaler(&mut self, at: f64, hpa: &HorizontalPodAutoscaler) {
        let Some(wants) = hpa.status.as_ref().and_then(|status| u32::try_from(status.desired_replicas).ok()) else {
            return;
        };
        step(&mut self.wants, at, wants);
        if self.falls() {
            if wants < self.wanted {
                self.note(LinkName::Fewer, at);
            }
            if wants <= self.min {
                self.note(LinkName::Fewest, at);
            }
        } else if wants > self.min {
            self.note(LinkName::Decision, at);
        }
        self.wanted = self.wanted.max(wants);
    }

    /// The replicas' pods, now.
    pub(super) fn replicas(&mut self, at: f64, pods: &BTreeMap<String, Pod>) {
        self.pods = pods.len();
        let is_ready = |pod: &Pod| ready::pod(Some(pod)) == Look::Ready(());
        let ready = pods.values().filter(|pod| is_ready(pod)).count();
        step(&mut self.ready, at, u32::try_from(ready).unwrap_or(u32::MAX));
        if self.falls() {
            if pods.len() <= self.min as usize && self.at(LinkName::Fewest).is_some() {
                self.note(LinkName::Gone, at);
            }
            return;
        }
        let mut new = pods.iter().filter(|(name, _)| !self.old.contains(*name)).peekable();
        let (some, serves) = (new.peek().is_some(), new.any(|(_, pod)| is_ready(pod)));
        if some {
            self.note(LinkName::Created, at);
        }
        if serves {
            self.note(LinkName::Ready, at);
        }
    }

    /// Nothing tells that pods are gone which were so before the autoscaler's last word.
    pub(super) fn settle(&mut self, at: f64) {
        if self.falls() && self.at(LinkName::Fewest).is_some() && self.pods <= self.min as usize {
            self.note(LinkName::Gone, at);
        }
    }

    /// The addresses of the Service, now.
    pub(super) fn addresses(&mut self, at: f64, slices: &BTreeMap<String, EndpointSlice>) {
        let endpoints = slices.values().flat_map(|slice| &slice.endpoints).flatten();
        let serves = |ready: Option<bool>| ready.unwrap_or(true);
        let mut serving = endpoints.filter(|one| serves(one.conditions.as_ref().and_then(|c| c.ready)));
        let new = serving.any(|one| {
            let name = one.target_ref.as_ref().and_then(|pod| pod.name.as_ref());
            name.is_some_and(|name| !self.old.contains(name))
        });
        if new && !self.falls() {
            self.note(LinkName::Endpoint, at);
        }
    }

    /// What answers took: whether those of the last seconds were faster than those before the autoscaler decided.
    pub(super) fn answers(&mut self, at: f64, samples: &[Sample]) {
        let Some(decided) = self.at(LinkName::Decision) else { return };
        if self.p95.0.is_none() {
            self.p95.0 = p95(samples, decided - BEFORE, decided);
        }
        let serves = self.at(LinkName::Endpoint).is_some_and(|serves| serves + AFTER <= at);
        if !serves || self.falls() || self.at(LinkName::Latency).is_some() {
            return;
        }
        self.p95.1 = p95(samples, at - AFTER, at);
        if let (Some(before), Some(now)) = self.p95
            && now < before
        {
            self.note(LinkName::Latency, at);
        }
    }

    /// How things are, in a few words.
    pub(super) fn told(&self) -> String {
        let cpu = self.cpu.iter().rev().find_map(|cpu| cpu.metrics);
        let cpu = cpu.map_or_else(|| "CPU not measured yet".to_owned(), |percent| format!("CPU at {percent:.0} %"));
        let last = |steps: &[Step]| steps.last().map_or(0, |step| step.count);
        format!(
            "{cpu} (target {:.0} %), {} replicas wanted, {} ready",
            self.target,
            last(&self.wants),
            last(&self.ready)
        )
    }

    /// Every link, seen or not.
    pub(super) fn links(&self) -> Vec<Link> {
        let mut before: Option<f64> = None;
        let one = |link| {
            let at = self.at(link);
            // Who looks from outside may see a link before the one that led to it.
            let after = at.zip(before).map(|(at, before)| (at - before).max(0.0));
            before = at.map(|at| before.map_or(at, |before| before.max(at))).or(before);
            Link { link, at, after }
        };
        ALL.into_iter().map(one).collect()
    }

    /// What was to be shown.
    pub(super) fn verdict(&self) -> Vec<Line> {
        let seen = |link: LinkName| self.at(link).map_or_else(|| "never".to_owned(), |at| format!("after {at:.1} s"));
        let min = self.min;
        let line =
            |what, expected: String, link| Line { what, expected, seen: seen(link), met: self.at(link).is_some() };
        vec![
            line("the autoscaler adds replicas", format!("more than {min} under load"), LinkName::Decision),
            line("a new replica serves", "it is ready and in the Service".to_owned(), LinkName::Endpoint),
            line("the autoscaler takes them away", format!("{min} after it"), LinkName::Gone),
        ]
    }
}

fn step(steps: &mut Vec<Step>, at: f64, count: u32) {
    if steps.last().is_none_or(|last| last.count != count) {
        steps.push(Step { at, count });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::load::mix::Kind;

    fn chain() -> Chain {
        let spec = AutoscaleSpec { min: 2, max: 4, cpu: 70, scale_down_window: 30 };
        let mut chain = Chain::new(&spec, ["a".to_owned(), "b".to_owned()]);
        chain.note(LinkName::Load, 0.0);
        chain
    }

    fn hpa(wants: i32) -> HorizontalPodAutoscaler {
        serde_json::from_value(json!({ "status": { "desiredReplicas": wants } })).expect("an autoscaler")
    }

    fn pods(all: &[(&str, bool)]) -> BTreeMap<String, Pod> {
        let pod = |ready: bool| {
            let status = if ready { "True" } else { "False" };
            let status = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": status }] });
            serde_json::from_value(json!({ "status": status })).expect("a pod")
        };
        all.iter().map(|(name, ready)| ((*name).to_owned(), pod(*ready))).collect()
    }

    fn slices(name: &str, ready: bool) -> BTreeMap<String, EndpointSlice> {
        let endpoint =
            json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": ready }, "targetRef": { "name": name } });
        let slice = json!({ "addressType": "IPv4", "endpoints": [endpoint] });
        BTreeMap::from([("s".to_owned(), serde_json::from_value(slice).expect("a slice"))])
    }

    fn answers(from: u32, to: u32, took: f64) -> impl Iterator<Item = Sample> {
        (from * 4..to * 4).map(move |n| Sample { kind: Kind::Post, at: f64::from(n) / 4.0 - took, took, error: None })
    }

    #[test]
    fn every_link_is_seen_once_and_in_its_order() {
        let mut chain = chain();
        chain.used(5.0, Some(75.0), Some(10.0));
        chain.used(8.0, Some(180.0), Some(10.0));
        chain.used(16.0, Some(190.0), Some(150.0));
        chain.used(17.0, Some(20.0), Some(150.0));
        chain.autoscaler(20.0, &hpa(2));
        chain.autoscaler(46.0, &hpa(4));
        chain.replicas(46.5, &pods(&[("a", true), ("b", true), ("c", false)]));
        chain.replicas(52.0, &pods(&[("a", true), ("b", true), ("c", true)]));
        chain.addresses(51.0, &slices("a", true));
        chain.addresses(52.2, &slices("c", true));
        let samples: Vec<Sample> = answers(0, 52, 0.8).chain(answers(52, 60, 0.2)).collect();
        chain.answers(54.0, &samples);
        assert_eq!(chain.at(LinkName::Latency), None, "less than a whole stretch since it serves");
        chain.answers(58.0, &samples);
        chain.note(LinkName::LoadEnds, 60.0);
        chain.used(80.0, Some(1.0), Some(2.0));
        chain.autoscaler(110.0, &hpa(3));
        chain.autoscaler(125.0, &hpa(2));
        chain.replicas(126.0, &pods(&[("a", true), ("b", true), ("c", false)]));
        chain.replicas(131.0, &pods(&[("a", true), ("b", true)]));
        let at: Vec<f64> = chain.links().iter().filter_map(|link| link.at).collect();
        assert_eq!(at, [0.0, 8.0, 16.0, 46.0, 46.5, 52.0, 52.2, 58.0, 60.0, 80.0, 110.0, 125.0, 131.0]);
        let links = chain.links();
        assert_eq!((links[0].after, links[3].after, links[12].after), (None, Some(30.0), Some(6.0)));
        assert!(chain.verdict().iter().all(|line| line.met));
        assert_eq!((chain.wanted, chain.p95), (4, (Some(0.8), Some(0.2))));
        assert_eq!(chain.told(), "CPU at 2 % (target 70 %), 2 replicas wanted, 2 ready");
    }

    #[test]
    fn what_was_not_seen_is_told_and_what_was_seen_early_has_no_negative_delay() {
        let mut chain = chain();
        chain.used(9.0, None, Some(90.0));
        chain.used(12.0, Some(90.0), Some(90.0));
        let links = chain.links();
        assert_eq!((links[1].after, links[2].at, links[2].after), (Some(12.0), Some(9.0), Some(0.0)));
        assert_eq!((links[3].at, links[3].after), (None, None));
        let verdict = chain.verdict();
        assert!(verdict.iter().all(|line| !line.met && line.seen == "never"));
    }

    #[test]
    fn answers_that_are_no_faster_do_not_end_the_chain() {
        let mut chain = chain();
        chain.autoscaler(20.0, &hpa(3));
        chain.addresses(25.0, &slices("c", true));
        let samples: Vec<Sample> = answers(0, 60, 0.5).collect();
        for at in [31.0, 40.0, 55.0] {
            chain.answers(at, &samples);
        }
        assert_eq!((chain.at(LinkName::Latency), chain.p95), (None, (Some(0.5), Some(0.5))));
    }

    #[test]
    fn pods_may_be_gone_before_the_last_word_is_heard() {
        let mut chain = chain();
        chain.autoscaler(20.0, &hpa(3));
        chain.note(LinkName::LoadEnds, 30.0);
        chain.replicas(60.0, &pods(&[("a", true), ("b", true)]));
        chain.settle(60.5);
        assert_eq!(chain.at(LinkName::Gone), None);
        chain.autoscaler(61.0, &hpa(2));
        chain.settle(61.5);
        assert_eq!(chain.at(LinkName::Gone), Some(61.5));
    }
}

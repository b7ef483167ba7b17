//! Shows the autoscaler at work: from a lab at rest, under load until more replicas serve, and at rest again. Changes of objects are
//! watched, CPU use is asked for; what that adds up to is [`super::chain`]'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod, discovery::v1::EndpointSlice};
use kube::ResourceExt;
use tokio::task::JoinSet;

use super::{
    chain::Chain,
    crowd::{Crowd, Pace},
    report::{LinkName, Proof},
    tally::Tally,
};
use crate::{
    cluster::{
        Cluster, ready,
        usage::{Counted, requested},
    },
    run::{
        Run, StepCx, Stepped,
        event::StepId,
        wait::{Look, TimedOut},
    },
    spec::{AutoscaleSpec, LabSpec},
};

const EVERY: Duration = Duration::from_secs(1);
/// Longer than a lab takes to come to rest once its replicas are not needed any more.
const TO_REST: Duration = Duration::from_mins(5);
/// How long users may be at work, all of them, before it is clear that they are too few.
const ENOUGH: Duration = Duration::from_secs(45);
/// How many users there may be.
pub(super) const MOST: u32 = 160;
/// From CPU use above the target to the decision: the autoscaler looks every 15 s, and has to see it for as long as its manifest says.
const TO_DECIDE: Duration = Duration::from_mins(3);
/// From the decision to a replica that serves.
const TO_SERVE: Duration = Duration::from_mins(4);
/// How long answers may take to be faster again. Where the machine itself is busy they never are.
const TO_HASTEN: Duration = Duration::from_secs(40);

const REPLICAS: &str = "app.kubernetes.io/name=wordpress";
const ADDRESSES: &str = "kubernetes.io/service-name=wordpress";

/// Who looks on. Clones share what was seen.
#[derive(Clone)]
pub(super) struct Watch {
    cluster: Cluster,
    tally: Tally,
    chain: Arc<Mutex<Chain>>,
    counts: Arc<Mutex<BTreeMap<String, Counted>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a lab is at rest: the fewest replicas, and CPU use below what the autoscaler aims at.
///
/// # Errors
/// It does not come to rest in time, with the last reason.
pub(super) async fn at_rest(cx: &StepCx, cluster: &Cluster, spec: &LabSpec) -> Result<Vec<String>> {
    let window = Duration::from_secs(spec.autoscale.scale_down_window.into());
    cx.until("the autoscaler's rest", TO_REST + window, EVERY, || async {
        let hpa = cluster.get::<HorizontalPodAutoscaler>("wordpress").await?;
        let pods = cluster.pods(REPLICAS).await?;
        Ok(rests(&spec.autoscale, hpa.as_ref(), &pods))
    })
    .await
}

fn rests(spec: &AutoscaleSpec, hpa: Option<&HorizontalPodAutoscaler>, pods: &[Pod]) -> Look<Vec<String>> {
    let (min, target) = (usize::from(spec.min), i32::from(spec.cpu));
    let percent = match ready::cpu_value(hpa) {
        Look::Ready(percent) => percent,
        Look::NotYet(reason) => return Look::NotYet(reason),
    };
    let ready = pods.iter().filter(|pod| ready::pod(Some(pod)) == Look::Ready(())).count();
    let wants = hpa.and_then(|hpa| hpa.status.as_ref()).map_or(0, |status| status.desired_replicas);
    if percent >= target {
        return Look::NotYet(format!("CPU is at {percent} %, and its target is {target} %"));
    }
    if usize::try_from(wants) != Ok(min) || pods.len() != min || ready != min {
        let there = pods.len();
        return Look::NotYet(format!(
            "{wants} replicas are wanted, {there} there, {ready} ready; the fewest are {min}"
        ));
    }
    Look::Ready(pods.iter().map(ResourceExt::name_any).collect())
}

impl Watch {
    /// Looks on from now; these are the replicas of a lab at rest.
    pub(super) fn new(cluster: Cluster, tally: Tally, spec: &AutoscaleSpec, replicas: Vec<String>) -> Watch {
        let chain = Arc::new(Mutex::new(Chain::new(spec, replicas)));
        Watch { cluster, tally, chain, counts: Arc::default() }
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        locked(&self.chain)
    }

    fn note(&self, link: LinkName) {
        let at = self.tally.now();
        self.chain().note(link, at);
    }

    fn has(&self, link: LinkName) -> bool {
        self.chain().at(link).is_some()
    }

    /// Hears of every change until it is dropped.
    async fn follow(self) -> Infallible {
        let (cluster, now) = (&self.cluster, || self.tally.now());
        tokio::select! {
            never = cluster.follow::<HorizontalPodAutoscaler>("", |all| {
                all.get("wordpress").into_iter().for_each(|hpa| self.chain().autoscaler(now(), hpa));
            }) => never,
            never = cluster.follow::<Pod>(REPLICAS, |pods| self.chain().replicas(now(), pods)) => never,
            never = cluster.follow::<EndpointSlice>(ADDRESSES, |slices| self.chain().addresses(now(), slices)) => never,
        }
    }

    /// Asks for what nobody tells by itself, and says how things are.
    async fn ask(&self) -> Result<String> {
        let pods = self.cluster.pods(REPLICAS).await?;
        let asked: BTreeMap<String, f64> = pods.iter().map(|pod| (pod.name_any(), requested(pod))).collect();
        let nodes: BTreeSet<&String> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_ref()).collect();
        let mut counts = BTreeMap::new();
        for node in nodes {
            counts.extend(self.cluster.counted(node).await?);
        }
        let used = self.since(counts);
        let measured = self.cluster.measured(REPLICAS).await?;
        let measured: BTreeMap<String, f64> = measured.into_iter().map(|(name, seen)| (name, seen.cores)).collect();
        let at = self.tally.now();
        let samples = self.tally.samples();
        let mut chain = self.chain();
        let counted = percent(&used, &asked).or_else(|| chain.cpu.last().and_then(|last| last.kubelet));
        chain.used(at, counted, percent(&measured, &asked));
        chain.answers(at, &samples);
        chain.settle(at);
        Ok(chain.told())
    }

    /// What pods have used since the count before; those that were not counted anew are left out.
    fn since(&self, counts: BTreeMap<String, Counted>) -> BTreeMap<String, f64> {
        let mut before = locked(&self.counts);
        let mut used = BTreeMap::new();
        for (name, count) in counts {
            if let Some(cores) = before.get(&name).and_then(|before| count.since(*before)) {
                used.insert(name.clone(), cores);
            }
            before.insert(name, count);
        }
        used
    }

    /// Waits for a link; whether it was seen in time.
    async fn until(&self, cx: &StepCx, what: &str, limit: Duration, links: &[LinkName]) -> Result<bool> {
        let seen = cx
            .until(what, limit, EVERY, || async {
                // An API server that is busy is no reason to give up.
                let told = self.ask().await.unwrap_or_else(|error| format!("{error:#}"));
                let seen = links.iter().any(|link| self.has(*link));
                Ok(if seen { Look::Ready(()) } else { Look::NotYet(told) })
            })
            .await;
        match seen {
            Ok(()) => Ok(true),
            Err(error) if error.is::<TimedOut>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Load until more replicas serve, and then rest.
    ///
    /// # Errors
    /// Users cannot be sent. What is not seen in time is no error: it is in what comes of it.
    pub(super) async fn show(&self, run: &Run, crowd: &Crowd, pace: Pace, spec: &LabSpec) -> Result<u32> {
        let mut eyes = JoinSet::new();
        let watch = self.clone();
        eyes.spawn(async move { watch.follow().await });
        let users = run.step(StepId::Traffic, |cx| self.rise(cx, crowd, pace)).await?;
        run.step(StepId::Rest, |cx| self.fall(cx, spec)).await?;
        drop(eyes);
        Ok(users)
    }

    async fn rise(&self, cx: StepCx, crowd: &Crowd, mut pace: Pace) -> Result<Stepped<u32>> {
        let going = loop {
            let at = self.tally.now();
            self.chain().begin(at);
            let going = crowd.send(&pace)?;
            let above = [LinkName::Kubelet, LinkName::MetricsServer, LinkName::Decision];
            if self.until(&cx, "CPU use above the target", pace.ramp + ENOUGH, &above).await? {
                break going;
            }
            let over = going.is_over();
            going.stop().await?;
            if over {
                bail!("the users have gone before they were told to");
            }
            if pace.users >= MOST {
                let detail = format!("{} users do not bring CPU use above the target", pace.users);
                return Ok(Stepped::done(pace.users, detail));
            }
            pace.users = (pace.users * 2).min(MOST);
            cx.warn(format!("CPU use stays below the target, so now there are {} users", pace.users));
        };
        let serves = self.until(&cx, "the autoscaler's decision", TO_DECIDE, &[LinkName::Decision]).await?
            && self.until(&cx, "a new replica in the Service", TO_SERVE, &[LinkName::Endpoint]).await?;
        let faster = serves && self.until(&cx, "faster answers", TO_HASTEN, &[LinkName::Latency]).await?;
        going.stop().await?;
        self.note(LinkName::LoadEnds);
        let wanted = self.chain().wanted;
        let detail = match (serves, faster) {
            (true, true) => format!("{wanted} replicas wanted, and answers are faster again"),
            (true, false) => format!("{wanted} replicas wanted; answers are not faster again"),
            (false, _) => "no more replicas".to_owned(),
        };
        Ok(Stepped::done(pace.users, detail))
    }

    async fn fall(&self, cx: StepCx, spec: &LabSpec) -> Result<Stepped<()>> {
        if !self.has(LinkName::Decision) {
            return Ok(Stepped::already((), "there is nothing to take away"));
        }
        let window = Duration::from_secs(spec.autoscale.scale_down_window.into());
        let gone = self.until(&cx, "the fewest replicas", TO_REST + window, &[LinkName::Gone]).await?;
        let detail = if gone { "the fewest replicas again" } else { "there are still more than the fewest replicas" };
        Ok(Stepped::done((), detail))
    }

    /// What came of it.
    pub(super) fn proof(&self, spec: &AutoscaleSpec) -> (Proof, Vec<super::report::Line>) {
        let chain = self.chain().clone();
        let proof = Proof {
            min: spec.min.into(),
            max: spec.max.into(),
            wanted: chain.wanted,
            target: spec.cpu.into(),
            window: spec.scale_down_window,
            links: chain.links(),
            p95: chain.p95,
            cpu: chain.cpu.clone(),
            wants: chain.wants.clone(),
            ready: chain.ready.clone(),
        };
        (proof, chain.verdict())
    }
}

/// What pods use of what they have asked for, in percent; `None` when nothing is known of any.
fn percent(cores: &BTreeMap<String, f64>, asked: &BTreeMap<String, f64>) -> Option<f64> {
    let both = cores.iter().filter_map(|(name, cores)| Some((*cores, *asked.get(name)?)));
    let (used, asked) = both.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (asked > 0.0).then(|| (used / asked * 100.0).round())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_share_is_of_those_that_are_known_on_both_sides() {
        let of = |all: &[(&str, f64)]| all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        assert_eq!(percent(&of(&[("a", 0.2), ("gone", 9.0)]), &of(&[("a", 0.1), ("b", 0.1)])), Some(200.0));
        assert_eq!(percent(&of(&[]), &of(&[("a", 0.1)])), None);
    }

    #[test]
    fn a_lab_at_rest_has_the_fewest_replicas_and_little_to_do() {
        let spec = AutoscaleSpec { min: 2, max: 4, cpu: 70, scale_down_window: 30 };
        let hpa = |wants: i32, percent: i32| -> HorizontalPodAutoscaler {
            let cpu = json!({ "name": "cpu", "current": { "averageUtilization": percent } });
            let metrics = json!([{ "type": "Resource", "resource": cpu }]);
            serde_json::from_value(json!({ "status": { "desiredReplicas": wants, "currentMetrics": metrics } }))
                .expect("an autoscaler")
        };
        let pods = |count: usize| -> Vec<Pod> {
            let ready = json!([{ "type": "Ready", "status": "True" }]);
            let pod = |n: usize| json!({ "metadata": { "name": format!("p{n}") }, "status": { "conditions": ready } });
            (0..count).map(|n| serde_json::from_value(pod(n)).expect("a pod")).collect()
        };
        let look = |wants, percent, count| rests(&spec, Some(&hpa(wants, percent)), &pods(count));
        assert_eq!(look(2, 5, 2), Look::Ready(vec!["p0".to_owned(), "p1".to_owned()]));
        let reason = |look| match look {
            Look::NotYet(reason) => reason,
            Look::Ready(_) => panic!("at rest"),
        };
        assert_eq!(reason(look(2, 71, 2)), "CPU is at 71 %, and its target is 70 %");
        assert_eq!(reason(look(3, 5, 3)), "3 replicas are wanted, 3 there, 3 ready; the fewest are 2");
        assert_eq!(reason(rests(&spec, None, &pods(2))), "it does not exist yet");
    }
}

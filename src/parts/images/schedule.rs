//! In which order recipes are built, how long all of it takes, and how much slower than that this machine is: pure
//! arithmetic over the catalogue's figures.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::Catalogue;

/// The catalogue's figures are those of a machine with so many cores.
const MEASURED_ON: f64 = 2.0;
/// Beyond that a build that uses every core gains little: there is always something that the rest waits for.
const SPREADS_OVER: f64 = 8.0;
/// What lasts so long by the plan, in seconds, tells how fast the machine is; what is over sooner may be chance.
const TELLING: f64 = 20.0;
/// What is so much faster than the plan was not built: a base came from a registry.
const NOT_BUILT: f64 = 0.5;

/// When each of some builds begins and ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    spans: BTreeMap<String, (f64, f64)>,
}

impl Plan {
    /// Until the last is built, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        whole(self.spans.values().map(|&(_, end)| end).fold(0.0, f64::max))
    }

    /// How long one of them takes beside the others, in seconds.
    pub(super) fn takes(&self, name: &str) -> f64 {
        self.spans.get(name).map_or(0.0, |(begin, end)| end - begin)
    }

    /// How many times slower than this plan a machine is on which `name` was built so many seconds after the beginning;
    /// `None` when it is too early to tell.
    pub(super) fn slower(&self, name: &str, after: f64) -> Option<f64> {
        let (_, end) = self.spans.get(name).filter(|(_, end)| *end >= TELLING)?;
        Some(after / end).filter(|slower| *slower >= NOT_BUILT)
    }
}

/// What is built, what waits and what is next.
#[derive(Clone, Debug)]
pub(super) struct Queue<'a> {
    catalogue: &'a Catalogue,
    cores: f64,
    /// Seconds from the beginning of each to the end of everything, if it had to wait for nothing but what it is built from.
    way: BTreeMap<&'a str, u64>,
    waiting: BTreeSet<&'a str>,
    running: BTreeSet<&'a str>,
}

impl<'a> Queue<'a> {
    /// All of these wait; each comes after what it is built from.
    pub(super) fn new(catalogue: &'a Catalogue, missing: &'a [String], cores: usize) -> Queue<'a> {
        let mut way = BTreeMap::new();
        for name in missing.iter().rev() {
            let after = missing.iter().filter(|other| catalogue.from(other).contains(name));
            let after = after.filter_map(|other| way.get(other.as_str())).max().copied().unwrap_or_default();
            way.insert(name.as_str(), after + catalogue.seconds(name));
        }
        let cores = f64::from(u32::try_from(cores.max(1)).unwrap_or(u32::MAX));
        let waiting = missing.iter().map(String::as_str).collect();
        Queue { catalogue, cores, way, waiting, running: BTreeSet::new() }
    }

    /// What to begin now, if anything: everything that it is built from is there, and either there are cores for it or
    /// the end of everything hangs on it more than on all that is under way.
    pub(super) fn begin(&mut self) -> Option<&'a str> {
        let way = |name: &&str| self.way.get(*name).copied().unwrap_or_default();
        let under_way = |from: &String| self.waiting.contains(from.as_str()) || self.running.contains(from.as_str());
        let ready = self.waiting.iter().filter(|name| !self.catalogue.from(name).iter().any(under_way));
        let next = *ready.max_by_key(|name| way(name))?;
        let busy: f64 = self.running.iter().map(|name| self.cores_of(name)).sum();
        if busy >= self.cores && self.running.iter().any(|name| way(name) >= way(&next)) {
            return None;
        }
        self.waiting.remove(next);
        self.running.insert(next);
        Some(next)
    }

    /// Whether the end of everything hangs on something else that waits or is under way: it can do with the cores' spare
    /// time.
    pub(super) fn is_in_no_hurry(&self, name: &str) -> bool {
        let way = |name: &str| self.way.get(name).copied().unwrap_or_default();
        self.waiting.iter().chain(&self.running).any(|other| way(other) > way(name))
    }

    /// It is built.
    pub(super) fn end(&mut self, name: &str) {
        self.running.remove(name);
    }

    /// Whether everything is built.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// How many times faster than in the catalogue it is built here, when it is alone.
    fn speed(&self, name: &str) -> f64 {
        let spreads = self.catalogue.takes(name).cpu > self.catalogue.seconds(name);
        if spreads { self.cores.min(SPREADS_OVER) / MEASURED_ON } else { 1.0 }
    }

    /// How many cores it keeps busy, when it is alone.
    fn cores_of(&self, name: &str) -> f64 {
        let takes = self.catalogue.takes(name);
        seconds(takes.cpu) / seconds(takes.seconds.max(1)) * self.speed(name)
    }
}

/// When each of these begins and ends on so many cores.
pub(super) fn plan(catalogue: &Catalogue, missing: &[String], cores: usize) -> Plan {
    let mut queue = Queue::new(catalogue, missing, cores);
    let mut plan = Plan::default();
    let mut left: BTreeMap<&str, f64> = BTreeMap::new();
    let mut now = 0.0;
    while !queue.is_done() {
        while let Some(name) = queue.begin() {
            left.insert(name, seconds(catalogue.seconds(name)));
            plan.spans.insert(name.to_owned(), (now, now));
        }
        // Cores that are wanted by more than they can serve serve all equally.
        let wanted: f64 = left.keys().map(|name| queue.cores_of(name)).sum();
        let share = (queue.cores / wanted.max(queue.cores)).min(1.0);
        let speed: BTreeMap<&str, f64> = left.keys().map(|name| (*name, queue.speed(name) * share)).collect();
        let lasts = |name: &str, left: f64| left / speed.get(name).copied().unwrap_or(1.0);
        let first = left.iter().min_by(|a, b| lasts(a.0, *a.1).total_cmp(&lasts(b.0, *b.1)));
        let Some((&first, &of_first)) = first else { break };
        let passed = lasts(first, of_first);
        now += passed;
        for (name, left) in &mut left {
            *left -= passed * speed.get(name).copied().unwrap_or(1.0);
        }
        left.remove(first);
        queue.end(first);
        if let Some(span) = plan.spans.get_mut(first) {
            span.1 = now;
        }
    }
    plan
}

/// A machine's pace in words, where it differs from the table's enough to be told; `all` is what the table says of
/// everything, in seconds.
pub(super) fn slowness(slower: f64, all: u64) -> Option<String> {
    let minutes = whole(seconds(all) * slower).div_ceil(60);
    (slower >= 1.5).then(|| {
        format!("this machine is about {slower:.1} times slower than the table of builds: about {minutes} min in all")
    })
}

fn seconds(whole: u64) -> f64 {
    f64::from(u32::try_from(whole).unwrap_or(u32::MAX))
}

/// Rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of builds, never negative")]
pub(super) fn whole(seconds: f64) -> u64 {
    seconds.max(0.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `compile` keeps two cores busy, everything else waits half of its time.
    const YAML: &str = "
bases: {debian: {suite: trixie, public: 'debian:trixie', takes: {seconds: 20, cpu: 10, disk: 100}}}
recipes:
  go: {from: [debian], takes: {seconds: 10, cpu: 5, disk: 1}}
  compile: {from: [go], takes: {seconds: 300, cpu: 600, disk: 1}}
  node: {from: [compile, tools], takes: {seconds: 30, cpu: 30, disk: 1}}
  tools: {from: [debian], takes: {seconds: 100, cpu: 50, disk: 1}}
  site: {from: [debian], takes: {seconds: 110, cpu: 55, disk: 1}}
roles: {node: {public: 'kindest/node:v1', recipe: node, prefer: registry, because: minutes to build}}
tools: {}
";

    fn catalogue() -> Catalogue {
        Catalogue::parse(YAML).expect("parses")
    }

    fn missing(catalogue: &Catalogue) -> Vec<String> {
        catalogue.closure(&["node", "site"]).expect("no circle")
    }

    #[test]
    fn what_the_end_hangs_on_comes_first_and_does_not_wait_for_cores() {
        let catalogue = catalogue();
        let missing = missing(&catalogue);
        let mut queue = Queue::new(&catalogue, &missing, 2);
        assert_eq!((queue.begin(), queue.begin()), (Some("debian"), None));
        queue.end("debian");
        // The longer way first, though `site` by itself takes longer than `tools`.
        assert_eq!([queue.begin(), queue.begin(), queue.begin()], [Some("go"), Some("tools"), Some("site")]);
        assert_eq!(["go", "tools", "site"].map(|name| queue.is_in_no_hurry(name)), [false, true, true]);
        queue.end("go");
        // Beside the compiler, which keeps every core busy, nothing more is begun.
        assert_eq!((queue.begin(), queue.begin()), (Some("compile"), None));
        ["compile", "tools", "site"].into_iter().for_each(|name| queue.end(name));
        assert_eq!((queue.begin(), queue.is_done()), (Some("node"), false));
        queue.end("node");
        assert!(queue.is_done());
        // One core: the critical way begins all the same.
        let mut queue = Queue::new(&catalogue, &missing, 1);
        queue.waiting = BTreeSet::from(["site", "compile"]);
        queue.running = BTreeSet::from(["tools", "site"]);
        assert_eq!(queue.begin(), Some("compile"));
    }

    #[test]
    fn a_plan_is_shorter_than_the_sum_longer_than_the_critical_way_and_shorter_on_more_cores() {
        let catalogue = catalogue();
        let missing = missing(&catalogue);
        let seconds = |cores| plan(&catalogue, &missing, cores).seconds();
        let sum: u64 = missing.iter().map(|name| catalogue.seconds(name)).sum();
        let work: u64 = missing.iter().map(|name| catalogue.takes(name).cpu).sum();
        assert!(seconds(2) > 20 + 10 + 300 + 30 && seconds(2) < sum, "{}", seconds(2));
        assert!(seconds(1) >= work && seconds(1) < 2 * sum, "{}", seconds(1));
        assert!(seconds(8) < seconds(4) && seconds(4) < seconds(2), "{} {}", seconds(8), seconds(4));
        assert_eq!(plan(&catalogue, &[], 2).seconds(), 0);
        // Alone, each takes what the catalogue says.
        assert_eq!(plan(&catalogue, &["compile".to_owned()], 2).seconds(), 300);
    }

    #[test]
    fn a_slow_machine_is_told_once_there_is_something_to_tell() {
        let catalogue = catalogue();
        let plan = plan(&catalogue, &missing(&catalogue), 2);
        assert_eq!(plan.slower("debian", 60.0), Some(3.0));
        assert_eq!(plan.slower("nothing", 60.0), None);
        assert_eq!(plan.slower("debian", 2.0), None, "a base that was pulled says nothing");
        assert_eq!(
            slowness(3.0, 480).as_deref(),
            Some("this machine is about 3.0 times slower than the table of builds: about 24 min in all")
        );
        assert_eq!(slowness(1.2, 480), None);
    }
}

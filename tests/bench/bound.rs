//! The lower bound: each term timed alone on the same machine, composed as if nothing ever waited for anything but what it
//! needs, and for a processor.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{run::MILESTONES, stats::median};

/// A container younger than this has no CPU value in metrics-server, whatever its resolution; the autoscaler's first value
/// cannot be earlier.
const METRICS: f64 = 10.0;

/// What one term takes alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Term {
    pub(crate) seconds: f64,
    /// Processor seconds of the whole machine.
    pub(crate) cpu: f64,
}

pub(crate) type Terms = BTreeMap<String, Term>;

/// Lines of `TERM SECONDS PROCESSOR-SECONDS`.
pub(crate) fn parse(text: &str) -> Terms {
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, Term { seconds: words.next()?.parse().ok()?, cpu: words.next()?.parse().ok()? }))
    };
    text.lines().filter_map(one).collect()
}

/// What becomes of the images on the way to a lab: how many containerds import them, and whether nodes begin with clones, which
/// spares the engine the copy of the image's own /var for each of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) arm: &'static str,
    imports: f64,
    clones: bool,
}

/// With a golden root that is there, with one that is made, and with none.
pub(crate) const WAYS: [Way; 3] = [
    Way { arm: "golden", imports: 0.0, clones: true },
    Way { arm: "up", imports: 1.0, clones: true },
    Way { arm: "streamed", imports: 3.0, clones: false },
];

/// The bound for the default lab.
#[derive(Debug)]
pub(crate) struct Bound {
    /// When each milestone could be there with as many processors as one likes.
    pub(crate) span: BTreeMap<&'static str, f64>,
    /// The work of all terms, on the processors that there are.
    pub(crate) work: f64,
}

impl Bound {
    /// Of `terms`, for so many processors. None where a term is missing.
    pub(crate) fn of(terms: &Terms, processors: f64, way: Way) -> Option<Bound> {
        let term = |name: &str| terms.get(name).copied();
        let (boot, filled, cluster, idle) = (term("boot")?, term("filled")?, term("cluster")?, term("idle")?);
        let (save, images, database) = (term("save")?, term("images")?, term("database")?);
        let (files, site, checks) = (term("files")?, term("site")?, term("checks")?);
        let copies = |of: fn(&Term) -> f64| if way.clones { (of(&boot) - of(&filled)).max(0.0) } else { 0.0 };
        let nodes = cluster.seconds - copies(|term| term.seconds);
        // Images are imported beside the making of the cluster.
        let import = if way.imports > 0.0 { filled.seconds + images.seconds } else { 0.0 };
        let ready = nodes.max(import);
        let replicating = ready + database.seconds;
        let page = replicating.max(ready + files.seconds) + site.seconds;
        let autoscaler = ready + METRICS;
        // All checks but the autoscaler's own can be made while it waits for its value.
        let end = autoscaler.max(page + checks.seconds);
        // What an empty cluster uses all the time; images are imported into one.
        let rest = idle.cpu / idle.seconds;
        // However many import them, images are taken out of Docker once.
        let unpacking = (images.cpu - save.cpu - rest * images.seconds).max(0.0);
        let imports = save.cpu * way.imports.min(1.0) + unpacking * way.imports;
        let nodes_cpu = cluster.cpu - copies(|term| term.cpu);
        let cpu = nodes_cpu + imports + 3.0 * database.cpu + files.cpu + site.cpu + checks.cpu;
        let span = [nodes, ready, replicating, page, autoscaler, end];
        let span = MILESTONES.into_iter().skip(1).zip(span).collect();
        Some(Bound { span, work: cpu / (processors - rest) })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.work.max(self.span["checks"])
    }
}

/// Where a run's time goes beyond the bound: stage by stage, what it takes more than the bound's own stage. A stage lasts from
/// the moment all milestones before are there until its own is.
pub(crate) fn gap(measured: &BTreeMap<&'static str, f64>, bound: &Bound) -> Vec<(&'static str, f64)> {
    let of = |times: &BTreeMap<&'static str, f64>| stages(times).into_iter().collect::<BTreeMap<_, _>>();
    let (ours, best) = (of(measured), of(&bound.span));
    // The bound does not tell the API from the nodes.
    let mut carried = 0.0;
    let mut rows = Vec::new();
    for milestone in MILESTONES {
        let own = ours.get(milestone).copied().unwrap_or_default() + carried;
        match best.get(milestone) {
            Some(best) => {
                rows.push((milestone, own - best));
                carried = 0.0;
            }
            None => carried = own,
        }
    }
    rows.push(("work that the processors cannot do at once", -(bound.seconds() - bound.span["checks"])));
    rows
}

/// How long each stage lasts, in the order of the milestones; one that ends before the stage before it lasts no time.
pub(crate) fn stages(times: &BTreeMap<&'static str, f64>) -> Vec<(&'static str, f64)> {
    let mut now = 0.0_f64;
    let seen = MILESTONES.into_iter().filter_map(|milestone| Some((milestone, *times.get(milestone)?)));
    seen.map(|(milestone, at)| {
        let lasted = (at - now).max(0.0);
        now = now.max(at);
        (milestone, lasted)
    })
    .collect()
}

/// Terms, bounds, and what lies between, as Markdown.
pub(crate) fn page(terms: &Terms, processors: f64, arms: &[(&str, BTreeMap<&'static str, f64>)]) -> String {
    if terms.is_empty() {
        return "\nThe lower bound was not measured.\n".to_owned();
    }
    let mut page = String::from("\n## Lower bound\n\n| term, timed alone | s | CPU-s |\n|---|---:|---:|\n");
    for (name, term) in terms {
        let _ = writeln!(page, "| {name} | {:.1} | {:.1} |", term.seconds, term.cpu);
    }
    let _ = writeln!(page, "| metrics (given) | {METRICS:.1} | 0.0 |\n");
    for way in WAYS {
        let arm = way.arm;
        let Some(bound) = Bound::of(terms, processors, way) else {
            let _ = writeln!(page, "{arm}: no bound, because a term is missing.");
            continue;
        };
        let (span, work, best) = (bound.span["checks"], bound.work, bound.seconds());
        let _ =
            writeln!(page, "{arm}: needs {span:.1} s, work {work:.1} s on {processors} processors: bound {best:.1} s.");
        let Some((_, measured)) = arms.iter().find(|(name, _)| *name == arm) else { continue };
        let Some(end) = measured.get("checks") else { continue };
        let _ =
            writeln!(page, "Measured {end:.1} s, {:.2} times the bound. The gap of {:.1} s:\n", end / best, end - best);
        page.push_str("| until | s beyond the bound's own |\n|---|---:|\n");
        for (stage, seconds) in gap(measured, &bound) {
            let _ = writeln!(page, "| {stage} | {seconds:+.1} |");
        }
        page.push('\n');
    }
    page
}

/// The term of several measurements: medians.
pub(crate) fn middle(all: &[Terms]) -> Terms {
    let names = all.iter().flat_map(BTreeMap::keys);
    let values = |name: &String, of: fn(&Term) -> f64| {
        all.iter().filter_map(|terms| terms.get(name).map(of)).collect::<Vec<_>>()
    };
    let term = |name: &String| {
        Some(Term { seconds: median(&values(name, |t| t.seconds))?, cpu: median(&values(name, |t| t.cpu))? })
    };
    names.filter_map(|name| Some((name.clone(), term(name)?))).collect()
}

#[cfg(test)]
fn example() -> Terms {
    parse(
        "boot 8 9\nfilled 5 7\ncluster 30 40\nidle 20 4\nsave 4 3\nimages 20 15\ndatabase 4 3\nfiles 1 0.5\nsite 2 2\nchecks 5 6\nno term\n",
    )
}

#[cfg(test)]
fn bound(arm: &str) -> Bound {
    let way = WAYS.into_iter().find(|way| way.arm == arm).expect("a way");
    Bound::of(&example(), 2.0, way).expect("all terms")
}

#[test]
fn the_bound_is_the_longer_of_need_and_work() {
    let streamed = bound("streamed");
    assert!((streamed.span["checks"] - 41.0).abs() < 1e-9, "30 until ready, 4, 2, 5 of checks: {streamed:?}");
    assert!((streamed.work - (40.0 + 3.0 + 3.0 * 8.0 + 9.0 + 8.5) / 1.8).abs() < 1e-9, "{streamed:?}");
    assert!((streamed.seconds() - streamed.work).abs() < 1e-9);
    assert!(Bound::of(&parse("boot 5 8"), 2.0, WAYS[0]).is_none());
}

#[test]
fn clones_spare_the_copies_and_a_golden_root_the_imports() {
    let (golden, up) = (bound("golden"), bound("up"));
    assert!((golden.span["nodes"] - 27.0).abs() < 1e-9 && (golden.span["checks"] - 38.0).abs() < 1e-9, "{golden:?}");
    assert!((golden.work - (38.0 + 9.0 + 8.5) / 1.8).abs() < 1e-9, "{golden:?}");
    assert!((up.work - golden.work - 11.0 / 1.8).abs() < 1e-9, "imported once: {up:?}");
    let slow = parse("images 40 15");
    let terms: Terms = example().into_iter().chain(slow).collect();
    let up = Bound::of(&terms, 2.0, WAYS[1]).expect("all terms");
    assert!((up.span["images"] - 45.0).abs() < 1e-9, "beside the cluster, from the boot on: {up:?}");
}

#[test]
fn checks_are_made_while_the_autoscaler_measures() {
    let quick: Terms = example().into_iter().chain(parse("checks 1 1")).collect();
    let bound = Bound::of(&quick, 2.0, WAYS[0]).expect("all terms");
    assert!((bound.span["checks"] - 37.0).abs() < 1e-9, "27 until ready, 10 of metrics: {bound:?}");
}

#[test]
fn the_gap_is_told_whole() {
    let bound = bound("streamed");
    let measured = [20.0, 33.0, 60.0, 80.0, 95.0, 90.0, 118.0];
    let measured: BTreeMap<_, _> = MILESTONES.into_iter().zip(measured).collect();
    let gap = gap(&measured, &bound);
    assert!((gap.iter().map(|(_, seconds)| seconds).sum::<f64>() - (118.0 - bound.seconds())).abs() < 1e-9, "{gap:?}");
    assert_eq!(gap[0].0, "nodes", "the API's time is the nodes'");
    let stages: f64 = stages(&measured).iter().map(|(_, seconds)| seconds).sum();
    assert!((stages - 118.0).abs() < 1e-9);
}

#[test]
fn the_page_has_a_bound_for_each_way_or_says_why_not() {
    let whole = page(&example(), 2.0, &[("golden", BTreeMap::from([("checks", 50.0)]))]);
    for text in ["golden: needs 38.0 s", "up: needs", "streamed: needs", "Measured 50.0 s"] {
        assert!(whole.contains(text), "{text}: {whole}");
    }
    assert_eq!(page(&parse("boot 5 8"), 2.0, &[]).matches("no bound").count(), WAYS.len());
}

#[test]
fn several_measurements_give_their_middle() {
    let all = [parse("boot 5 8"), parse("boot 7 9"), parse("boot 6 1")];
    assert_eq!(middle(&all)["boot"], Term { seconds: 6.0, cpu: 8.0 });
}

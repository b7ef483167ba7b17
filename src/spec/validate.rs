//! From the tree of a lab file to a [`LabSpec`]: every field read, every rule between fields checked, every problem
//! kept, so that one run tells all of them.

use std::{collections::BTreeMap, ops::RangeInclusive, path::Path};

use jiff::SignedDuration;

use super::{
    Flavour, FreedVolumes, ImageSource, LabName, LabSpec, Quantity, Reads, Resources, ServerImage, Topology,
    VolumeClass,
    backup::{Keep, NO_ARCHIVE, Place as BackupPlace, Readers, Schedule, Switch},
    defaults,
    overrides::Overrides,
    placement::{NodeLabels, Taints},
    problem::{Place, Problem, meant, quoted},
    settings,
    tree::{Entry, Node, Value},
};

/// Reads the tree over the defaults, lets the command line have the last word, and checks the rules between fields.
/// `problems` are those that reading the tree has found already.
pub(super) fn spec(
    root: Option<&Node>,
    problems: Vec<Problem>,
    folder: &Path,
    overrides: &Overrides,
) -> Result<LabSpec, Vec<Problem>> {
    // Which options there are, and which of them are free, depends on the topology.
    let asked = overrides.topology.or_else(|| root.and_then(asked_topology));
    let mut spec = asked.map_or_else(LabSpec::default, LabSpec::of);
    let topology = spec.database.topology;
    let mut reader = Reader { problems, places: BTreeMap::new() };
    if let Some(root) = root {
        reader.fields(root, folder, &mut spec);
    }
    spec.database.topology = topology;
    if let Some(entry) = root.and_then(|root| root.below("database")?.below("settings")) {
        reader.settings(entry, topology, &mut spec.database.settings);
    }
    spec.name = overrides.name.clone().unwrap_or(spec.name);
    spec.images = overrides.images.clone().unwrap_or(spec.images);
    spec.cluster.workers = overrides.workers.unwrap_or(spec.cluster.workers);
    spec.cluster.port = overrides.port.unwrap_or(spec.cluster.port);
    spec.database.flavour = overrides.flavour.unwrap_or(spec.database.flavour);
    if !reader.places.contains_key("database.members") {
        // Who asks for fewer workers and says nothing of members wants them all to fit.
        let least = fewest_members(spec.database.topology);
        spec.database.members = spec.database.members.min(spec.cluster.workers).max(least);
    }
    reader.rules(&spec);
    if reader.problems.is_empty() { Ok(spec) } else { Err(reader.problems) }
}

/// The topology that the file asks for, if it is one.
fn asked_topology(root: &Node) -> Option<Topology> {
    match &root.below("database")?.below("topology")?.value {
        Value::Text { text, .. } => Topology::new(text).ok(),
        _ => None,
    }
}

/// The fewest members that outlive the loss of one of them. Each has a worker of its own, so it is the fewest workers too.
fn fewest_members(topology: Topology) -> u8 {
    match topology {
        Topology::Replication => 2,
        Topology::Galera => 3,
    }
}

/// A section of the file; one that is not there has no entries.
struct Section<'a> {
    path: &'static str,
    entries: &'a [Entry],
}

impl Section<'_> {
    fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

struct Reader {
    problems: Vec<Problem>,
    /// Where each field is written that the file has.
    places: BTreeMap<String, Place>,
}

impl Reader {
    fn fields(&mut self, root: &Node, folder: &Path, spec: &mut LabSpec) {
        let all = self.section(root, "");
        self.word(&all, "name", &mut spec.name, LabName::new);
        self.word(&all, "images", &mut spec.images, |text| ImageSource::new(text, folder));

        let cluster = self.below(&all, "cluster");
        self.number(&cluster, "workers", 2..=9, &mut spec.cluster.workers);
        self.number(&cluster, "port", 1024..=65535, &mut spec.cluster.port);

        let storage = self.below(&all, "storage");
        self.quantity(&storage, "size", ("64Mi", "1Ti"), &mut spec.storage.size);

        let database = self.below(&all, "database");
        self.word(&database, "topology", &mut spec.database.topology, Topology::new);
        self.word(&database, "flavour", &mut spec.database.flavour, Flavour::new);
        self.word(&database, "image", &mut spec.database.image, ServerImage::new);
        self.number(&database, "members", 1..=9, &mut spec.database.members);
        self.word(&database, "freed-volumes", &mut spec.database.freed_volumes, FreedVolumes::new);
        self.quantity(&database, "volume", ("512Mi", "1Ti"), &mut spec.database.volume);
        self.word(&database, "volume-class", &mut spec.database.volume_class, VolumeClass::new);
        self.resources(&database, "database.resources", "256Mi", &mut spec.database.resources);
        let placement = self.below(&database, "database.placement");
        self.word(&placement, "nodes", &mut spec.database.placement.nodes, NodeLabels::new);
        self.word(&placement, "prefer", &mut spec.database.placement.prefer, NodeLabels::new);
        self.word(&placement, "tolerate", &mut spec.database.placement.tolerate, Taints::new);

        let wordpress = self.below(&all, "wordpress");
        self.word(&wordpress, "title", &mut spec.wordpress.title, title);
        self.number(&wordpress, "replicas", 1..=20, &mut spec.wordpress.replicas);
        self.word(&wordpress, "reads", &mut spec.wordpress.reads, Reads::new);
        self.resources(&wordpress, "wordpress.resources", "128Mi", &mut spec.wordpress.resources);

        let autoscale = self.below(&all, "autoscale");
        self.number(&autoscale, "min", 1..=20, &mut spec.autoscale.min);
        self.number(&autoscale, "max", 1..=20, &mut spec.autoscale.max);
        self.number(&autoscale, "cpu", 1..=100, &mut spec.autoscale.cpu);
        self.word(&autoscale, "scale-down-window", &mut spec.autoscale.scale_down_window, seconds);

        let backup = self.below(&all, "backup");
        self.word(&backup, "destination", &mut spec.backup.destination, BackupPlace::new);
        self.word(&backup, "encrypt-for", &mut spec.backup.encrypt_for, Readers::new);
        self.word(&backup, "schedule", &mut spec.backup.schedule, Schedule::new);
        self.word(&backup, "keep", &mut spec.backup.keep, Keep::new);
        self.word(&backup, "verify", &mut spec.backup.verify, Schedule::new);
        self.word(&backup, "archive", &mut spec.backup.archive, Switch::new);

        self.word(&all, "monitoring", &mut spec.monitoring, yes_or_no);
    }

    /// The rules between fields. Each is looked at only if its fields are good by themselves.
    fn rules(&mut self, spec: &LabSpec) {
        let sealed = !spec.backup.encrypt_for.keys().is_empty();
        if sealed && !spec.backup.verify.is_never() && self.good(&["backup.verify", "backup.encrypt-for"]) {
            let what = "the lab has no key that opens what it encrypts, so no schedule can prove it";
            let cure = "leave it at never and verify by hand, with the file that has the key, or encrypt for everybody";
            self.problem("backup.verify", what, cure);
        }
        self.database(spec);
        let (min, max, replicas) = (spec.autoscale.min, spec.autoscale.max, spec.wordpress.replicas);
        if !self.good(&["autoscale.min", "autoscale.max"]) {
            return;
        }
        if min > max {
            let path = if self.places.contains_key("autoscale.min") { "autoscale.min" } else { "autoscale.max" };
            let cure = format!("allowed: a min of {max} at most, or a max of {min} at least");
            self.problem(path, format!("min {min} is more than max {max}"), cure);
        } else if !(min..=max).contains(&replicas) && self.good(&["wordpress.replicas"]) {
            let path = ["wordpress.replicas", "autoscale.min", "autoscale.max"]
                .into_iter()
                .find(|path| self.places.contains_key(*path));
            let what = format!("{replicas} replicas are outside of what the autoscaler allows, {min} to {max}");
            let side = if replicas < min { "min" } else { "max" };
            let cure = format!("set wordpress.replicas to {min}..{max}, or autoscale.{side} to {replicas}");
            self.problem(path.unwrap_or("wordpress.replicas"), what, cure);
        }
        let pool = spec.database.settings.get("innodb_buffer_pool_size").and_then(|text| settings::size(text));
        let memory = spec.database.resources.memory.value();
        #[expect(clippy::cast_precision_loss, reason = "a size in a comparison")]
        if pool.is_some_and(|pool| pool as f64 > memory * 0.75) && self.good(&["database.resources.memory"]) {
            let path = "database.settings.innodb_buffer_pool_size";
            let path = if self.places.contains_key(path) { path } else { "database.resources.memory" };
            let memory = spec.database.resources.memory.as_str();
            let what = format!(
                "the buffer pool leaves less than a quarter of the member's {memory}, and the kernel would end the server"
            );
            self.problem(path, what, "make the buffer pool smaller, or database.resources.memory larger");
        }
    }

    fn database(&mut self, spec: &LabSpec) {
        let (members, workers) = (spec.database.members, spec.cluster.workers);
        let percona = spec.database.flavour == Flavour::Percona;
        if spec.backup.archive.is_on() && percona && self.good(&["backup.archive", "database.flavour"]) {
            self.problem("backup.archive", NO_ARCHIVE, "leave it off, or set database.flavour to mariadb");
        }
        let galera = spec.database.topology == Topology::Galera;
        if spec.database.flavour != Flavour::Auto && !galera && self.good(&["database.flavour", "database.topology"]) {
            let what = format!(
                "flavour {} is one of topology galera, and this lab has topology {}",
                spec.database.flavour.name(),
                spec.database.topology.name()
            );
            self.problem("database.flavour", what, "leave it out, or set database.topology to galera");
        }
        let packages = spec.images == ImageSource::Packages;
        if galera && packages && spec.database.flavour == Flavour::Percona && self.good(&["database.flavour", "images"])
        {
            let what = "flavour percona exists only as a public image, and images are to be built from packages";
            self.problem("database.flavour", what.to_owned(), "set it to mariadb, or images to auto or registry");
        }
        let least = fewest_members(spec.database.topology);
        let enough_workers = workers >= least;
        if !enough_workers && self.good(&["cluster.workers", "database.topology"]) {
            let what = format!(
                "{workers} workers are too few for topology galera: the three members of etcd never share a node"
            );
            self.problem("cluster.workers", what, format!("allowed with topology galera: {least} to 9"));
        }
        if !self.good(&["database.members", "database.topology"]) {
            return;
        }
        if members < least && members != 1 {
            let what = format!(
                "{members} members are too few for topology galera: a cluster of two loses its majority with one of them"
            );
            self.problem("database.members", what, format!("allowed with topology galera: 1, or {least} to 9"));
        } else if members > workers && enough_workers && self.good(&["cluster.workers"]) {
            let what = format!(
                "{members} members need {members} workers, and there are {workers}: two members never share a node"
            );
            let cure = format!("set it to {workers}, or cluster.workers to {members}");
            self.problem("database.members", what, cure);
        }
    }

    fn section<'a>(&mut self, node: &'a Node, path: &'static str) -> Section<'a> {
        let sections = defaults::sections();
        let keys = sections.iter().find(|section| section.path == path).map_or(&[][..], |section| &section.keys);
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Empty => &[],
            other => {
                self.at(
                    path,
                    node.place,
                    format!("expected keys with values, found {}", shown(other)),
                    format!("allowed here: {}", keys.join(", ")),
                );
                &[]
            }
        };
        let section = Section { path, entries };
        for Entry { key, place, .. } in entries.iter().filter(|entry| !keys.contains(&entry.key)) {
            let elsewhere = sections.iter().filter(|section| section.keys.contains(key));
            let named = |path: &'static str| if path.is_empty() { "the top level" } else { path };
            let elsewhere: Vec<&str> = elsewhere.map(|section| named(section.path.as_str())).collect();
            let cure = match meant(key, keys.iter().map(String::as_str)) {
                Some(word) => format!("did you mean {word}? allowed here: {}", keys.join(", ")),
                None if !elsewhere.is_empty() => {
                    format!("it belongs under {}; allowed here: {}", elsewhere.join(" or "), keys.join(", "))
                }
                None => format!("allowed here: {}", keys.join(", ")),
            };
            self.at(&section.field(&quoted_key(key)), *place, "there is no such key", cure);
        }
        section
    }

    fn below<'a>(&mut self, parent: &Section<'a>, path: &'static str) -> Section<'a> {
        let key = path.rsplit('.').next().unwrap_or(path);
        match parent.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => self.section(&entry.node, path),
            None => Section { path, entries: &[] },
        }
    }

    /// A field's text, and whether it was written without quotes.
    fn scalar<'a>(&mut self, section: &Section<'a>, key: &str, allowed: &str) -> Option<(&'a str, bool)> {
        let entry = section.entries.iter().find(|entry| entry.key == key)?;
        let path = section.field(key);
        self.places.insert(path.clone(), entry.node.place);
        match &entry.node.value {
            Value::Text { text, plain } => Some((text, *plain)),
            Value::Empty => {
                self.at(
                    &path,
                    entry.node.place,
                    "there is no value",
                    format!("{allowed}; leave the line out to get the default"),
                );
                None
            }
            other => {
                self.at(&path, entry.node.place, format!("expected one value, found {}", shown(other)), allowed);
                None
            }
        }
    }

    fn word<T>(&mut self, section: &Section<'_>, key: &str, field: &mut T, read: impl Fn(&str) -> Result<T, String>) {
        let sentence = read("").err().unwrap_or_default();
        let allowed = sentence.rsplit_once(": ").map_or("write one value", |(_, allowed)| allowed);
        let Some((text, _)) = self.scalar(section, key, allowed) else { return };
        match read(text) {
            Ok(value) => *field = value,
            Err(sentence) => {
                // From the right, because the value itself may hold a colon.
                let halves = sentence.rsplit_once(": ").or_else(|| sentence.rsplit_once("; "));
                let (what, cure) = halves.unwrap_or((&sentence, allowed));
                self.problem(&section.field(key), what, cure);
            }
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, section: &Section<'_>, key: &str, range: RangeInclusive<u64>, field: &mut T) {
        let allowed = format!("allowed: a whole number from {} to {}", range.start(), range.end());
        let Some((text, plain)) = self.scalar(section, key, &allowed) else { return };
        let number = text.parse::<u64>().ok().filter(|number| plain && range.contains(number));
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => *field = number,
            None => {
                let digits =
                    !text.is_empty() && text.strip_prefix('-').unwrap_or(text).chars().all(|c| c.is_ascii_digit());
                let what = match (digits, plain) {
                    (true, true) => format!("{text} is out of range"),
                    (true, false) => format!("{} is text because of its quotes", quoted(text)),
                    (false, _) => format!("{} is not a whole number", quoted(text)),
                };
                self.problem(&section.field(key), what, allowed);
            }
        }
    }

    /// A quantity between two others, in bytes.
    fn quantity(&mut self, section: &Section<'_>, key: &str, (least, most): (&str, &str), field: &mut Quantity) {
        let allowed = format!("allowed: {least} to {most}, as a number and a unit such as 512Mi or 2Gi");
        self.measure(section, key, &allowed, (least, most), |unit| unit != "m", field);
    }

    fn resources(&mut self, parent: &Section<'_>, path: &'static str, least: &str, field: &mut Resources) {
        let section = self.below(parent, path);
        let allowed = "allowed: 10m to 16, as cores (1, 0.5) or thousandths (500m)";
        self.measure(&section, "cpu", allowed, ("10m", "16"), |unit| matches!(unit, "" | "m"), &mut field.cpu);
        self.quantity(&section, "memory", (least, "64Gi"), &mut field.memory);
    }

    fn measure(
        &mut self,
        section: &Section<'_>,
        key: &str,
        allowed: &str,
        (least, most): (&str, &str),
        unit: impl Fn(&str) -> bool,
        field: &mut Quantity,
    ) {
        let Some((text, _)) = self.scalar(section, key, allowed) else { return };
        let value = |text: &str| Quantity::new(text).map_or(f64::NAN, |quantity| quantity.value());
        let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        match Quantity::new(text) {
            Ok(good) if unit(suffix) && (value(least)..=value(most)).contains(&good.value()) => *field = good,
            Ok(_) if unit(suffix) => self.problem(&section.field(key), format!("{text} is out of range"), allowed),
            _ => self.problem(&section.field(key), format!("{} is not a quantity for {key}", quoted(text)), allowed),
        }
    }

    fn settings(&mut self, node: &Node, topology: Topology, into: &mut BTreeMap<String, String>) {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Empty => return,
            other => {
                let cure = "write options as in my.cnf, one per line: `max_connections: 100`";
                return self.at(
                    "database.settings",
                    node.place,
                    format!("expected options with values, found {}", shown(other)),
                    cure,
                );
            }
        };
        let mut seen = BTreeMap::new();
        for Entry { key, place, node } in entries {
            let path = format!("database.settings.{}", quoted_key(key));
            let name = match settings::name(key) {
                Ok(name) => name,
                Err(allowed) => {
                    self.at(&path, *place, format!("{} is not the name of an option", quoted(key)), allowed);
                    continue;
                }
            };
            if let Some(why) = settings::reserved(&name, topology) {
                self.at(&path, *place, format!("this option is set by the lab itself: {why}"), "leave it out");
                continue;
            }
            if let Some(first) = seen.insert(name.clone(), place.line) {
                self.at(
                    &path,
                    *place,
                    format!("the option {name} is given twice"),
                    format!("the first is in line {first}: remove one of them"),
                );
                continue;
            }
            let Value::Text { text, .. } = &node.value else {
                self.at(
                    &path,
                    node.place,
                    format!("expected one value, found {}", shown(&node.value)),
                    "write the value as in my.cnf, for example ON or 64M",
                );
                continue;
            };
            match settings::value(text) {
                Ok(()) => {
                    self.places.insert(format!("database.settings.{name}"), node.place);
                    into.insert(name, text.clone());
                }
                Err(allowed) => self.at(&path, node.place, format!("{} cannot be a value", quoted(text)), allowed),
            }
        }
    }

    fn good(&self, paths: &[&str]) -> bool {
        self.problems.iter().all(|problem| !paths.contains(&problem.path.as_str()))
    }

    /// A problem with a field that has been read; its place is known if the file has it.
    fn problem(&mut self, path: &str, what: impl Into<String>, cure: impl Into<String>) {
        let place = self.places.get(path).copied();
        self.problems.push(Problem { path: path.to_owned(), place, what: what.into(), cure: cure.into() });
    }

    fn at(&mut self, path: &str, place: Place, what: impl Into<String>, cure: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), place: Some(place), what: what.into(), cure: cure.into() });
    }
}

/// A key in a path: as written, unless that would tear the line.
pub(super) fn quoted_key(key: &str) -> String {
    let plain = key.chars().count() <= 60 && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if plain { key.to_owned() } else { quoted(key) }
}

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Empty => "nothing".to_owned(),
        Value::Text { text, .. } => quoted(text),
        Value::List => "a list".to_owned(),
        Value::Map(_) => "keys with values".to_owned(),
    }
}

fn title(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err(format!("{} cannot be a title: allowed are 1 to 100 characters on one line", quoted(text)));
    }
    Ok(text.to_owned())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{} is neither: use true or false", quoted(text))),
    }
}

/// A span of time such as `30s` or `5m`, in whole seconds, up to an hour.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let span = text.parse::<SignedDuration>().ok().filter(|span| span.subsec_nanos() == 0);
    let seconds = span.and_then(|span| u32::try_from(span.as_secs()).ok());
    seconds.filter(|seconds| *seconds <= 3600).ok_or_else(|| {
        format!("{} is not a span of time up to an hour: write a number and a unit, such as 30s or 5m", quoted(text))
    })
}

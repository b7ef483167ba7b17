//! The whole machine as /proc tells it: processor seconds, bytes written, memory; and when it has come to rest.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// Clock ticks per second in /proc; Linux has no other on the machines that this runs on.
const TICKS: f64 = 100.0;

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map_while(|word| word.parse().ok()).collect()
}

/// Processor seconds that all processors together were busy since boot: user, nice, system, interrupts and stolen time.
pub(crate) fn busy() -> f64 {
    busy_of(&read("/proc/stat"))
}

fn busy_of(stat: &str) -> f64 {
    let fields = numbers(stat.lines().next().unwrap_or_default().trim_start_matches("cpu "));
    [0, 1, 2, 5, 6, 7].iter().filter_map(|field| fields.get(*field)).sum::<f64>() / TICKS
}

/// MiB written to disks since boot, whoever wrote them; disks are block devices with a device behind them.
pub(crate) fn written() -> f64 {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten().map(|entry| entry.path());
    let sectors: f64 = disks
        .filter(|disk| disk.join("device").exists())
        .filter_map(|disk| numbers(&read(disk.join("stat"))).get(6).copied())
        .sum();
    sectors * 512.0 / f64::from(1 << 20)
}

/// MiB that programs could still have.
pub(crate) fn available() -> f64 {
    field(&read("/proc/meminfo"), "MemAvailable:") / 1024.0
}

/// The number after a name at the beginning of a line; 0 where there is none.
fn field(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    numbers(value).first().copied().unwrap_or_default()
}

/// One process: its name, its group, and the processor seconds that it has used.
struct Process {
    name: String,
    group: u32,
    used: f64,
}

/// `PID (NAME) STATE PARENT GROUP …`, where the name may contain anything.
fn process(stat: &str) -> Option<Process> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Process {
        name: name.to_owned(),
        group: fields.get(2)?.parse().ok()?,
        used: (ticks(11)? + ticks(12)?) / TICKS,
    })
}

fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, process(&read(format!("/proc/{id}/stat")))?))).collect()
}

/// Peak memory in MiB of the processes of a group that live now, each one's own peak added up.
pub(crate) fn peak_of_group(group: u32) -> f64 {
    let mine = processes().into_iter().filter(|(_, process)| process.group == group);
    mine.map(|(id, _)| field(&read(format!("/proc/{id}/status")), "VmHWM:") / 1024.0).sum()
}

/// Processor seconds that this process has used itself.
pub(crate) fn own() -> f64 {
    process(&read("/proc/self/stat")).map_or(0.0, |process| process.used)
}

/// Cores in use over `time`, by process name; `""` is what no process that lived all the time has used.
pub(crate) fn by_name(time: Duration) -> BTreeMap<String, f64> {
    let (before, since, begin) = (processes(), busy(), Instant::now());
    sleep(time);
    let (after, until, seconds) = (processes(), busy(), begin.elapsed().as_secs_f64());
    let mut cores: BTreeMap<String, f64> = BTreeMap::new();
    for (id, process) in after {
        let Some(earlier) = before.get(&id).filter(|earlier| earlier.name == process.name) else { continue };
        *cores.entry(process.name).or_default() += (process.used - earlier.used) / seconds;
    }
    let known: f64 = cores.values().sum();
    cores.insert(String::new(), ((until - since) / seconds - known).max(0.0));
    cores
}

/// A machine at rest, or as much at rest as it became.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Cores in use while nothing of ours runs.
    pub(crate) cores: f64,
    /// Whether it came to rest before patience ended.
    pub(crate) settled: bool,
}

/// Above this many cores in use the machine is not at rest.
const RESTING: f64 = 0.15;
/// What a lab that stands may use beside that.
pub(crate) const LAB: f64 = 0.45;
/// It is looked at for this long at a time, and must be at rest twice in a row.
const WINDOW: Duration = Duration::from_secs(2);
/// A machine that other work keeps busy is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the machine uses no more than at rest and what `stands` on it.
pub(crate) fn settle(stands: f64) -> Rest {
    let begin = Instant::now();
    let mut quiet = 0;
    loop {
        let since = busy();
        sleep(WINDOW);
        let cores = (busy() - since) / WINDOW.as_secs_f64();
        quiet = if cores < RESTING + stands { quiet + 1 } else { 0 };
        if quiet == 2 || begin.elapsed() > PATIENCE {
            return Rest { cores, settled: quiet == 2 };
        }
    }
}

#[test]
fn waiting_and_idling_is_not_busy_and_guests_are_not_counted_twice() {
    assert!((busy_of("cpu  100 200 300 9999 9999 10 20 30 700 800\ncpu0 1 2\n") - 6.6).abs() < 1e-9);
}

#[test]
fn a_process_may_be_called_anything() {
    let seen = process("12 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 5").expect("a process");
    assert_eq!((seen.name.as_str(), seen.group), ("a) b (c", 7));
    assert!((seen.used - 2.0).abs() < 1e-9, "{}", seen.used);
    assert!(process("gone").is_none());
}

#[test]
fn a_field_is_found_by_its_whole_name() {
    let text = "MemTotal: 10 kB\nMemAvailable:    2048 kB\n";
    assert!((field(text, "MemAvailable:") - 2048.0).abs() < 1e-9);
    assert!(field(text, "Mem:").abs() < 1e-9);
}

#[test]
fn what_a_process_uses_is_told_by_its_name() {
    let worker = std::thread::spawn(|| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(600) {
            std::hint::spin_loop();
        }
    });
    let cores = by_name(Duration::from_millis(400));
    worker.join().expect("it ends");
    let me = process(&read("/proc/self/stat")).expect("a process").name;
    assert!(cores[&me] > 0.0, "{me}: {cores:?}");
    assert!(cores.contains_key(""), "what is short-lived has its place");
}

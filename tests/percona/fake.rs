//! A stand-in for the `mysqld` of Percona XtraDB Cluster 8.4, which does what the manual says as far as a supervisor can see
//! it: options, files, exit codes, ports. It holds no data but a number, the transactions committed so far.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream, UnixListener},
    signal::unix::{SignalKind, signal},
    time::interval,
};

use crate::{options::Options, wire};

/// Where the pod's `/` is; as the supervisor is told.
pub(crate) const ROOT: &str = "WPLAB_ROOT";
/// How it was called, one argument per line.
pub(crate) const ARGS: &str = "FAKE_MYSQLD_ARGS";
/// In the pod's folder: every call, one line each.
pub(crate) const CALLS: &str = "calls";
/// In the pod's folder, while a test wants initialisations to fail.
pub(crate) const REFUSE: &str = "refuse-init";
/// What every new data directory says of its history.
const NO_HISTORY: &str = "00000000-0000-0000-0000-000000000000";
/// Between two transactions, and between two looks at whether the pod still lives.
const EVERY: Duration = Duration::from_millis(50);

/// Why the server ends with exit code 1.
pub(crate) type Refused = String;

/// What the running server would say.
#[derive(Clone, Debug)]
struct Seen {
    uuid: String,
    seqno: i64,
    /// The names of the members.
    members: Vec<String>,
    primary: bool,
}

/// What the donor of a member says, again and again.
type Donor = Lines<BufReader<TcpStream>>;

/// Runs to the end of the server.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Refused> {
    note_call(root, args)?;
    let options = Options::read(root, args)?;
    let datadir = options.path("datadir")?;
    if options.has("initialize_insecure") {
        return initialise(root, &options, &datadir);
    }
    if !datadir.join("mysql").is_dir() && options.get("wsrep_cluster_address") == Some("gcomm://") {
        return Err(format!("[ERROR] [MY-010326] {} is not a data directory", datadir.display()));
    }
    if options.has("wsrep_recover") {
        return recover(&options, &datadir);
    }
    // One thread: what it does is written down between two awaits, never by half.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(serve(&options, &datadir))
}

fn note_call(root: &Path, args: &[String]) -> Result<(), Refused> {
    let text = |error: std::io::Error| error.to_string();
    // What everybody on the machine can read of a process must hold no secret.
    let environment: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    fs::write(root.join("environment"), environment.join("\n")).map_err(text)?;
    let mut calls = fs::OpenOptions::new().append(true).create(true).open(root.join(CALLS)).map_err(text)?;
    calls.write_all(format!("{}\n", args.join(" ")).as_bytes()).map_err(text)
}

fn initialise(root: &Path, options: &Options, datadir: &Path) -> Result<(), Refused> {
    if root.join(REFUSE).exists() {
        return Err("[ERROR] [MY-012592] Operating system error number 28: no space left on device".to_owned());
    }
    if fs::read_dir(datadir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(
            "[ERROR] [MY-010457] --initialize specified but the data directory has files in it. Aborting.".into()
        );
    }
    let statements = fs::read_to_string(options.path("init_file")?).map_err(|error| error.to_string())?;
    fs::create_dir_all(datadir.join("mysql")).map_err(|error| error.to_string())?;
    write(&datadir.join("statements"), &statements);
    keep(datadir, NO_HISTORY, -1);
    Ok(())
}

/// The position is a note, and the server logs no notes unless it is told to.
fn recover(options: &Options, datadir: &Path) -> Result<(), Refused> {
    let (uuid, seqno) = kept(datadir);
    let verbose = options.get("log_error_verbosity").is_some_and(|level| level == "3");
    let note = format!("2026-11-21T08:04:46Z 0 [Note] [MY-000000] [WSREP] Recovered position: {uuid}:{seqno}\n");
    write(&options.path("log_error")?, if verbose { &note } else { "" });
    Ok(())
}

async fn serve(options: &Options, datadir: &Path) -> Result<(), Refused> {
    let text = |error: std::io::Error| error.to_string();
    let expected = options.in_files("datadir").unwrap_or_default();
    if options.rooted(expected) != datadir {
        return Err(format!("the option files say {expected}, the command line {}", datadir.display()));
    }
    let address = options.get("wsrep_node_address").unwrap_or_default();
    let cluster = options.get("wsrep_cluster_address").and_then(|address| address.strip_prefix("gcomm://"));
    let cluster = cluster.ok_or("[ERROR] [MY-000000] [WSREP] wsrep_cluster_address is not set")?;
    let mut stop = signal(SignalKind::terminate()).map_err(text)?;
    let pod = rustix::process::getppid();
    let galera = TcpListener::bind((address, 4567)).await.map_err(|error| format!("{address}:4567: {error}"))?;
    let (seen, mut donor) =
        if cluster.is_empty() { (begin(options, datadir)?, None) } else { join(options, datadir, cluster).await? };
    write_state(datadir, &seen.uuid, -1, false);
    write(&options.path("pid_file")?, &std::process::id().to_string());
    let seen = Arc::new(Mutex::new(seen));
    let socket = options.path("socket")?;
    let _ = fs::remove_file(&socket);
    let clients = UnixListener::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    let mut beat = interval(EVERY);
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            Ok((client, _)) = clients.accept() => {
                let seen = seen.clone();
                tokio::spawn(wire::serve(client, move || facts(&lock(&seen))));
            }
            Ok((member, _)) = galera.accept() => {
                tokio::spawn(give(member, seen.clone()));
            }
            told = hear(&mut donor) => match told {
                Some(told) => *lock(&seen) = told,
                None => {
                    donor = None;
                    lock(&seen).primary = false;
                }
            },
            _ = beat.tick() => {
                // A pod ends as a whole with its first process, and nobody gets to say goodbye.
                if rustix::process::getppid() != pod {
                    return Ok(());
                }
                let mut now = lock(&seen);
                if donor.is_none() && now.primary {
                    now.seqno += 1;
                }
                keep(datadir, &now.uuid, now.seqno);
            }
        }
    }
    let last = lock(&seen).clone();
    keep(datadir, &last.uuid, last.seqno);
    write_state(datadir, &last.uuid, last.seqno, last.members.len() == 1);
    let _ = fs::remove_file(socket);
    Ok(())
}

/// Starts a cluster, from the data that is there.
fn begin(options: &Options, datadir: &Path) -> Result<Seen, Refused> {
    if !options.has("wsrep_new_cluster") {
        return Err("gcomm:// without --wsrep-new-cluster: that is how second clusters come about".to_owned());
    }
    let start = options.get("wsrep_start_position").and_then(position);
    let state = fs::read_to_string(datadir.join("grastate.dat")).ok();
    if state.as_ref().is_some_and(|state| !state.contains("safe_to_bootstrap: 1")) {
        return Err(
            "[ERROR] [MY-000000] [Galera] It may not be safe to bootstrap the cluster from this node. It was not \
                    the last one to leave the cluster and may not contain all the updates. To force cluster bootstrap \
                    with this node, edit the grastate.dat file manually and set safe_to_bootstrap to 1 ."
                .to_owned(),
        );
    }
    let field = |name: &str| state.as_ref()?.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let saved = field("uuid:").zip(field("seqno:").and_then(|seqno| seqno.parse().ok()));
    let saved = saved.map(|(uuid, seqno)| (uuid.to_owned(), seqno));
    let new = || (format!("{:08x}-e582-11f1-a1dc-3a885dfb5510", rand::random::<u32>()), 0);
    let (uuid, seqno) = start.or(saved).unwrap_or_else(new);
    Ok(Seen { uuid, seqno, members: vec![name_of(options)], primary: true })
}

fn name_of(options: &Options) -> String {
    options.get("wsrep_node_name").unwrap_or_default().to_owned()
}

/// Comes into a cluster: with what it missed where its own data is of the same history, else with a whole copy.
async fn join(options: &Options, datadir: &Path, cluster: &str) -> Result<(Seen, Option<Donor>), Refused> {
    let mut found = None;
    for address in cluster.split(',') {
        if let Ok(stream) = TcpStream::connect((address, 4567)).await {
            found = Some(stream);
            break;
        }
    }
    let mut stream = found.ok_or("[ERROR] [MY-000000] [Galera] failed to open gcomm backend connection: 110")?;
    let hello = format!("join {}\n", name_of(options));
    stream.write_all(hello.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut donor = Some(BufReader::new(stream).lines());
    let seen = hear(&mut donor).await.ok_or("[ERROR] [MY-000000] [WSREP] the donor has gone")?;
    let own = options.get("wsrep_start_position").and_then(position);
    if own.is_none_or(|(uuid, _)| uuid != seen.uuid) {
        let mark = datadir.join("sst_in_progress");
        write(&mark, "");
        fs::create_dir_all(datadir.join("mysql")).map_err(|error| error.to_string())?;
        write(&datadir.join("copies"), "one whole copy\n");
        fs::remove_file(mark).map_err(|error| error.to_string())?;
    }
    keep(datadir, &seen.uuid, seen.seqno);
    Ok((seen, donor))
}

/// Serves a member that joins, as long as it is there. Others only knock.
async fn give(member: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut member = BufReader::new(member);
    let mut hello = String::new();
    let read = member.read_line(&mut hello).await;
    let Some(name) = read.ok().and_then(|_| hello.trim_end().strip_prefix("join ")) else { return };
    lock(&seen).members.push(name.to_owned());
    let mut tick = interval(EVERY);
    loop {
        tick.tick().await;
        let line = {
            let now = lock(&seen);
            format!("{} {} {}\n", now.uuid, now.seqno, now.members.join(","))
        };
        if member.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    lock(&seen).members.retain(|member| member != name);
}

/// What the donor says next; `None` when it has gone. Nothing ever comes where there is no donor.
async fn hear(donor: &mut Option<Donor>) -> Option<Seen> {
    let Some(lines) = donor else { return std::future::pending().await };
    let line = lines.next_line().await.ok()??;
    let mut words = line.split(' ');
    let (uuid, seqno) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let members = words.next()?.split(',').map(str::to_owned).collect();
    Some(Seen { uuid, seqno, members, primary: true })
}

/// The answers to what a supervisor asks.
fn facts(seen: &Seen) -> BTreeMap<&'static str, String> {
    let (component, state, ready) =
        if seen.primary { ("Primary", "Synced", "ON") } else { ("non-Primary", "Initialized", "OFF") };
    BTreeMap::from([
        ("wsrep_cluster_state_uuid", seen.uuid.clone()),
        ("wsrep_last_committed", seen.seqno.to_string()),
        ("wsrep_cluster_size", seen.members.len().to_string()),
        (wire::MEMBERS, seen.members.join(",")),
        ("wsrep_cluster_status", component.to_owned()),
        ("wsrep_local_state_comment", state.to_owned()),
        ("wsrep_ready", ready.to_owned()),
        ("wsrep_connected", "ON".to_owned()),
        ("@@global.wsrep_reject_queries", "NONE".to_owned()),
        ("@@max_allowed_packet", "67108864".to_owned()),
        ("@@wait_timeout", "28800".to_owned()),
        ("@@socket", "/var/run/mysqld/mysqld.sock".to_owned()),
    ])
}

/// Galera's own account of the data. While the server runs it does not know how far the data goes.
fn write_state(datadir: &Path, uuid: &str, seqno: i64, last: bool) {
    let safe = u8::from(last);
    let text =
        format!("# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: {safe}\n");
    write(&datadir.join("grastate.dat"), &text);
}

/// What InnoDB knows for sure, whenever the server is killed.
fn keep(datadir: &Path, uuid: &str, seqno: i64) {
    write(&datadir.join("ibdata1"), &format!("{uuid}:{seqno}"));
}

/// What [`keep`] wrote last.
pub(crate) fn kept(datadir: &Path) -> (String, i64) {
    let text = fs::read_to_string(datadir.join("ibdata1")).unwrap_or_default();
    position(&text).unwrap_or_else(|| (NO_HISTORY.to_owned(), -1))
}

fn position(text: &str) -> Option<(String, i64)> {
    let (uuid, seqno) = text.split_once(':')?;
    Some((uuid.to_owned(), seqno.parse().ok()?))
}

/// The old text or the new one, whenever it is killed. A disk that is full has no place in these tests.
fn write(path: &Path, text: &str) {
    let part = path.with_extension("part");
    fs::write(&part, text).and_then(|()| fs::rename(&part, path)).expect("a file can be written");
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().expect("nobody panics with it")
}

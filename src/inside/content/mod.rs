//! The copy of a site's code that a replica serves from (docs/front-door.md): themes, plugins and what else is code of the
//! shared `wp-content` are kept the same in a folder of the pod's own, so that a page costs no round trip to the file server
//! and needs none. What is no code (uploads above all) is a link into the shared folder, which leads nowhere while that does
//! not answer: whoever asks for it is told at once instead of hanging. Runs beside WordPress, as `wplab content`.

mod counts;
mod tree;

use std::{
    fs::{self, File},
    future::ready,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use hyper::{Method, Request, Response, StatusCode};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{interval, timeout},
};

use self::tree::{Links, Tree};
use super::{
    http::{self, Body},
    log, stop_signal, there,
};

/// Where the kubelet asks: `/ready` (the copy is whole) and `/live` (this process runs); and Prometheus: `/metrics`.
const HTTP_PORT: u16 = 8084;
/// How often the shared folder is looked at, and how often before the copy is whole for the first time.
const EVERY: Duration = Duration::from_secs(1);
const EVERY_AT_FIRST: Duration = Duration::from_millis(200);
/// How long a look may take before the shared folder counts as away.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often everything is compared, for changes of which WordPress does not know.
const COMPARED_EVERY: Duration = Duration::from_secs(30);
/// How soon once more after a change: the kernel's NFS client may list a folder as it was three seconds ago.
const COMPARED_AGAIN: Duration = Duration::from_secs(4);

/// In the shared folder: the installer's marks, and what WordPress touches when it has changed code.
const SEEDED: &str = ".wplab-seeded";
const INSTALLED: &str = ".wplab-installed";
const CHANGED: &str = ".wplab-changed";
/// In both: a backup takes the place of what is there, and visitors are to come back.
const RESTORING: &str = ".wplab-restoring";
/// In the copy: it was whole once; the shared folder does not answer.
const COMPLETE: &str = ".wplab-complete";
const AWAY: &str = ".wplab-away";

/// Keeps `local` the same as the code in `shared` until SIGTERM or SIGINT. In `counted` requests have counted themselves.
///
/// # Errors
/// The port is taken, or `local` cannot be read.
pub async fn main(shared: PathBuf, local: PathBuf, counted: PathBuf) -> Result<()> {
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let complete = Arc::new(AtomicBool::new(local.join(COMPLETE).exists()));
    let told = complete.clone();
    http::serve(HTTP_PORT, move |request| ready(answer(&told, &counted, &request))).await?;
    let mut keeper = Keeper::new(shared, local, complete)?;
    let (mut first, mut later) = (interval(EVERY_AT_FIRST), interval(EVERY));
    loop {
        let turn = if keeper.complete.load(Ordering::Relaxed) { &mut later } else { &mut first };
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = turn.tick() => keeper.turn().await,
        }
    }
}

fn answer<B>(complete: &AtomicBool, counted: &Path, request: &Request<B>) -> Response<Body> {
    let (code, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            return http::text(StatusCode::OK, "text/plain; version=0.0.4", counts::text(counted));
        }
        (&Method::GET, "/live") => (StatusCode::OK, "alive\n"),
        (&Method::GET, "/ready") if complete.load(Ordering::Relaxed) => (StatusCode::OK, "ready\n"),
        (&Method::GET, "/ready") => (StatusCode::SERVICE_UNAVAILABLE, "wp-content is not copied yet\n"),
        _ => (StatusCode::NOT_FOUND, "try /live, /ready or /metrics\n"),
    };
    http::text(code, "text/plain", text.to_owned())
}

/// What a look at the shared folder shows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    seeded: bool,
    installed: bool,
    changed: Option<SystemTime>,
    restoring: bool,
}

/// Asks the server itself: files are opened, because what is known of a name may be old.
fn look(shared: &Path) -> io::Result<Seen> {
    let modified = |name: &str| {
        let file = there(File::open(shared.join(name)))?;
        file.map(|file| file.metadata()?.modified()).transpose()
    };
    let changed = modified(CHANGED)?;
    let installed = modified(INSTALLED)?.is_some();
    let restoring = modified(RESTORING)?.is_some();
    Ok(Seen { seeded: installed || modified(SEEDED)?.is_some(), installed, changed, restoring })
}

/// A comparison at work: it has the copy's tree meanwhile, and gives it back with what became of it.
type Comparison = JoinHandle<(Tree, Result<usize>)>;

struct Keeper {
    shared: Arc<Path>,
    local: Arc<Path>,
    complete: Arc<AtomicBool>,
    links: Links,
    /// What is in the copy; none while a comparison has it.
    tree: Option<Tree>,
    /// A look that has not come back yet: on a dead hard mount it never does.
    looking: Option<JoinHandle<io::Result<Seen>>>,
    comparing: Option<(Comparison, Seen)>,
    /// What was seen before the last comparison that succeeded, and when that was.
    compared: Option<(Seen, Instant)>,
    /// Whether that was because something had changed.
    fresh: bool,
    away: bool,
    restoring: bool,
}

impl Keeper {
    fn new(shared: PathBuf, local: PathBuf, complete: Arc<AtomicBool>) -> Result<Keeper> {
        let tree = tree::of_copy(&local)?;
        let links = Links::of(&tree, &shared);
        let (away, restoring) = (local.join(AWAY).exists(), local.join(RESTORING).exists());
        let (shared, local) = (shared.into(), local.into());
        Ok(Keeper {
            shared,
            local,
            complete,
            links,
            tree: Some(tree),
            looking: None,
            comparing: None,
            compared: None,
            fresh: false,
            away,
            restoring,
        })
    }

    async fn turn(&mut self) {
        self.end_comparison().await;
        let shared = self.shared.clone();
        let looking = self.looking.get_or_insert_with(|| spawn_blocking(move || look(&shared)));
        let Ok(looked) = timeout(PATIENCE, looking).await else { return self.set_away(Some("it does not answer")) };
        self.looking = None;
        match looked.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(seen) => {
                self.set_away(None);
                self.set_restoring(seen.restoring);
                if self.due(&seen) {
                    self.begin_comparison(seen);
                }
            }
            Err(error) => self.set_away(Some(&error.to_string())),
        }
    }

    fn due(&self, seen: &Seen) -> bool {
        let every = if self.fresh { COMPARED_AGAIN } else { COMPARED_EVERY };
        let old = |(before, at): &(Seen, Instant)| before != seen || at.elapsed() >= every;
        // What is being moved about is compared when it has its place.
        seen.seeded && !seen.restoring && self.comparing.is_none() && self.compared.as_ref().is_none_or(old)
    }

    fn begin_comparison(&mut self, seen: Seen) {
        let Some(mut tree) = self.tree.take() else { return };
        let (shared, local, links) = (self.shared.clone(), self.local.clone(), self.links.clone());
        let work = move || {
            let done = tree::follow(&shared, &local, &mut tree, &links);
            (tree, done)
        };
        self.comparing = Some((spawn_blocking(work), seen));
    }

    async fn end_comparison(&mut self) {
        let Some((comparing, seen)) = self.comparing.take_if(|(comparing, _)| comparing.is_finished()) else { return };
        let Ok((tree, done)) = comparing.await else {
            // What it has done is on the disk.
            self.tree = tree::of_copy(&self.local).ok();
            return log("a comparison of wp-content broke off");
        };
        self.tree = Some(tree);
        match done {
            Ok(changes) => {
                if changes > 0 {
                    log(&format!("wp-content: {changes} changes taken over"));
                }
                self.fresh = self.compared.as_ref().is_none_or(|(before, _)| *before != seen);
                self.compared = Some((seen, Instant::now()));
                if seen.installed && !self.complete.load(Ordering::Relaxed) && self.mark(COMPLETE) {
                    self.complete.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => log(&format!("wp-content stays as it is: {error:#}")),
        }
    }

    /// Tells PHP and Apache, and turns the links away or back.
    fn set_away(&mut self, why: Option<&str>) {
        if why.is_some() == self.away {
            return;
        }
        let done = match why {
            Some(_) => self.mark(AWAY) && self.links.turn(&self.local, true).is_ok(),
            None => self.links.turn(&self.local, false).is_ok() && fs::remove_file(self.local.join(AWAY)).is_ok(),
        };
        if done {
            self.away = why.is_some();
            // What has changed meanwhile is looked for at once.
            self.compared = None;
            log(&why.map_or("the shared folder is back".to_owned(), |why| format!("the shared folder is away: {why}")));
        }
    }

    /// Tells Apache.
    fn set_restoring(&mut self, restoring: bool) {
        if restoring == self.restoring {
            return;
        }
        let done = if restoring { self.mark(RESTORING) } else { fs::remove_file(self.local.join(RESTORING)).is_ok() };
        if done {
            self.restoring = restoring;
            log(if restoring { "a backup is being restored" } else { "a backup was restored, or not" });
        }
    }

    fn mark(&self, name: &str) -> bool {
        let made = File::create(self.local.join(name));
        if let Err(error) = &made {
            log(&format!("cannot make {name}: {error}"));
        }
        made.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders {
        _both: tempfile::TempDir,
        shared: PathBuf,
        local: PathBuf,
    }

    /// A shared folder that was seeded and installed, and an empty copy.
    fn folders() -> Folders {
        let both = tempfile::tempdir().expect("a folder");
        let (shared, local) = (both.path().join("shared"), both.path().join("local"));
        for folder in [shared.join("themes/one"), shared.join("uploads"), local.clone()] {
            fs::create_dir_all(folder).expect("made");
        }
        for (file, text) in
            [("themes/one/style.css", "old"), ("uploads/a.jpg", "picture"), (SEEDED, ""), (INSTALLED, "")]
        {
            fs::write(shared.join(file), text).expect("written");
        }
        Folders { _both: both, shared, local }
    }

    impl Folders {
        fn keeper(&self) -> Keeper {
            Keeper::new(self.shared.clone(), self.local.clone(), Arc::default()).expect("a keeper")
        }

        fn read(&self, file: &str) -> Option<String> {
            fs::read_to_string(self.local.join(file)).ok()
        }
    }

    /// Turns until a comparison that begins now has ended.
    async fn settle(keeper: &mut Keeper) {
        keeper.turn().await;
        while keeper.comparing.is_some() {
            tokio::task::yield_now().await;
            keeper.end_comparison().await;
        }
    }

    #[tokio::test]
    async fn a_new_copy_is_whole_when_it_has_everything_and_the_site_is_installed() {
        let folders = folders();
        fs::remove_file(folders.shared.join(INSTALLED)).expect("removed");
        let mut keeper = folders.keeper();
        settle(&mut keeper).await;
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("old"), "copied beside the installation");
        assert!(!keeper.complete.load(Ordering::Relaxed));
        fs::write(folders.shared.join(INSTALLED), "").expect("written");
        settle(&mut keeper).await;
        assert!(keeper.complete.load(Ordering::Relaxed) && folders.local.join(COMPLETE).exists());
        assert_eq!(folders.read("uploads/a.jpg").as_deref(), Some("picture"), "through a link");
    }

    #[tokio::test]
    async fn what_wordpress_says_has_changed_is_taken_over_at_the_next_look_and_nothing_before() {
        let folders = folders();
        let mut keeper = folders.keeper();
        settle(&mut keeper).await;
        fs::write(folders.shared.join("themes/one/style.css"), "newer").expect("written");
        settle(&mut keeper).await;
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("old"), "nobody said so");
        fs::write(folders.shared.join(CHANGED), "").expect("written");
        settle(&mut keeper).await;
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("newer"));
    }

    #[tokio::test]
    async fn a_shared_folder_that_is_away_leaves_the_code_and_turns_the_links_away_until_it_is_back() {
        let folders = folders();
        let mut keeper = folders.keeper();
        settle(&mut keeper).await;
        let hidden = folders.shared.with_file_name("hidden");
        fs::rename(&folders.shared, &hidden).expect("renamed");
        // A file in its place: every look fails, as on a soft mount of a dead server.
        fs::write(&folders.shared, "").expect("written");
        settle(&mut keeper).await;
        assert!(folders.local.join(AWAY).exists());
        assert!(!folders.local.join("uploads").exists(), "the link leads nowhere");
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("old"));
        fs::remove_file(&folders.shared).expect("removed");
        fs::rename(&hidden, &folders.shared).expect("renamed");
        settle(&mut keeper).await;
        assert!(!folders.local.join(AWAY).exists());
        assert_eq!(folders.read("uploads/a.jpg").as_deref(), Some("picture"));
    }

    #[tokio::test]
    async fn visitors_are_sent_away_while_a_backup_is_restored_and_nothing_is_taken_over_half() {
        let folders = folders();
        let mut keeper = folders.keeper();
        settle(&mut keeper).await;
        fs::write(folders.shared.join(RESTORING), "{}").expect("written");
        fs::rename(folders.shared.join("themes"), folders.shared.join(".wplab-before")).expect("moved");
        fs::write(folders.shared.join(CHANGED), "").expect("written");
        settle(&mut keeper).await;
        assert!(folders.local.join(RESTORING).exists());
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("old"));
        fs::rename(folders.shared.join(".wplab-before"), folders.shared.join("themes")).expect("moved");
        fs::write(folders.shared.join("themes/one/style.css"), "restored").expect("written");
        fs::remove_file(folders.shared.join(RESTORING)).expect("removed");
        settle(&mut keeper).await;
        assert!(!folders.local.join(RESTORING).exists());
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("restored"));
    }

    #[tokio::test]
    async fn an_export_that_comes_back_empty_takes_nothing_away() {
        let folders = folders();
        let mut keeper = folders.keeper();
        settle(&mut keeper).await;
        fs::remove_dir_all(&folders.shared).expect("removed");
        fs::create_dir(&folders.shared).expect("made");
        keeper.compared = None;
        settle(&mut keeper).await;
        assert_eq!(folders.read("themes/one/style.css").as_deref(), Some("old"));
    }
}

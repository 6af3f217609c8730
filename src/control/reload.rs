//! Reload: certificates, trust bundles, CRLs, policy and schemas, whole or not at all. One exception: where policy or
//! schemas are bad, who we are and whom we believe changes all the same, as a revocation waits for nobody.
//!
//! ```text
//!   a directory changes ─┐
//!   SIGHUP              ─┼─> settle ─> read all ─> same as before? ─> load a snapshot ─> swap it in
//!   every 30 s          ─┘                                              └─> bad: keep the old one, and say so
//!
//!   every 500 ms        ───> is the glass broken? ─> the generation in force once more, dry
//! ```
//!
//! A ConfigMap changes by a swap of its `..data` link, which a watch on a file misses after the first time, so the
//! directories are watched and the contents compared. What triggers a reload is only a hint: the poll would find the
//! change as well.

use super::config::Config;
use super::files::policy_files;
use super::snapshot::Snapshot;
use crate::finding::Finding;
use crate::telemetry::{InForce, Input, Metrics};
use crate::wire::Programs;
use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// Builds the next generation when something has changed.
#[derive(Debug)]
pub struct Reloader {
    config: Arc<Config>,
    programs: Programs,
    current: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    /// What the generation in force was built from.
    taken: Contents,
    /// What was tried last, so that one bad change is told once.
    tried: Contents,
    /// Tells connections that whom we believe may have changed.
    trust_changed: watch::Sender<u64>,
}

/// Why a reload is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Something in a directory changed.
    Watch,
    /// The operator asks.
    Asked,
    /// The sidecar ends.
    End,
}

/// What came of looking.
#[derive(Debug)]
pub enum Outcome {
    /// The inputs are what they were.
    Unchanged,
    /// A new generation is in force, with warnings that the one before had not.
    Taken(u64, Vec<Finding>),
    /// A bad change was undone: the inputs are those of the generation in force.
    Restored,
    /// A new generation of certificates, trust bundles and revocation lists alone is in force: something else is bad.
    TakenInPart(u64, Vec<Finding>),
    /// The old generation stays.
    Refused(Vec<Finding>),
}

/// Inputs are read at least this often, whatever the watch says.
const POLL: Duration = Duration::from_secs(30);
/// The file that makes everything dry is looked for this often: its promise is two seconds.
const GLASS_POLL: Duration = Duration::from_millis(500);
/// Changes come in bursts: files of one update are waited for this long.
const SETTLE: Duration = Duration::from_millis(100);
/// No burst is waited for longer.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Inputs that change while they are read are read again, so often at most before the next trigger.
const READINGS_MAX: usize = 5;
/// Directories that are watched; the poll finds what lies beyond.
const WATCHES_MAX: usize = 1000;

/// A digest of each input's names and contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Contents {
    policy: [u8; 32],
    schemas: [u8; 32],
    identity: [u8; 32],
}

impl Reloader {
    /// Loads the first generation.
    ///
    /// # Errors
    /// Everything that is wrong with any input: a bad start is no start.
    pub fn start(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        trust_changed: watch::Sender<u64>,
    ) -> Result<Self, Vec<Finding>> {
        let programs = Programs::default();
        let taken = Contents::of(&config);
        let snapshot = Snapshot::load(&config, 1, &programs)?;
        let current = Arc::new(ArcSwap::from_pointee(snapshot));
        let reloader = Self { config, programs, current, metrics, taken, tried: taken, trust_changed };
        for input in [Input::Policy, Input::Schemas, Input::Identity] {
            reloader.metrics.reloaded(input, true, SystemTime::now());
        }
        reloader.metrics.inputs_in_force(true);
        reloader.in_force();
        Ok(reloader)
    }

    /// The generation in force; always the latest that was good.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        self.current.clone()
    }

    /// Looks at the inputs, and takes them if they have changed and are good. What was bad and has not changed is tried
    /// again only where somebody `asked`.
    pub fn look(&mut self, asked: bool) -> Outcome {
        let mut seen = Contents::of(&self.config);
        let since_tried = self.tried.differences(&seen);
        if since_tried.is_empty() && !(asked && seen != self.taken) {
            return Outcome::Unchanged;
        }
        if seen == self.taken {
            self.tried = seen;
            since_tried.iter().for_each(|input| self.metrics.reloaded(*input, true, SystemTime::now()));
            self.metrics.inputs_in_force(true);
            return Outcome::Restored;
        }
        let now = self.current.load_full();
        let generation = now.generation + 1;
        let mut readings = 1;
        let loaded = loop {
            let loaded = Snapshot::load(&self.config, generation, &self.programs);
            // Inputs that changed meanwhile may be of two minds: a new certificate, say, and its old key.
            let after = Contents::of(&self.config);
            if after == seen || readings == READINGS_MAX {
                break loaded;
            }
            (seen, readings) = (after, readings + 1);
        };
        let no_worse = |next: Snapshot| next.is_no_worse_than(&now, &self.config).map(|()| next);
        let loaded = loaded.and_then(no_worse);
        let changed = self.taken.differences(&seen);
        self.tried = seen;
        // Who is not believed any more must not live on because a policy is bad: promise before wholeness.
        let renewed = match &loaded {
            Err(_) if changed.contains(&Input::Identity) => now.with_new_identity(&self.config).and_then(no_worse).ok(),
            _ => None,
        };
        for input in &changed {
            let taken = loaded.is_ok() || renewed.is_some() && *input == Input::Identity;
            self.metrics.reloaded(*input, taken, SystemTime::now());
        }
        self.metrics.inputs_in_force(loaded.is_ok());
        if changed.contains(&Input::Identity) {
            self.metrics.certificate_refreshed(loaded.is_ok() || renewed.is_some());
        }
        match (loaded, renewed) {
            (Ok(next), _) => {
                self.taken = seen;
                let warnings = next.warnings.iter().filter(|warning| !now.warnings.contains(warning)).cloned();
                let warnings = warnings.collect();
                self.take(next, changed.contains(&Input::Identity));
                Outcome::Taken(generation, warnings)
            }
            (Err(findings), Some(next)) => {
                self.taken.identity = seen.identity;
                self.take(next, true);
                Outcome::TakenInPart(generation, findings)
            }
            (Err(findings), None) => Outcome::Refused(findings),
        }
    }

    /// Puts a generation in force.
    fn take(&self, next: Snapshot, new_identity: bool) {
        let generation = next.generation;
        self.current.store(Arc::new(next));
        self.in_force();
        if new_identity {
            self.trust_changed.send_replace(generation);
        }
    }

    /// Lets the whole process run dry, or no longer, as the bootstrap's file says. Asks nothing of any other input: when
    /// those are bad is when somebody breaks the glass.
    pub fn look_at_the_glass(&self) {
        let now = self.current.load();
        let dry = self.config.everything_dry();
        if dry == now.policy.everything_dry() {
            return;
        }
        let mut next = Snapshot::clone(&now);
        next.generation += 1;
        next.policy = next.policy.with_everything_dry(dry);
        let generation = next.generation;
        self.take(next, false);
        let file = self.config.break_glass.as_deref().unwrap_or(Path::new("")).display();
        if dry {
            tracing::warn!(%file, generation, "the glass is broken: nothing is refused by policy or contract any more");
        } else {
            tracing::warn!(%file, generation, "the glass is whole again: what policy and contract refuse is refused");
        }
    }

    fn in_force(&self) {
        let now = self.current.load();
        let routes = now.policy.routes();
        self.metrics.keep(&InForce {
            routes: routes.iter().map(|route| &*route.name).collect(),
            rules: routes.iter().flat_map(|route| route.rule_names()).map(|name| &**name).collect(),
            subjects: now.schemas.iter().map(|(_, published)| &*published.subject).collect(),
        });
        self.metrics.snapshot_generation.set(i64::try_from(now.generation).unwrap_or(i64::MAX));
        self.metrics.dry_run.set(i64::from(now.policy.everything_dry()));
        self.metrics.certificate_expires(now.svid.not_after);
    }

    /// Looks whenever something may have changed, until it is told to end.
    pub fn run(mut self, triggers: &Receiver<Trigger>, trigger: &Sender<Trigger>) {
        let mut watches = Watches::new(trigger.clone());
        let mut asked = false;
        loop {
            // Before the look: what changes behind it is told, be it in a directory that was not there before.
            watches.renew(&self.config);
            self.look_at_the_glass();
            let outcome = self.look(asked);
            tell(&outcome);
            match self.wait(triggers) {
                Some(by_somebody) => asked = by_somebody,
                None => return,
            }
        }
    }

    /// Waits until it is time to look. Says whether somebody asked; `None` if it is time to end.
    fn wait(&self, triggers: &Receiver<Trigger>) -> Option<bool> {
        let step = if self.config.break_glass.is_some() { GLASS_POLL } else { POLL };
        for _ in 0..POLL.as_millis() / step.as_millis() {
            match triggers.recv_timeout(step) {
                Ok(trigger) => return settle(trigger, triggers),
                Err(RecvTimeoutError::Timeout) => self.look_at_the_glass(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        Some(false)
    }
}

/// A channel for what triggers a reload.
#[must_use]
pub fn triggers() -> (Sender<Trigger>, Receiver<Trigger>) {
    channel()
}

/// Waits until nothing has changed for a moment. Says whether somebody asked; `None` if it is time to end.
fn settle(first: Trigger, triggers: &Receiver<Trigger>) -> Option<bool> {
    let end = Instant::now() + SETTLE_MAX;
    let (mut trigger, mut asked) = (first, false);
    loop {
        match trigger {
            Trigger::End => return None,
            Trigger::Asked => asked = true,
            Trigger::Watch => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        // What is queued is had without waiting: a flood of it would never end.
        if left.is_zero() {
            return Some(asked);
        }
        trigger = match triggers.recv_timeout(SETTLE.min(left)) {
            Ok(trigger) => trigger,
            Err(RecvTimeoutError::Timeout) => return Some(asked),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
    }
}

fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Unchanged => {}
        Outcome::Taken(generation, warnings) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(generation, "a new generation is in force");
        }
        Outcome::Restored => tracing::info!("a bad change was undone: the generation in force stays"),
        Outcome::TakenInPart(generation, findings) => {
            not_taken(findings);
            tracing::error!(
                generation,
                findings = findings.len(),
                "the inputs changed and are bad: only certificates, trust bundles and CRLs are new"
            );
        }
        Outcome::Refused(findings) => {
            not_taken(findings);
            tracing::error!(findings = findings.len(), "the inputs changed and are bad: the old generation stays");
        }
    }
}

fn not_taken(findings: &[Finding]) {
    for finding in findings {
        tracing::error!("not taken: {finding}");
    }
}

/// The watches on the directories that inputs lie in.
struct Watches {
    watcher: Option<notify::RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Watches {
    fn new(trigger: Sender<Trigger>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the inputs opens them, which is an event too, and no change.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = trigger.send(Trigger::Watch);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no watch on directories: changes are found by reading every 30 s");
        }
        Self { watcher: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Watches the directories there are now. One that was replaced is watched anew.
    fn renew(&mut self, config: &Config) {
        let Some(watcher) = &mut self.watcher else { return };
        let directories = directories(config);
        for gone in self.watched.difference(&directories) {
            let _ = watcher.unwatch(gone);
        }
        for directory in &directories {
            // Watching again is cheap, and needed where a directory was removed and made anew.
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, directory = %directory.display(), "not watched");
            }
        }
        self.watched = directories;
    }
}

/// The directories of all inputs, and for schemas those below.
fn directories(config: &Config) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for file in identity_files(config) {
        directories.extend(file.parent().map(Path::to_owned));
    }
    directories.insert(if config.policy.is_dir() {
        config.policy.clone()
    } else {
        config.policy.parent().map(Path::to_owned).unwrap_or_default()
    });
    let below = fs::read_dir(&config.schemas.directory).into_iter().flatten().flatten().map(|entry| entry.path());
    directories.extend(below.filter(|path| path.is_dir()).take(WATCHES_MAX));
    directories.insert(config.schemas.directory.clone());
    directories.extend(config.break_glass.as_deref().and_then(Path::parent).map(Path::to_owned));
    directories.into_iter().map(|path| if path.as_os_str().is_empty() { ".".into() } else { path }).collect()
}

fn identity_files(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let identity = &config.identity;
    [&identity.certificate, &identity.key].into_iter().chain(identity.trust_bundles.values()).chain(&identity.crls)
}

impl Contents {
    /// What cannot be read has a digest of its own, so that its coming back is a change.
    fn of(config: &Config) -> Self {
        let mut policy = Sha256::new();
        match policy_files(&config.policy) {
            Ok(files) => files.iter().for_each(|file| add(&mut policy, &file.name, file.text.as_bytes())),
            Err(findings) => {
                findings.iter().for_each(|finding| add(&mut policy, "unreadable", finding.to_string().as_bytes()))
            }
        }
        let mut schemas = Sha256::new();
        let mut files = BTreeSet::new();
        walk(&config.schemas.directory, 1, &mut files);
        files.iter().for_each(|file| add_file(&mut schemas, file));
        let mut identity = Sha256::new();
        identity_files(config).for_each(|file| add_file(&mut identity, file));
        Self {
            policy: policy.finalize().into(),
            schemas: schemas.finalize().into(),
            identity: identity.finalize().into(),
        }
    }

    fn differences(&self, other: &Self) -> Vec<Input> {
        [
            (Input::Policy, self.policy != other.policy),
            (Input::Schemas, self.schemas != other.schemas),
            (Input::Identity, self.identity != other.identity),
        ]
        .into_iter()
        .filter_map(|(input, differs)| differs.then_some(input))
        .collect()
    }
}

/// Names and contents, each behind its length: no two different sets of files look the same.
fn add(digest: &mut Sha256, name: &str, contents: &[u8]) {
    for part in [name.as_bytes(), contents] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
}

fn add_file(digest: &mut Sha256, file: &Path) {
    let name = file.display().to_string();
    // Too large a file is refused when it is loaded; its length is enough to see that it changed.
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => add(digest, &name, &metadata.len().to_le_bytes()),
        // A pipe or a device would keep the reader waiting for ever.
        Ok(metadata) if !metadata.is_file() => add(digest, &name, b"not a regular file"),
        Ok(_) => add(digest, &name, &fs::read(file).unwrap_or_default()),
        Err(error) => add(digest, &name, error.kind().to_string().as_bytes()),
    }
}

const FILE_BYTES_MAX: u64 = 4 << 20;

/// The files of a directory and of those directly below, but for names that begin with `..`.
fn walk(directory: &Path, deeper: usize, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().take(crate::registry::FILES_MAX) {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        if path.is_dir() && deeper > 0 {
            walk(&path, deeper - 1, files);
        } else {
            files.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_waited_for_however_many_events_it_has() {
        let (trigger, triggers) = triggers();
        let burst = |last| [Trigger::Watch; 1_000].into_iter().chain([last]).for_each(|one| trigger.send(one).unwrap());
        burst(Trigger::Asked);
        assert_eq!(settle(Trigger::Watch, &triggers), Some(true));
        burst(Trigger::End);
        assert_eq!(settle(Trigger::Watch, &triggers), None);
    }
}

//! `process_*`: what the system knows of this process, read from `/proc/self` when somebody asks.

use prometheus::{Counter, IntGauge, Registry};
use std::fs;

/// The gauges that client libraries share, under their usual names.
#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds: Counter,
    open_fds: IntGauge,
    max_fds: IntGauge,
    virtual_memory: IntGauge,
    resident_memory: IntGauge,
    threads: IntGauge,
    start_time: IntGauge,
}

/// Linux shows times in hundredths of a second to every process, whatever its own clock's rate (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name, help| super::metrics::gauge(registry, name, help);
        Self {
            cpu_seconds: super::metrics::float_counter(
                registry,
                "process_cpu_seconds_total",
                "Processor time that this process has used, in seconds.",
            ),
            open_fds: gauge("process_open_fds", "File descriptors that are open."),
            max_fds: gauge("process_max_fds", "File descriptors that may be open."),
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory, in bytes."),
            resident_memory: gauge("process_resident_memory_bytes", "Resident memory, in bytes."),
            threads: gauge("process_threads", "Threads of the operating system."),
            start_time: gauge("process_start_time_seconds", "When this process began, in seconds since 1970."),
        }
    }

    /// Reads anew. What cannot be read keeps its value: metrics never fail a scrape.
    pub(super) fn refresh(&self) {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is open too.
            set(&self.open_fds, u64::try_from(open.count()).ok().map(|count| count.saturating_sub(1)));
        }
        let status = text("/proc/self/status");
        set(&self.virtual_memory, field(&status, "VmSize:").map(|kib| kib * 1024));
        set(&self.resident_memory, field(&status, "VmRSS:").map(|kib| kib * 1024));
        set(&self.threads, field(&status, "Threads:"));
        set(&self.max_fds, field(&text("/proc/self/limits"), "Max open files"));
        let stat = text("/proc/self/stat");
        if let Some(seconds) = cpu_seconds(&stat) {
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        let boot = field(&text("/proc/stat"), "btime");
        set(&self.start_time, boot.zip(ticks(&stat, START_TIME)).map(|(boot, ticks)| boot + ticks / 100));
    }
}

fn set(gauge: &IntGauge, value: Option<u64>) {
    if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
        gauge.set(value);
    }
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Fields of `/proc/self/stat` (proc_pid_stat(5)), counted from the one behind the command's name, which may itself
/// hold spaces and parentheses.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const START_TIME: usize = 19;

fn ticks(stat: &str, at: usize) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(at)?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "a process that runs 2^53 hundredths of a second may be off by one")]
fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((ticks(stat, USER_TIME)? + ticks(stat, SYSTEM_TIME)?) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 123400 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(ticks(stat, START_TIME), Some(123_400));
        assert_eq!(cpu_seconds("7 (cut"), None);
        assert_eq!(field("VmSize:\t  2048 kB\nVmRSS:\t 1024 kB\n", "VmRSS:"), Some(1024));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024    4096    files\n";
        assert_eq!(field(limits, "Max open files"), Some(1024));
        assert_eq!(field("Max open files  unlimited", "Max open files"), None);
    }

    #[test]
    fn knows_this_process() {
        let process = Process::new(&Registry::new());
        process.refresh();
        assert!(process.resident_memory.get() > 1 << 20);
        assert!(process.open_fds.get() > 0 && process.threads.get() > 0);
        assert!(process.start_time.get() > 1_600_000_000);
    }
}

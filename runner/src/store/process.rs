//! Which process this is, and whether another one still lives.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What tells a process from all others that can reach the store.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Name of the machine.
    pub(crate) host: String,
    /// Changes whenever the machine starts; `None` where the system does not say.
    pub(crate) boot_id: Option<String>,
    /// Numbers of processes mean nothing outside their namespace (a container has its own).
    pub(crate) pid_namespace: Option<String>,
    /// Number of the process.
    pub(crate) pid: u32,
    /// Clock ticks from the machine's start to the process's; numbers are used again.
    pub(crate) started: Option<u64>,
}

/// This process.
pub(crate) fn this_process() -> &'static Identity {
    static THIS: OnceLock<Identity> = OnceLock::new();
    THIS.get_or_init(|| {
        let pid = std::process::id();
        Identity {
            host: host_name(),
            boot_id: boot_id(),
            pid_namespace: fs::read_link("/proc/self/ns/pid").ok().map(|link| link.to_string_lossy().into_owned()),
            pid,
            started: stat(pid).map(|stat| stat.started),
        }
    })
}

/// Name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A name of this machine's latest start, where the system tells one.
pub(crate) fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Whether the process of that number, in our namespace, is the one that started then. When the
/// system does not say, it is taken to live.
pub(crate) fn is_alive(pid: u32, started: Option<u64>) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    if test_kill_process(raw) == Err(Errno::SRCH) {
        return false;
    }
    match stat(pid) {
        // A zombie has ended and only waits for its parent to notice.
        Some(stat) => !stat.ended && started.is_none_or(|then| then == stat.started),
        None => true,
    }
}

/// What `/proc/<pid>/stat` says.
struct Stat {
    ended: bool,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, brackets included.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    // Fields 3 (state) and 22 (start time) of proc_pid_stat(5).
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { ended: matches!(state, "Z" | "X" | "x"), started })
}

/// A name that no other attempt has, on any machine; later ones sort after earlier ones
/// (the layout of a version 7 UUID: 48 bits of milliseconds, then chance).
pub(crate) fn attempt_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let process = this_process();
    let mut chance = blake3::Hasher::new();
    // The standard library seeds each hasher state from the system's source of randomness.
    chance.update(&RandomState::new().build_hasher().finish().to_le_bytes());
    chance.update(&COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    chance.update(&now.as_nanos().to_le_bytes());
    chance.update(process.host.as_bytes());
    chance.update(&process.pid.to_le_bytes());

    let mut id = [0_u8; 16];
    id[..6].copy_from_slice(&(now.as_millis() as u64).to_be_bytes()[2..]);
    id[6..].copy_from_slice(&chance.finalize().as_bytes()[..10]);
    id[6] = 0x70 | (id[6] & 0x0f); // Version 7.
    id[8] = 0x80 | (id[8] & 0x3f); // The variant of RFC 9562.
    let hex = format!("{:032x}", u128::from_be_bytes(id));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

//! Takes away every file that a process does not need (Landlock, since Linux 5.13).
//!
//! What enters: directories to read, directories to write. What leaves: what could not be done.
//! What can never happen: a file elsewhere is opened afterwards, whoever owns it.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, path_beneath_rules,
};

use super::Shortfall;

/// The newest rights that are asked for; an older kernel gives those that it knows.
const RIGHTS: ABI = ABI::V5;

/// Where the C library looks for names, and rustls for the system's CAs. Nothing of a person's.
const SYSTEM: &[&str] = &[
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/dev/null",
    "/dev/urandom",
    // Its own figures: memory, limits, threads.
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

/// Restricts the calling thread, and all that it makes from now on. Call it before there are
/// others. Directories that are not there are left out.
pub fn only(read: &[PathBuf], write: &[PathBuf]) -> Option<Shortfall> {
    match restrict(read, write) {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            Some("this kernel has no Landlock: the process can open every file that its user can")
        }
        Ok(_) => None,
        Err(_) => {
            Some("Landlock could not be used: the process can open every file that its user can")
        }
    }
}

fn restrict(read: &[PathBuf], write: &[PathBuf]) -> Result<RestrictionStatus, RulesetError> {
    let system = SYSTEM.iter().map(Path::new);
    let readable = read.iter().map(PathBuf::as_path).chain(system);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(RIGHTS)))?
        .add_rules(path_beneath_rules(write, AccessFs::from_all(RIGHTS)))?
        .restrict_self()
}

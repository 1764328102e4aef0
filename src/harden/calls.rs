//! Takes away the system calls that a keeper of keys never makes (seccomp, since Linux 3.5).
//!
//! What leaves: what could not be done. What can never happen: the calling thread, or one that it
//! makes later, starts a program, looks into another process, or changes the machine.
//!
//! A list of what is forbidden, not of what is allowed: the C library and the kernel add calls
//! that do the same as old ones. Every call goes through the filter, which the gateway would pay
//! for in each request: there it is left to the service manager (`SystemCallFilter=` in
//! `packaging/systemd`).

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::Shortfall;

/// By what they would be good for to an intruder.
const FORBIDDEN: &[i64] = &[
    // another program
    libc::SYS_execve,
    libc::SYS_execveat,
    // other processes' memory
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // other views of the machine
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    // the kernel
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    // keys that are not its own
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // ways around a filter
    libc::SYS_io_uring_setup,
    libc::SYS_personality,
];

/// Forbids them to the calling thread and all that it makes. Call it before there are others.
pub fn fewer() -> Option<Shortfall> {
    let done = filter().is_some_and(|filter| apply_filter(&filter).is_ok());
    (!done)
        .then_some("system calls are not filtered: this kernel or processor has no seccomp filter")
}

fn filter() -> Option<BpfProgram> {
    let rules: BTreeMap<i64, Vec<_>> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(u32::try_from(libc::EPERM).ok()?);
    let target = std::env::consts::ARCH.try_into().ok()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, target)
        .ok()?
        .try_into()
        .ok()
}

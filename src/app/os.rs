//! What the standard library does not know of this process.
//!
//! The one place with `unsafe`: two calls of the C library, each with plain values of its own.

/// Whether SIGHUP was ignored when this process began, as under `nohup`.
pub fn ignores_hangup() -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the old one is written to a place of its type.
    let read = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it was zeroed, which is a valid value, or written by the call.
    read == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// How many files and connections this process may have open. The soft limit is raised to the hard
/// one first, as for any program that does not use `select`.
pub fn open_file_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is written to a place of its type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the limit is read from a place of its type.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
        limit.rlim_cur = raised.rlim_cur;
    }
    Some(limit.rlim_cur)
}

/// How many files this process has open now; a guess where the system does not list them.
pub fn open_files() -> u64 {
    const GUESS: u64 = 32;
    std::fs::read_dir("/proc/self/fd").map_or(GUESS, |files| files.count() as u64)
}

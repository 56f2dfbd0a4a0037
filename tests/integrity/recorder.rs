//! SQLite's file access, watched: a VFS over the operating system's own that notes each write,
//! truncation, sync and deletion of the store's files, and can end a process's access at any of them.
//!
//! It is SQLite's default in this test binary, so the program needs no way in for tests.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use rusqlite::ffi;

/// One of the files that make up a store. The shared memory beside them does not outlive a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Database,
    Journal,
    Log,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Database, Self::Journal, Self::Log];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Database => "",
            Self::Journal => "-journal",
            Self::Log => "-wal",
        }
    }
}

/// What SQLite did to a store's files.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Create(Part),
    Write {
        part: Part,
        offset: usize,
        bytes: Box<[u8]>,
    },
    Truncate(Part, usize),
    /// The content of this file is safe from now on.
    Sync(Part),
    /// The names of all files are safe from now on.
    SyncFolder,
    Delete(Part),
    /// What the log holds is shown to readers from now on.
    Visible,
}

/// One store that is watched, until this is dropped.
pub(crate) struct Recording(Arc<Watch>);

impl Recording {
    /// Watches the store at `path` from now on.
    pub(crate) fn of(path: &Path) -> Self {
        register();
        let watch = Watch { store: path.to_owned(), state: Mutex::default() };
        let watch = Arc::new(watch);
        lock(&WATCHES).push(Arc::clone(&watch));
        Self(watch)
    }

    /// How many events there are so far.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0.state).events.len()
    }

    /// Ends the process's access after so many further operations that change a file, as if it was
    /// killed then.
    pub(crate) fn kill_after(&self, operations: u64) {
        lock(&self.0.state).left = Some(operations + 1);
    }

    /// Whether it was killed, which is over now: another process begins.
    pub(crate) fn was_killed(&self) -> bool {
        lock(&self.0.state).left.take() == Some(0)
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        lock(&self.0.state).events.clone()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        lock(&WATCHES).retain(|watch| !Arc::ptr_eq(watch, &self.0));
    }
}

struct Watch {
    store: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// The files whose name may not be safe yet.
    unsafe_names: Vec<Part>,
    /// The operations that are left to a process that is going to be killed.
    left: Option<u64>,
}

static WATCHES: Mutex<Vec<Arc<Watch>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store that a file of this name belongs to, if it is watched.
fn watched(name: &CStr) -> Option<(Arc<Watch>, Part)> {
    let name = name.to_bytes();
    let watches = lock(&WATCHES);
    watches.iter().find_map(|watch| {
        let rest = name.strip_prefix(watch.store.as_os_str().as_bytes())?;
        let part = Part::ALL.into_iter().find(|part| part.suffix().as_bytes() == rest)?;
        Some((Arc::clone(watch), part))
    })
}

impl Watch {
    /// Whether the process may still change files.
    fn is_alive(&self) -> bool {
        match &mut lock(&self.state).left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                *left > 0
            }
        }
    }

    fn note(&self, event: Event) {
        lock(&self.state).events.push(event);
    }

    fn opened(&self, part: Part, is_new: bool) {
        let mut state = lock(&self.state);
        if is_new {
            state.unsafe_names.push(part);
            state.events.push(Event::Create(part));
        }
    }

    /// SQLite syncs the folder with the first sync of a log or a journal that it made.
    fn synced(&self, part: Part) {
        let mut state = lock(&self.state);
        state.events.push(Event::Sync(part));
        if part != Part::Database && state.unsafe_names.contains(&part) {
            state.unsafe_names.clear();
            state.events.push(Event::SyncFolder);
        }
    }

    fn deleted(&self, part: Part, folder_synced: bool) {
        let mut state = lock(&self.state);
        state.events.push(Event::Delete(part));
        if folder_synced {
            state.unsafe_names.clear();
            state.events.push(Event::SyncFolder);
        }
    }
}

/// An open file: what is noted about it, and behind it in memory the operating system's own.
#[repr(C)]
struct Watched {
    base: ffi::sqlite3_file,
    watch: Option<(Arc<Watch>, Part)>,
    /// Whether this connection is the one that writes.
    writes: bool,
}

impl Watched {
    /// # Safety
    /// `file` was opened by [`open`].
    unsafe fn of<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Self {
        unsafe { &mut *file.cast::<Self>() }
    }

    /// # Safety
    /// As for [`Self::of`].
    unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
        unsafe { file.cast::<u8>().add(size_of::<Self>()).cast() }
    }
}

/// Whether what this connection wants to do to a file comes too late.
///
/// # Safety
/// As for [`Watched::of`].
unsafe fn is_killed(file: *mut ffi::sqlite3_file) -> bool {
    unsafe { Watched::of(file) }.watch.as_ref().is_some_and(|(watch, _)| !watch.is_alive())
}

/// Calls a method of the operating system's own file.
macro_rules! real {
    ($file:ident, $method:ident $(, $argument:expr)*) => {
        unsafe {
            let real = Watched::real($file);
            (*(*real).pMethods).$method.expect("a method")(real $(, $argument)*)
        }
    };
}

struct Vfs {
    ours: ffi::sqlite3_vfs,
    real: *mut ffi::sqlite3_vfs,
}

// SAFETY: SQLite's own VFS may be used from all threads, and nothing here changes after it is made.
unsafe impl Send for Vfs {}
unsafe impl Sync for Vfs {}

static VFS: OnceLock<Vfs> = OnceLock::new();

/// Makes this VFS SQLite's default, once.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default VFS lives for ever, and so does ours in its static.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            let mut ours = *real;
            ours.szOsFile += size_of::<Watched>() as c_int;
            ours.zName = c"watched".as_ptr();
            ours.pNext = std::ptr::null_mut();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            let vfs = VFS.get_or_init(|| Vfs { ours, real });
            let ours = std::ptr::from_ref(&vfs.ours).cast_mut();
            assert_eq!(ffi::sqlite3_vfs_register(ours, 1), ffi::SQLITE_OK);
        }
    });
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    VFS.get().expect("a VFS that is registered").real
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    unsafe {
        let watch = (!name.is_null()).then(|| watched(CStr::from_ptr(name))).flatten();
        let size = (!name.is_null()).then(|| size_of_file(CStr::from_ptr(name))).flatten();
        let vfs = real_vfs();
        let result = (*vfs).xOpen.expect("xOpen")(vfs, name, Watched::real(file), flags, out_flags);
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        if result != ffi::SQLITE_OK {
            (*file).pMethods = std::ptr::null();
            return result;
        }
        if let Some((watch, part)) = &watch {
            // The program itself makes the database file, so as to choose its mode.
            let is_first = *part == Part::Database && lock(&watch.state).events.is_empty();
            watch.opened(*part, size.is_none() || (is_first && size == Some(0)));
        }
        file.cast::<Watched>().write(Watched { base, watch, writes: false });
        result
    }
}

fn size_of_file(name: &CStr) -> Option<u64> {
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    path.metadata().ok().map(|metadata| metadata.len())
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    unsafe {
        let watch = watched(CStr::from_ptr(name));
        if watch.as_ref().is_some_and(|(watch, _)| !watch.is_alive()) {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let vfs = real_vfs();
        let result = (*vfs).xDelete.expect("xDelete")(vfs, name, sync_folder);
        if let (ffi::SQLITE_OK, Some((watch, part))) = (result, watch) {
            watch.deleted(part, sync_folder != 0);
        }
        result
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Not 3: without memory maps, each write comes by here.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(file_lock),
    xUnlock: Some(file_unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let result = real!(file, xClose);
    unsafe {
        Watched::of(file).watch = None;
        (*file).pMethods = std::ptr::null();
    }
    result
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    if unsafe { is_killed(file) } {
        return ffi::SQLITE_IOERR_WRITE;
    }
    let result = real!(file, xWrite, bytes, count, offset);
    if let (ffi::SQLITE_OK, Some((watch, part))) = (result, unsafe { &Watched::of(file).watch }) {
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count as usize) };
        let offset = usize::try_from(offset).expect("an offset");
        watch.note(Event::Write { part: *part, offset, bytes: bytes.into() });
    }
    result
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    if unsafe { is_killed(file) } {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    let result = real!(file, xTruncate, size);
    if let (ffi::SQLITE_OK, Some((watch, part))) = (result, unsafe { &Watched::of(file).watch }) {
        watch.note(Event::Truncate(*part, usize::try_from(size).expect("a size")));
    }
    result
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    if unsafe { is_killed(file) } {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    let result = real!(file, xSync, flags);
    if let (ffi::SQLITE_OK, Some((watch, part))) = (result, unsafe { &Watched::of(file).watch }) {
        watch.synced(*part);
    }
    result
}

/// The lock that the one writer of a log holds.
const WRITE_LOCK: c_int = 0;

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let result = real!(file, xShmLock, offset, count, flags);
    if result == ffi::SQLITE_OK && offset == WRITE_LOCK {
        unsafe { Watched::of(file).writes = flags & ffi::SQLITE_SHM_LOCK != 0 };
    }
    result
}

/// SQLite's writer shows a commit to readers between two barriers of memory.
unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    let watched = unsafe { Watched::of(file) };
    if let (true, Some((watch, _))) = (watched.writes, &watched.watch) {
        watch.note(Event::Visible);
    }
    real!(file, xShmBarrier);
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    real!(file, xRead, into, count, offset)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    real!(file, xFileSize, size)
}

unsafe extern "C" fn file_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    real!(file, xLock, level)
}

unsafe extern "C" fn file_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    real!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, held: *mut c_int) -> c_int {
    real!(file, xCheckReservedLock, held)
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    real!(file, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    real!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    real!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    real!(file, xShmMap, page, size, extend, memory)
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    real!(file, xShmUnmap, delete)
}

//! The thread pools of all operators, and keeping candle's own out of the way.

/// Name of candle's setting, read when its pool is first used.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Makes candle's element-wise operations run on the calling thread, unless the user has set
/// `CANDLE_NUM_THREADS`.
///
/// All heavy work is in our own operators, which use the global rayon pool. candle's second pool
/// spins while it waits: on two cores it took a third of a training step away from the threads that
/// had something to do.
///
/// Call first in `main`.
///
/// # Panics
/// If the process already has several threads: our bug.
pub fn quiet_candle() {
    if std::env::var_os(CANDLE_THREADS).is_some() {
        return;
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    assert_eq!(threads, 1, "the environment can only be changed before threads start");
    // SAFETY: changing the environment is unsound only while another thread reads it; the assertion
    // above has found no other thread (where `/proc` exists), and the contract is to call this first.
    #[expect(unsafe_code, reason = "candle takes the setting from the environment only")]
    unsafe {
        std::env::set_var(CANDLE_THREADS, "1");
    }
}

/// Makes the calling thread one of the `count` threads that operators run on (0: one per core), so that
/// the thread that trains works instead of waiting to be woken after every operator.
///
/// Does nothing if the pool is there already. Results never depend on the number of threads.
pub fn use_threads(count: usize) {
    let _ = rayon::ThreadPoolBuilder::new().num_threads(count).use_current_thread().build_global();
}

/// Gives the calling thread `count` threads of its own for the operators that it calls, itself among them: for work
/// beside that of the thread that [`use_threads`] was called on.
///
/// # Errors
/// If threads cannot be started, or the calling thread has a pool already.
pub fn use_own_threads(count: usize) -> Result<(), rayon::ThreadPoolBuildError> {
    // A pool ends when its value is dropped, and the calling thread's own would wait for itself.
    rayon::ThreadPoolBuilder::new().num_threads(count).use_current_thread().build().map(std::mem::forget)
}

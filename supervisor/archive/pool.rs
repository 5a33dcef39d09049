//! Threads that decompress independent parts of a stream.
//!
//! Owns the threads and the queue between them. They are started before a confined process gives up its permissions,
//! and afterwards need only futex(2), read and write. They end with the process.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::buffer::Fault;
use crate::sys::memory;

/// Maximum number of threads: each holds one part in memory, compressed and decompressed.
const MAX_THREADS: usize = 4;
/// Size of a thread's stack, in bytes.
const STACK: usize = 1 << 20;

/// The plain bytes of one part.
pub type Part = Result<Vec<u8>, Fault>;

/// A part to decompress.
#[derive(Debug)]
pub struct Packed {
    /// The compressed bytes.
    pub bytes: Vec<u8>,
    /// Length of the result, in bytes.
    pub length: usize,
    /// The expected CRC-64 of the result, if the format's own decompressor does not verify one.
    pub sum: Option<[u8; 8]>,
}

/// Decompresses a part.
pub type Work = fn(Packed) -> Part;

/// The threads.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    /// Their number.
    pub threads: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of threads that have begun.
    begun: usize,
    /// The number of the last part.
    last: u64,
    /// The parts that no thread has taken, with their numbers.
    waiting: VecDeque<(u64, Packed)>,
    done: BTreeMap<u64, Part>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `take` returns something.
    fn wait_for<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            if let Some(taken) = take(&mut state) {
                return taken;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn work(&self, work: Work) -> ! {
        self.change(|state| state.begun += 1);
        loop {
            let (number, packed) = self.wait_for(|state| state.waiting.pop_front());
            let part = work(packed);
            self.change(|state| drop(state.done.insert(number, part)));
        }
    }
}

impl Pool {
    /// One thread for each processor, up to a limit; `None` with one processor, or if no second thread can be started.
    #[must_use]
    pub fn start(work: Work) -> Option<Self> {
        let wanted = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        if wanted < 2 {
            return None;
        }
        memory::share_heap();
        let shared = Arc::<Shared>::default();
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().stack_size(STACK).spawn(move || shared.work(work)).ok()
        };
        let threads = (0..wanted).map_while(spawn).count();
        // At first, a new thread makes system calls that a confined process may not make.
        shared.wait_for(|state| (state.begun == threads).then_some(()));
        (threads > 1).then_some(Self { shared, threads })
    }

    /// Queues a part; returns its number.
    pub fn put(&self, packed: Packed) -> u64 {
        self.shared.change(|state| {
            state.last += 1;
            state.waiting.push_back((state.last, packed));
            state.last
        })
    }

    /// Returns a part if it is done.
    #[must_use]
    pub fn take(&self, number: u64) -> Option<Part> {
        self.shared.lock().done.remove(&number)
    }

    /// Waits for a part.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn wait(&self, number: u64) -> Part {
        self.shared.wait_for(|state| state.done.remove(&number))
    }
}

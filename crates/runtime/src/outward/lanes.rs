//! Threads that pass things on. Each has connections of its own, to their end: one that went from thread to thread would wake the other
//! for each request, and wait for it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinError;

pub(super) struct Lanes {
    first: Lane,
    others: Vec<Lane>,
}

struct Lane {
    handle: Handle,
    /// Connections that it has.
    open: AtomicUsize,
    /// Dropped, the thread ends.
    until: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lanes {
    pub(super) fn new(count: usize) -> io::Result<Self> {
        let others = (1..count).map(|_| Lane::new()).collect::<Result<_, _>>()?;
        Ok(Self { first: Lane::new()?, others })
    }

    /// Serves a connection on the thread that has the fewest, while this one waits.
    pub(super) fn serve<T: Send + 'static>(
        &self,
        serving: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let Self { first, others } = self;
        let lane = others.iter().fold(first, |least, lane| if lane.count() < least.count() { lane } else { least });
        lane.open.fetch_add(1, Ordering::SeqCst);
        let served = lane.handle.block_on(lane.handle.spawn(serving));
        lane.open.fetch_sub(1, Ordering::SeqCst);
        served
    }

    /// Waits for something that happens on these threads.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.first.handle.block_on(what)
    }
}

impl Lane {
    fn count(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().thread_name("flyball-http").enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until, ends) = oneshot::channel();
        let work = move || drop(runtime.block_on(ends));
        let thread = std::thread::Builder::new().name("flyball-http".to_owned()).spawn(work)?;
        Ok(Self { handle, open: AtomicUsize::new(0), until: Some(until), thread: Some(thread) })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.until.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! What a stream's client has not read yet: so many bytes, and no longer than so long.

use super::ways::Item;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Things that a stream may have that its client has not read.
const UNREAD_MAX: usize = 64;
/// Bytes of them, in blocks; one that is larger is the only one then.
const BLOCKS_MAX: usize = 1024;
const BLOCK_BYTES: usize = 4096;
/// How long a client may read nothing before it counts as gone.
const READ_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 60 });

/// The end at which things are put.
#[derive(Clone, Debug)]
pub(super) struct Way {
    to: Sender<(Item, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    wait: Duration,
}

/// The end at which they are read.
pub(super) struct Unread(Receiver<(Item, OwnedSemaphorePermit)>);

pub(super) fn way() -> (Way, Unread) {
    let (to, from) = channel(UNREAD_MAX);
    (Way { to, room: Arc::new(Semaphore::new(BLOCKS_MAX)), wait: READ_WAIT_MAX }, Unread(from))
}

impl Way {
    /// Waits for room.
    ///
    /// # Errors
    /// When the client is gone, or reads nothing.
    pub async fn send(&self, item: Item) -> io::Result<()> {
        let blocks = (item.bytes() / BLOCK_BYTES + 1).min(BLOCKS_MAX);
        let put = async {
            let blocks = u32::try_from(blocks).unwrap_or(1);
            let room = Arc::clone(&self.room).acquire_many_owned(blocks).await.map_err(io::Error::other)?;
            self.to.send((item, room)).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        };
        tokio::select! {
            put = put => put,
            () = self.to.closed() => Err(io::ErrorKind::BrokenPipe.into()),
            () = tokio::time::sleep(self.wait) => {
                // INVARIANT: nothing comes after what was left out.
                self.room.close();
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    /// The same on a thread that may wait.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_here(&self, item: Item, handle: &Handle) -> io::Result<()> {
        handle.block_on(self.send(item))
    }

    /// When nobody reads any more.
    pub async fn closed(&self) {
        self.to.closed().await;
    }

    pub fn is_closed(&self) -> bool {
        self.to.is_closed()
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.to.same_channel(&other.to)
    }
}

impl Unread {
    pub async fn recv(&mut self) -> Option<Item> {
        self.0.recv().await.map(|(item, _)| item)
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.poll_recv(context).map(|had| had.map(|(item, _)| item))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    fn line(mebibytes: usize) -> Item {
        Item::Line(vec![0; mebibytes * 1024 * 1024])
    }

    #[test]
    fn bytes_are_counted_however_few_the_things_are() {
        run(async {
            let (way, mut unread) = way();
            way.send(line(3)).await.unwrap();
            let second = tokio::time::timeout(Duration::from_millis(50), way.send(line(3))).await;
            assert!(second.is_err(), "there is no room for it");
            unread.recv().await.unwrap();
            // What is larger than all the room goes alone.
            way.send(line(64)).await.unwrap();
            unread.recv().await.unwrap();
            drop(unread);
            assert_eq!(way.send(line(1)).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn a_client_that_reads_nothing_counts_as_gone() {
        run(async {
            let (mut way, mut unread) = way();
            way.wait = Duration::from_millis(50);
            way.send(line(4)).await.unwrap();
            assert_eq!(way.send(line(4)).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            unread.recv().await.unwrap();
            assert!(way.send(line(1)).await.is_err(), "nothing comes after what was left out");
        });
    }
}

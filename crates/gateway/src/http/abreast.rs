//! Both connections of a client in one task. As tasks of their own, each request and each answer would wait its turn once more, between
//! those of others.
//!
//! INVARIANT: each of the two is polled only where it was woken itself, and a task's turn ends however much there is to do in it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The connection to a server, to its end.
pub(super) type Driven = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How often both are looked at in one turn: a request goes on in one, and so does an answer.
const ROUNDS_MAX: usize = 4;

/// Which of the two has ended.
pub(super) enum Ended<T> {
    Client(T),
    /// The connection to the server: it was taken out of its place.
    Server,
}

/// Serves the client and drives the server's connection, where there is one, until either ends.
pub(super) fn abreast<'a, S: Future>(serving: Pin<&'a mut S>, server: &'a mut Option<Driven>) -> Abreast<'a, S> {
    let task = Arc::new(Task { waker: Mutex::new(Waker::noop().clone()), is_looking: AtomicBool::new(false) });
    let [of_client, of_server] = [(); 2].map(|()| Side::new(&task));
    Abreast { serving, server, task, of_client, of_server }
}

pub(super) struct Abreast<'a, S> {
    serving: Pin<&'a mut S>,
    server: &'a mut Option<Driven>,
    task: Arc<Task>,
    of_client: Side,
    of_server: Side,
}

struct Task {
    waker: Mutex<Waker>,
    /// Whether it looks at what was woken before its turn ends.
    is_looking: AtomicBool,
}

struct Side {
    call: Arc<Call>,
    waker: Waker,
}

/// What wakes one of the two.
struct Call {
    task: Arc<Task>,
    is_woken: AtomicBool,
}

impl Side {
    fn new(task: &Arc<Task>) -> Self {
        let call = Arc::new(Call { task: Arc::clone(task), is_woken: AtomicBool::new(true) });
        Self { waker: Waker::from(Arc::clone(&call)), call }
    }

    fn is_woken(&self) -> bool {
        self.call.is_woken.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        self.call.is_woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // INVARIANT: noted before it is asked whether the task still looks, which says that it doesn't before it looks once more: one of
        // the two sees the other.
        let was_woken = self.is_woken.swap(true, Ordering::SeqCst);
        if !was_woken && !self.task.is_looking.load(Ordering::SeqCst) {
            self.task.waker.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

impl<S: Future> Future for Abreast<'_, S> {
    type Output = Ended<S::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.task.waker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(context.waker());
        this.task.is_looking.store(true, Ordering::SeqCst);
        for _ in 0..ROUNDS_MAX {
            let is_called = this.of_client.take();
            if is_called {
                let mut context = Context::from_waker(&this.of_client.waker);
                if let Poll::Ready(served) = this.serving.as_mut().poll(&mut context) {
                    return Poll::Ready(Ended::Client(served));
                }
            }
            match this.server.as_mut().filter(|_| this.of_server.take()) {
                Some(server) => {
                    let mut context = Context::from_waker(&this.of_server.waker);
                    if server.as_mut().poll(&mut context).is_ready() {
                        *this.server = None;
                        return Poll::Ready(Ended::Server);
                    }
                }
                None if !is_called => break,
                None => {}
            }
        }
        this.task.is_looking.store(false, Ordering::SeqCst);
        if this.of_client.is_woken() || this.server.is_some() && this.of_server.is_woken() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Pending for ever; keeps its last waker and counts its polls.
    #[derive(Default)]
    struct Seen {
        polls: AtomicUsize,
        waker: Mutex<Option<Waker>>,
        /// Wakes itself each time.
        is_restless: bool,
    }

    fn watch(seen: &Arc<Seen>) -> impl Future<Output = ()> + Send + use<> {
        let seen = Arc::clone(seen);
        std::future::poll_fn(move |context| {
            seen.polls.fetch_add(1, Ordering::SeqCst);
            *seen.waker.lock().unwrap() = Some(context.waker().clone());
            if seen.is_restless {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        })
    }

    #[test]
    fn each_is_polled_where_it_was_woken_and_a_turn_ends() {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let [client, server] = [(); 2].map(|()| Arc::new(Seen::default()));
        let polls = || [&client, &server].map(|seen| seen.polls.load(Ordering::SeqCst));
        let mut serving = std::pin::pin!(watch(&client));
        let mut driven: Option<Driven> = Some(Box::pin(watch(&server)));
        let mut both = abreast(serving.as_mut(), &mut driven);
        assert!(Pin::new(&mut both).poll(&mut context).is_pending());
        assert_eq!((polls(), woken.0.load(Ordering::SeqCst)), ([1, 1], 0));
        // Twice, and the task is woken once.
        for _ in 0..2 {
            server.waker.lock().unwrap().as_ref().unwrap().wake_by_ref();
        }
        assert_eq!((polls(), woken.0.load(Ordering::SeqCst)), ([1, 1], 1));
        assert!(Pin::new(&mut both).poll(&mut context).is_pending());
        assert_eq!((polls(), woken.0.load(Ordering::SeqCst)), ([1, 2], 1));
        client.waker.lock().unwrap().as_ref().unwrap().wake_by_ref();
        assert!(Pin::new(&mut both).poll(&mut context).is_pending());
        assert_eq!((polls(), woken.0.load(Ordering::SeqCst)), ([2, 2], 2));

        let restless = Arc::new(Seen { is_restless: true, ..Seen::default() });
        let mut serving = std::pin::pin!(watch(&restless));
        let mut both = abreast(serving.as_mut(), &mut driven);
        assert!(Pin::new(&mut both).poll(&mut context).is_pending());
        assert_eq!(restless.polls.load(Ordering::SeqCst), ROUNDS_MAX);
        assert_eq!(woken.0.load(Ordering::SeqCst), 3, "and it has another turn");
    }

    #[test]
    fn either_may_end() {
        let mut context = Context::from_waker(Waker::noop());
        let mut driven: Option<Driven> = Some(Box::pin(std::future::ready(())));
        let mut serving = std::pin::pin!(std::future::pending::<()>());
        let ended = Pin::new(&mut abreast(serving.as_mut(), &mut driven)).poll(&mut context);
        assert!(matches!(ended, Poll::Ready(Ended::Server)) && driven.is_none());
        let mut serving = std::pin::pin!(std::future::ready(7));
        let ended = Pin::new(&mut abreast(serving.as_mut(), &mut driven)).poll(&mut context);
        assert!(matches!(ended, Poll::Ready(Ended::Client(7))));
    }
}

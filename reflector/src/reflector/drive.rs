//! The loop of one source: carries out a machine's effects and feeds it what comes back.

use std::{
    pin::pin,
    sync::{Arc, PoisonError},
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use informer_store::{Closed, Delta, Object, ReflectorStore};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use super::Inner;
use crate::{
    Effect, Error, ErrorKind, EventStream, Got, Held, Input, ListStream, ListWatch, Machine, Request,
};

/// What is being waited for.
enum Io<K> {
    Nothing,
    /// A place among the lists.
    Permit(BoxFuture<'static, Option<OwnedSemaphorePermit>>, Request),
    Listing(
        BoxFuture<'static, Result<ListStream<K>, Error>>,
        Option<OwnedSemaphorePermit>,
    ),
    List(
        ListStream<K>,
        #[expect(dead_code, reason = "held for its drop")] Place,
    ),
    Opening(
        BoxFuture<'static, Result<EventStream<K>, Error>>,
        Option<OwnedSemaphorePermit>,
    ),
    /// A watch; while it brings the contents it holds a permit.
    Watch(EventStream<K>, Option<OwnedSemaphorePermit>),
    Get(BoxFuture<'static, Result<Option<Got<K>>, Error>>),
}

/// A place among the lists, given back when dropped.
struct Place(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

struct Driver<K> {
    machine: Machine<K>,
    source: Arc<dyn ListWatch<K>>,
    held: Held<K>,
    io: Io<K>,
}

pub(super) async fn run<K: Object>(
    inner: &Arc<Inner<K>>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let mut shutdown = pin!(shutdown.fuse());
    let source = Arc::clone(&inner.sources[0]);
    let rng = inner.seed.lock().unwrap_or_else(PoisonError::into_inner).fork();
    let mut driver = Driver {
        machine: Machine::new(inner.config.clone(), source.streams_lists(), rng),
        held: Held::by(Arc::clone(&inner.store)),
        source,
        io: Io::Nothing,
    };
    tracing::info!("reflector started");
    driver.input(Input::Start);
    loop {
        let outcome = {
            let effects = pin!(driver.carry_out(inner));
            tokio::select! {
                biased;
                () = &mut shutdown => None,
                done = effects => Some(done),
            }
        };
        driver.publish(inner);
        match outcome {
            None => break,
            Some(Err(Closed)) => {
                return Err(Error::new(
                    ErrorKind::StoreClosed,
                    "run",
                    "the store takes nothing any more",
                ));
            }
            Some(Ok(())) => {}
        }
        let deadline = driver.machine.deadline();
        let waited = {
            let timer = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => None,
                step = driver.io.next(&driver.source, &driver.held) => Some(step),
                () = timer => Some(Input::Tick),
            }
        };
        match waited {
            None => break,
            Some(input) => driver.input(input),
        }
        // A source that always has something must not keep a deadline from passing.
        if deadline.is_some_and(|deadline| deadline <= now()) {
            driver.input(Input::Tick);
        }
    }
    driver.input(Input::Shutdown);
    driver.publish(inner);
    tracing::info!("reflector stopped");
    Ok(())
}

impl<K: Object> Driver<K> {
    fn input(&mut self, input: Input<K>) {
        self.machine.handle(now(), input);
    }

    /// Carries out everything the machine wants done. What it wants delivered waits for the store.
    async fn carry_out(&mut self, inner: &Arc<Inner<K>>) -> Result<(), Closed> {
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Abort => self.io = Io::Nothing,
                Effect::Send(request) => self.send(inner, request),
                Effect::State(state) => {
                    inner.state.send_replace(state);
                }
                Effect::Quarantine(event) => {
                    if let Some(observer) = &inner.observer {
                        observer(&event);
                    }
                    let list = self.machine.quarantined();
                    inner
                        .shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .quarantined = list;
                }
                Effect::Deliver(delta) => {
                    let before = now();
                    deliver(&*inner.store, delta).await?;
                    let blocked = now().saturating_duration_since(before);
                    if !blocked.is_zero() {
                        self.input(Input::Blocked(blocked));
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, inner: &Arc<Inner<K>>, request: Request) {
        self.io = Io::Nothing;
        let contents = match &request {
            Request::List(list) => list.purpose != crate::Purpose::Probe,
            Request::Watch(watch) => watch.initial_events,
            Request::Get(_) => false,
        };
        if contents {
            let permits = inner.permits.clone();
            self.io = Io::Permit(async move { permits.acquire().await }.boxed(), request);
        } else {
            self.io = start(&self.source, &self.held, request, None);
            self.input(Input::Sent);
        }
    }

    fn publish(&self, inner: &Inner<K>) {
        let mut shared = inner.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.stats = self.machine.stats().clone();
        shared.version = self.machine.version().clone();
        shared.proved = self.machine.proved();
        shared.patience = self.machine.patience();
        shared.objects = self.machine.len();
    }
}

fn start<K: Object>(
    source: &Arc<dyn ListWatch<K>>,
    held: &Held<K>,
    request: Request,
    permit: Option<OwnedSemaphorePermit>,
) -> Io<K> {
    let (source, held) = (Arc::clone(source), held.clone());
    match request {
        Request::List(list) => Io::Listing(async move { source.list(&list, &held).await }.boxed(), permit),
        Request::Watch(watch) => {
            Io::Opening(async move { source.watch(&watch, &held).await }.boxed(), permit)
        }
        Request::Get(get) => Io::Get(async move { source.get(&get).await }.boxed()),
    }
}

impl<K: Object> Io<K> {
    /// What happens next.
    ///
    /// # Cancel safety
    /// Dropping the future between two polls loses nothing.
    async fn next(&mut self, source: &Arc<dyn ListWatch<K>>, held: &Held<K>) -> Input<K> {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Permit(permit, request) => {
                let permit = permit.await;
                let request = request.clone();
                *self = start(source, held, request, permit);
                Input::Sent
            }
            Self::Listing(opening, permit) => match opening.await {
                Ok(list) => {
                    let place = Place(permit.take());
                    *self = Self::List(list, place);
                    Input::Opened
                }
                Err(error) => {
                    *self = Self::Nothing;
                    Input::Failed(error)
                }
            },
            Self::Opening(opening, permit) => match opening.await {
                Ok(events) => {
                    let permit = permit.take();
                    *self = Self::Watch(events, permit);
                    Input::Opened
                }
                Err(error) => {
                    *self = Self::Nothing;
                    Input::Failed(error)
                }
            },
            Self::List(list, _) => match list.next().await {
                Some(Ok(part)) => Input::Listed(part),
                Some(Err(error)) => {
                    *self = Self::Nothing;
                    Input::Failed(error)
                }
                None => {
                    *self = Self::Nothing;
                    Input::Closed
                }
            },
            Self::Watch(events, permit) => match events.next().await {
                Some(Ok(event)) => {
                    if let crate::Event::Bookmark {
                        initial_events_end: true,
                        ..
                    } = event
                    {
                        permit.take();
                    }
                    Input::Event(event)
                }
                Some(Err(error)) => {
                    *self = Self::Nothing;
                    Input::Failed(error)
                }
                None => {
                    *self = Self::Nothing;
                    Input::Closed
                }
            },
            Self::Get(reading) => match reading.await {
                Ok(got) => {
                    *self = Self::Nothing;
                    Input::Got(got)
                }
                Err(error) => {
                    *self = Self::Nothing;
                    Input::Failed(error)
                }
            },
        }
    }
}

async fn deliver<K: Object>(store: &dyn ReflectorStore<K>, delta: Delta<K>) -> Result<(), Closed> {
    match delta {
        Delta::Added(entry) => store.add(entry).await,
        Delta::Updated(entry) | Delta::Sync(entry) => store.update(entry).await,
        Delta::Deleted(tombstone) => store.delete(tombstone).await,
        Delta::Replaced(replacement) => store.replace(replacement).await,
        Delta::Resync(part) => store.resync(part).await,
        Delta::Bookmark(version) => store.bookmark(version).await,
        _ => Ok(()),
    }
}

fn now() -> Instant {
    Instant::now()
}

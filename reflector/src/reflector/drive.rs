//! The loop of one source: carries out a machine's effects and feeds it what comes back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use informer_store::{Closed, Object, ResourceVersion};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, sleep_until},
};

use super::{Inner, Part, merge::Sink};
use crate::{
    Effect, Error, ErrorKind, EventStream, Gate, Got, Held, Input, ListPermits, ListStream, ListWatch,
    Machine, Request, Room, SyncState,
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

/// The machines of all sources. Each is its driver's; what it knows is there for the others.
pub(super) type Machines<K> = [Mutex<Machine<K>>];

pub(super) fn lock<K>(machine: &Mutex<Machine<K>>) -> MutexGuard<'_, Machine<K>> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Driver<'a, K> {
    inner: &'a Inner<K>,
    part: usize,
    machine: &'a Mutex<Machine<K>>,
    source: Arc<dyn ListWatch<K>>,
    sink: &'a Sink<'a, K>,
    /// Rung where the server is seen to work again, by source.
    bells: &'a [Notify],
    held: Held<K>,
    permits: ListPermits,
    io: Io<K>,
    /// The list of what is in quarantine is to be shown anew.
    quarantine_changed: bool,
}

pub(super) async fn run<K: Object>(
    inner: &Inner<K>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    tracing::info!("reflector started");
    for part in &mut *inner.parts.lock().unwrap_or_else(PoisonError::into_inner) {
        let done = std::mem::take(part);
        part.before = done.before;
        part.before.add(&done.stats);
        part.version = done.version;
    }
    let room = Room::default();
    let gate = (inner.sources.len() > 1).then(|| Gate::new(&inner.config.backoff));
    let machines: Vec<_> = (0..inner.sources.len())
        .map(|part| Mutex::new(machine(inner, part, &room, gate.as_ref())))
        .collect();
    let bells: Vec<_> = machines.iter().map(|_| Notify::new()).collect();
    let sink = Sink::new(Arc::clone(&inner.store), &machines);
    let drivers = inner.sources.iter().enumerate().map(|(part, source)| {
        let driver = Driver {
            inner,
            part,
            machine: &machines[part],
            source: Arc::clone(source),
            sink: &sink,
            bells: &bells,
            held: Held::by(Arc::clone(&inner.store)),
            permits: inner.permits(),
            io: Io::Nothing,
            quarantine_changed: false,
        };
        driver.drive()
    });
    let drivers = futures::future::try_join_all(drivers);
    let ended = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        ended = drivers => ended.map(drop),
    };
    tracing::info!("reflector stopped");
    ended.map_err(|Closed| Error::new(ErrorKind::StoreClosed, "run", "the store takes nothing any more"))
}

/// The machine of source `part`, at rest.
fn machine<K: Object>(inner: &Inner<K>, part: usize, room: &Room, gate: Option<&Gate>) -> Machine<K> {
    let source = &inner.sources[part];
    let rng = inner.seed.lock().unwrap_or_else(PoisonError::into_inner).fork();
    let mut config = inner.config.clone();
    if part > 0 {
        // One redelivery covers the whole store.
        config.resync = None;
    }
    let seen = inner.parts.lock().unwrap_or_else(PoisonError::into_inner)[part]
        .version
        .clone();
    let mut machine = Machine::new(config, source.streams_lists(), rng)
        .not_older_than(seen)
        .in_room(room);
    if let Some(commons) = source.commons() {
        machine = machine.sharing(commons);
    }
    match gate {
        Some(gate) => machine.with_neighbours().behind(gate),
        None => machine,
    }
}

impl<K: Object> Driver<'_, K> {
    async fn drive(mut self) -> Result<(), Closed> {
        self.input(Input::Start);
        let mut turns = 0;
        loop {
            self.carry_out().await?;
            self.publish();
            // Only here, where the store has been told all that the machine goes by.
            turns = (turns + 1) % TURNS;
            if turns == 0 {
                give_way().await;
            }
            let deadline = self.machine().deadline();
            let timer = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // What has arrived is read before any deadline counts: time spent on the store is not the server's.
            let input = tokio::select! {
                biased;
                input = self.io.next(&self.source, &self.held) => input,
                () = self.sink.doubt(self.part) => Input::Doubt,
                () = self.bells[self.part].notified() => Input::Recovered,
                () = timer => Input::Tick,
            };
            self.input(input);
            // A source that always has something must not keep a deadline from passing, nor a doubt from being heard.
            if self.sink.take_doubt(self.part) {
                self.input(Input::Doubt);
            }
            if deadline.is_some_and(|deadline| deadline <= now()) {
                self.input(Input::Tick);
            }
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine<K>> {
        lock(self.machine)
    }

    fn input(&self, input: Input<K>) {
        self.machine().handle(now(), input);
    }

    fn next_effect(&self) -> Option<Effect<K>> {
        self.machine().next_effect()
    }

    /// Carries out everything the machine wants done. What it wants delivered waits for the store.
    async fn carry_out(&mut self) -> Result<(), Closed> {
        while let Some(effect) = self.next_effect() {
            match effect {
                Effect::Abort => self.io = Io::Nothing,
                Effect::Send(request) => self.send(request),
                Effect::State(state) => self.tell(state),
                Effect::Recovered => {
                    let others = self.bells.iter().enumerate();
                    for (_, bell) in others.filter(|(other, _)| *other != self.part) {
                        bell.notify_one();
                    }
                }
                Effect::Quarantine(event) => {
                    if let Some(observer) = &self.inner.observer {
                        observer(&event);
                    }
                    self.quarantine_changed = true;
                }
                Effect::Deliver(delta) => {
                    let before = now();
                    self.sink.deliver(self.part, delta).await?;
                    let blocked = now().saturating_duration_since(before);
                    if !blocked.is_zero() {
                        self.input(Input::Blocked(blocked));
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, request: Request) {
        self.io = Io::Nothing;
        let contents = match &request {
            Request::List(list) => list.purpose != crate::Purpose::Probe,
            Request::Watch(watch) => watch.initial_events,
            Request::Get(_) => {
                // It counts as an attempt.
                self.quarantine_changed = true;
                false
            }
        };
        if contents {
            let permits = self.permits.clone();
            self.io = Io::Permit(async move { permits.acquire().await }.boxed(), request);
        } else {
            self.io = start(&self.source, &self.held, request, None);
            self.input(Input::Sent);
        }
    }

    /// Shows the state of all sources together.
    fn tell(&self, state: SyncState) {
        let together = {
            let mut parts = self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts[self.part].state = Some(state);
            together(&parts)
        };
        // It waits for whoever looks at the state, who may be asking for what is behind that lock.
        self.inner.state.send_if_modified(|shown| {
            let changed = *shown != together;
            *shown = together;
            changed
        });
    }

    fn publish(&mut self) {
        let changed = std::mem::take(&mut self.quarantine_changed);
        let machine = self.machine();
        let quarantined = changed.then(|| machine.quarantined());
        self.my_part(|part| {
            if let Some(quarantined) = quarantined {
                part.quarantined = quarantined;
            }
            part.stats.clone_from(machine.stats());
            part.version.clone_from(machine.version());
            part.proved = machine.proved();
            part.patience = machine.patience();
            part.objects = machine.len();
        });
    }

    fn my_part(&self, change: impl FnOnce(&mut Part)) {
        let mut parts = self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts[self.part]);
    }
}

/// What several sources do, seen as one: trouble first, then lists, and synced only once all are.
fn together(parts: &[Part]) -> SyncState {
    let states = || parts.iter().filter_map(|part| part.state.as_ref());
    let trouble = states().find(|state| matches!(state, SyncState::Degraded { .. }));
    if let Some(trouble) = trouble {
        return trouble.clone();
    }
    let (mut items_so_far, mut all_expected, mut listing) = (0, Some(0), false);
    for state in states() {
        if let SyncState::Listing { items, expected } = state {
            items_so_far += items;
            all_expected = all_expected
                .zip(*expected)
                .map(|(all, more): (u64, u64)| all.saturating_add(more));
            listing = true;
        }
    }
    if listing {
        return SyncState::Listing {
            items: items_so_far,
            expected: all_expected,
        };
    }
    if states().any(|state| *state == SyncState::Streaming) {
        return SyncState::Streaming;
    }
    let mut oldest: Option<&ResourceVersion> = None;
    for part in parts {
        let Some(SyncState::Synced { version }) = &part.state else {
            return SyncState::NotStarted;
        };
        if oldest.is_none_or(|oldest| version < oldest) {
            oldest = Some(version);
        }
    }
    SyncState::Synced {
        version: oldest.cloned().unwrap_or_default(),
    }
}

fn start<K: Object>(
    source: &Arc<dyn ListWatch<K>>,
    held: &Held<K>,
    request: Request,
    permit: Option<OwnedSemaphorePermit>,
) -> Io<K> {
    let anew = match &request {
        Request::List(list) => list.anew,
        Request::Watch(watch) => watch.anew,
        Request::Get(_) => false,
    };
    let held = if anew { Held::nothing() } else { held.clone() };
    let source = Arc::clone(source);
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
                Some(Ok(part)) => {
                    if let crate::Listed::End(_) = part {
                        // Delivering may take long, and others could list meanwhile.
                        *self = Self::Nothing;
                    }
                    Input::Listed(part)
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

/// Lets the others of this thread have their turn, the shutdown among them: a source that always has something, over a
/// store that always takes it, would keep them waiting for ever.
async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn now() -> Instant {
    Instant::now()
}

/// Inputs in a row before others have their turn, as tokio has it.
const TURNS: u32 = 128;

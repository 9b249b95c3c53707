//! How a worker answers: between requests, a slice at a time, so that none of them waits for long.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use tokio::sync::mpsc::Receiver;

use super::answer::{Answer, Gathering, Kept, Key};
use super::query::Query;
use super::view::View;
use super::{Phase, Slot};
use crate::instant::Instant;
use crate::limits::{LIVE_ROWS_SLICE, LIVE_SLICE};
use crate::worker::Worker;

/// A question, and where its answer goes.
pub struct Ask {
    pub query: Arc<Query>,
    /// Of the answers so far, [`Answer::floor`].
    pub floor: Option<Key>,
    /// What starts are counted from and ages to: the same for all workers.
    pub epoch: Instant,
    pub now: Instant,
    pub answer: Sender<Answer>,
}

/// Answers one question after the other, for as long as the worker lives; also while it drains,
/// since that is when one wants to know what it waits for.
pub async fn answer_all(worker: Rc<Worker>, mut inbox: Receiver<Ask>) {
    let mut number = 0;
    while let Some(ask) = inbox.recv().await {
        number += 1;
        let answer = answer(&worker, &ask, number).await;
        // Who asked may have stopped waiting.
        drop(ask.answer.send(answer));
    }
}

/// Looks once at each slot that is in use when it begins, slice after slice, and then makes rows of
/// those that are left. Far apart ones come first: in the order of the list, which is nearly that of
/// age, each slot could be the next of the rows that are asked for, and would be kept for a while.
async fn answer(worker: &Worker, ask: &Ask, number: u64) -> Answer {
    let live = &worker.live;
    let mut gathering = Gathering::new(&ask.query, ask.floor);
    let mut look = |slots: &[Rc<Slot>]| {
        fetch(slots);
        for slot in slots {
            let subject = slot.subject.borrow();
            if let Some(subject) = &*subject
                && slot.asked.replace(number) != number
            {
                gathering.add(slot, &View::new(slot, subject, ask.epoch, ask.now));
            }
        }
    };
    live.question.set(number);
    let count = live.listed.borrow().len();
    for slice in spread(count.div_ceil(LIVE_SLICE)) {
        {
            let listed = live.listed.borrow();
            let end = listed.len().min((slice + 1) * LIVE_SLICE);
            look(listed.get(slice * LIVE_SLICE..end).unwrap_or_default());
        }
        let_others_run().await;
    }
    // When one goes, the last one takes its place, and that may have been passed.
    loop {
        let slots = {
            let mut moved = live.moved.borrow_mut();
            let rest = moved.len().saturating_sub(LIVE_SLICE);
            moved.split_off(rest)
        };
        if slots.is_empty() {
            break;
        }
        look(&slots);
        let_others_run().await;
    }
    live.question.set(0);
    let (mut answer, kept) = gathering.finish();
    let anchor = worker.clock.borrow_mut().anchor(ask.now);
    for kept in kept.chunks(LIVE_ROWS_SLICE) {
        for Kept { key, of: slot } in kept {
            if answer.is_full(&ask.query) {
                return answer;
            }
            if let Some(subject) = &*slot.subject.borrow() {
                let view = View::new(slot, subject, ask.epoch, ask.now);
                answer.show(*key, &view, &ask.query, anchor);
            }
        }
        let_others_run().await;
    }
    answer
}

/// Has the processor fetch from memory at once what is looked at one after the other: of very many
/// slots hardly one is in its caches, and waiting for each was half of what a question cost.
fn fetch(slots: &[Rc<Slot>]) {
    for slot in slots {
        let subject = slot.subject.borrow();
        let target = subject.as_ref().map(|it| it.target.get().is_some());
        let start = slot.entered[Phase::Head as usize].get();
        black_box((target, start, slot.asked.get(), slot.attempts.get()));
    }
}

/// This worker's requests, and what else waits for its core: a core that several workers share has
/// requests of theirs, which would wait for as long as the scheduler lets a thread go on, milliseconds.
async fn let_others_run() {
    thread::yield_now();
    tokio::task::yield_now().await;
}

/// The numbers below `count`, each once, by their binary digits in reverse: 0, a half, a quarter, …
fn spread(count: usize) -> impl Iterator<Item = usize> {
    let width = count.next_power_of_two();
    let shift = usize::BITS - width.trailing_zeros();
    let reversed = move |number: usize| number.reverse_bits().checked_shr(shift).unwrap_or(0);
    (0..width)
        .map(reversed)
        .filter(move |number| *number < count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::channel;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use serde_json::{Value, json};

    use super::*;
    use crate::downstream::Origin;
    use crate::headers::Ends;
    use crate::live::Live;
    use crate::metrics::{Store, Tally};
    use crate::table::Table;
    use crate::trace::{Recorder, Resource, SpanQueue};
    use crate::worker::{Bounds, Writers};

    fn worker() -> Rc<Worker> {
        let spans = Arc::new(SpanQueue::new(0).unwrap());
        let resource = Resource {
            attributes: Vec::new(),
        };
        let table = Arc::new(ArcSwap::from_pointee(Table::empty()));
        let writers = Writers {
            recorder: Recorder::new(&resource, spans),
            metrics: Tally::new(Arc::new(Store::new(1))),
            access_log: None,
        };
        let bounds = Bounds {
            requests_live_max: 1,
            connections_max: 1,
        };
        Worker::new(table, writers, Arc::default(), bounds)
    }

    fn arriving(worker: &Worker, count: usize) -> Vec<Live<'_>> {
        (0..count)
            .map(|_| arriving_at(worker, &Rc::default()))
            .collect()
    }

    fn arriving_at<'w>(worker: &'w Worker, slot: &Rc<Slot>) -> Live<'w> {
        let address = "192.0.2.1:80".parse().unwrap();
        let ends = Ends {
            client: address,
            peer: address,
            local: address,
            network_peer: address,
            scheme: "http",
            is_trusted: false,
        };
        let origin = Origin::new(ends, address);
        Live::arriving(worker, slot, &origin, Instant::now())
    }

    fn ask(conditions: &Value) -> Ask {
        ask_for(10_000, conditions)
    }

    fn ask_for(limit: usize, conditions: &Value) -> Ask {
        let query = json!({"conditions": conditions, "age_min_us": 0, "sort": "age",
            "ascending": false, "limit": limit, "after": null, "instance": ""});
        let now = Instant::now();
        Ask {
            query: Arc::new(Query::decode(query.to_string().as_bytes()).unwrap()),
            floor: None,
            epoch: now,
            now,
            answer: channel().0,
        }
    }

    /// The answer, while `meanwhile` is what others do whenever they can.
    fn answered(worker: &Worker, ask: &Ask, mut meanwhile: impl FnMut()) -> Value {
        let mut answering = pin!(answer(worker, ask, 1));
        loop {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(answer) = answering.as_mut().poll(&mut context) {
                return serde_json::to_value(&answer).unwrap();
            }
            meanwhile();
        }
    }

    /// Of the rows, in order.
    fn ids(answer: &Value) -> Vec<String> {
        let rows = answer["requests"].as_array().unwrap();
        let mut ids: Vec<_> = rows
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort_unstable();
        ids
    }

    fn id(live: &Live<'_>) -> String {
        live.subject.borrow().as_ref().unwrap().id.to_string()
    }

    #[test]
    fn requests_that_are_live_all_along_are_seen_once_though_others_come_and_go() {
        let worker = worker();
        let mut live = arriving(&worker, 40 * LIVE_SLICE);
        let mut random = fastrand::Rng::with_seed(7);
        random.shuffle(&mut live);
        let (staying, going) = live.split_at(20 * LIVE_SLICE);
        let staying: Vec<_> = staying.iter().map(id).collect();
        let mut going = going.len();

        let answer = answered(&worker, &ask(&json!([])), || {
            for _ in 0..going.min(LIVE_SLICE) {
                live.pop();
                going -= 1;
            }
            live.splice(0..0, arriving(&worker, 3));
        });

        let mut seen = ids(&answer);
        let count = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), count, "one was seen twice");
        assert!(staying.iter().all(|id| seen.binary_search(id).is_ok()));
        drop(live);
        assert!(worker.live.listed.borrow().is_empty());
    }

    #[test]
    fn what_is_over_or_goes_on_before_its_row_is_made_is_counted_and_has_no_row() {
        let worker = worker();
        let mut live = arriving(&worker, 5);
        let mut staying: Vec<_> = live[2..].iter().map(id).collect();
        staying.sort_unstable();
        let head = json!([{"field": "phase", "value": "head", "negated": false}]);

        let answer = answered(&worker, &ask(&head), || {
            if live.len() == 5 {
                live[1].enter(Phase::Route, Instant::now());
                let slot = Rc::clone(&live.swap_remove(0).slot);
                live.extend([
                    arriving_at(&worker, &slot),
                    arriving_at(&worker, &Rc::default()),
                ]);
            }
        });

        assert_eq!(answer["matched"], 5);
        assert_eq!(ids(&answer), staying);
    }

    #[test]
    fn the_next_one_has_the_row_of_what_is_over_before_it_is_made() {
        let worker = worker();
        let mut live = arriving(&worker, 28);
        let mut staying: Vec<_> = live[8..].iter().map(id).collect();
        staying.sort_unstable();

        let answer = answered(&worker, &ask_for(20, &json!([])), || {
            if live.len() == 28 {
                live.drain(..8);
            }
        });

        assert_eq!(answer["matched"], 28);
        assert_eq!(ids(&answer), staying);
    }

    #[test]
    fn numbers_are_spread_and_each_comes_once() {
        assert_eq!(spread(5).collect::<Vec<_>>(), [0, 4, 2, 1, 3]);
        for count in 0..300 {
            let mut all: Vec<usize> = spread(count).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count));
        }
    }

    #[test]
    fn phases_sum_to_the_age_to_the_microsecond() {
        let worker = worker();
        let live = arriving(&worker, 1);
        let start = live[0].entered[Phase::Head as usize].get().unwrap();
        let at = |ns| start + Duration::from_nanos(ns);
        live[0].enter(Phase::Route, at(1_500));
        live[0].attempt(0, at(2_700));
        live[0].enter(Phase::Wait, at(3_900));

        for now_ns in 4_000..6_000 {
            let subject = live[0].subject.borrow();
            let view = View::new(&live[0], subject.as_ref().unwrap(), start, at(now_ns));
            let sum: u64 = view.phases_us().into_iter().flatten().sum();
            assert_eq!(sum, now_ns / 1_000);
        }
    }
}

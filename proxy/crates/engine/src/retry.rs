//! Whether an attempt that came to nothing is made again.
//!
//! Four questions, in this order: is it worth it (the policy's conditions), is there an attempt
//! left, can it do harm (RFC 9110, section 9.2.2), and does the backend's budget allow it. A body
//! that was begun is never sent again: nobody keeps it.
//!
//! Rules: this module does no I/O and reads no clock.

use std::cell::Cell;

use crate::instant::Instant;
use crate::message::{Method, RequestHead};
use crate::table::{Retry, RetryOn};
use crate::trace::{Flag, RetryDenied};
use crate::upstream::Budget;

/// What became of an attempt, before a byte of a response was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The endpoint has as many connections as it may have, or is being connected to by as many as may
    /// be and the request's turn did not come: it was not asked.
    Full,
    /// No connection was made.
    NotConnected,
    /// The endpoint said that it did not look at the request (RFC 9113, section 8.7).
    Unprocessed,
    /// The connection was lost before a byte of the response.
    Lost,
    /// No byte of the response came in time.
    Late,
    /// The head of a response came, with this status.
    Status(u16),
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The policy does not ask for another attempt.
    NotAsked,
    /// It does, but it cannot be.
    Denied(RetryDenied),
    /// Another attempt may be made, as far as this request goes.
    Repeat,
}

/// The verdict for the attempt that was sent `resend` times before; the budget is not asked.
#[must_use]
pub fn verdict(request: &RequestHead, retry: &Retry, resend: u32, happened: Happened) -> Verdict {
    if retry.attempts <= 1 || !is_worth_it(retry, happened) {
        Verdict::NotAsked
    } else if resend + 1 >= retry.attempts {
        Verdict::Denied(RetryDenied::Attempts)
    } else if !is_safe(request, happened) {
        Verdict::Denied(RetryDenied::Unsafe)
    } else {
        Verdict::Repeat
    }
}

/// Whether a request may reach an endpoint twice: its method is idempotent, and there is no body
/// that was already sent. Source: RFC 9110, section 9.2.2.
#[must_use]
pub fn is_repeatable(request: &RequestHead) -> bool {
    let is_idempotent = matches!(
        request.method,
        Method::Get | Method::Head | Method::Options | Method::Put | Method::Delete
    );
    is_idempotent && !request.has_body()
}

/// One attempt's turn: which one it is, and what decides about the next.
pub struct Turn<'a> {
    /// The request that is being sent.
    pub request: &'a RequestHead,
    /// The policy of its route.
    pub retry: &'a Retry,
    /// The budget of its backend.
    pub budget: &'a Budget,
    /// 0 for the first attempt.
    pub resend: u32,
    /// The end of the whole request.
    pub deadline: Option<Instant>,
    /// Why there will be no other attempt although the policy asks for one.
    pub denied: Cell<Option<RetryDenied>>,
    /// Whether another attempt was paid for.
    pub is_paid: Cell<bool>,
}

impl Turn<'_> {
    /// Whether there will be another attempt. If none is made after all, what it cost is to be
    /// given back.
    pub fn may_repeat(&self, happened: Happened, now: Instant) -> bool {
        match verdict(self.request, self.retry, self.resend, happened) {
            Verdict::NotAsked => false,
            Verdict::Denied(denied) => self.deny(denied),
            // Nobody was burdened, so it costs nothing.
            Verdict::Repeat if happened == Happened::Full => true,
            Verdict::Repeat if self.budget.spend(now, self.retry.budget_percent) => {
                self.is_paid.set(true);
                true
            }
            Verdict::Repeat => self.deny(RetryDenied::Budget),
        }
    }

    /// The instant before which the attempt must have a connection: a part of what it may take.
    #[must_use]
    pub fn ends(&self, started: Instant) -> Option<Instant> {
        let per_try = self.retry.per_try_timeout.map(|timeout| started + timeout);
        [per_try, self.deadline].into_iter().flatten().min()
    }

    /// Whether the whole request is over its time.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|at| at <= Instant::now())
    }

    fn deny(&self, denied: RetryDenied) -> bool {
        self.denied.set(Some(denied));
        false
    }
}

/// What a failed exchange means for another attempt; `has_answer` once a byte of it came.
#[must_use]
pub fn what_happened(flag: Flag, has_answer: bool) -> Option<Happened> {
    match flag {
        _ if has_answer => None,
        Flag::UpstreamClosed | Flag::UpstreamReset => Some(Happened::Lost),
        Flag::UpstreamTimeout => Some(Happened::Late),
        _ => None,
    }
}

fn is_worth_it(retry: &Retry, happened: Happened) -> bool {
    let wanted = match happened {
        // Nothing was tried, so there is nothing that the policy could object to.
        Happened::Full => return true,
        Happened::NotConnected => RetryOn::Connect,
        Happened::Lost | Happened::Unprocessed => RetryOn::Closed,
        Happened::Late => RetryOn::Timeout,
        Happened::Status(502) => RetryOn::Status502,
        Happened::Status(503) => RetryOn::Status503,
        Happened::Status(504) => RetryOn::Status504,
        Happened::Status(_) => return false,
    };
    retry.on.contains(&wanted)
}

fn is_safe(request: &RequestHead, happened: Happened) -> bool {
    match happened {
        Happened::Full | Happened::NotConnected | Happened::Unprocessed => true,
        Happened::Lost | Happened::Late | Happened::Status(_) => is_repeatable(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::parse_request;

    const EVERY: [RetryOn; 6] = [
        RetryOn::Connect,
        RetryOn::Closed,
        RetryOn::Timeout,
        RetryOn::Status502,
        RetryOn::Status503,
        RetryOn::Status504,
    ];

    fn retry(on: &[RetryOn]) -> Retry {
        Retry {
            attempts: 3,
            on: on.to_vec(),
            per_try_timeout: None,
            budget_percent: 0,
        }
    }

    fn request(method: &str, body: &str) -> RequestHead {
        let mut request = RequestHead::default();
        let head = format!("{method} / HTTP/1.1\r\nHost: shop\r\n{body}\r\n");
        parse_request(head.as_bytes(), &mut request).expect("it is well-formed");
        request
    }

    #[test]
    fn only_what_the_policy_names_is_repeated() {
        let get = request("GET", "");
        for (condition, happened) in [
            (RetryOn::Connect, Happened::NotConnected),
            (RetryOn::Closed, Happened::Lost),
            (RetryOn::Timeout, Happened::Late),
            (RetryOn::Status502, Happened::Status(502)),
            (RetryOn::Status503, Happened::Status(503)),
            (RetryOn::Status504, Happened::Status(504)),
        ] {
            let others: Vec<_> = EVERY.into_iter().filter(|one| *one != condition).collect();
            let named = verdict(&get, &retry(&[condition]), 0, happened);
            assert_eq!(named, Verdict::Repeat, "{condition:?}");
            let unnamed = verdict(&get, &retry(&others), 0, happened);
            assert_eq!(unnamed, Verdict::NotAsked, "{condition:?}");
        }
        for status in [200, 404, 429, 500, 501, 505] {
            let verdict = verdict(&get, &retry(&EVERY), 0, Happened::Status(status));
            assert_eq!(verdict, Verdict::NotAsked, "{status}");
        }
    }

    #[test]
    fn what_an_endpoint_may_have_seen_is_repeated_only_if_idempotent_and_without_body() {
        let body = "Content-Length: 1\r\n";
        for (method, body, is_safe) in [
            ("GET", "", true),
            ("HEAD", "", true),
            ("OPTIONS", "", true),
            ("PUT", "", true),
            ("DELETE", "", true),
            ("POST", "", false),
            ("PATCH", "", false),
            ("FROBNICATE", "", false),
            ("PUT", body, false),
            ("GET", "Transfer-Encoding: chunked\r\n", false),
        ] {
            let request = request(method, body);
            for happened in [Happened::Lost, Happened::Late, Happened::Status(503)] {
                let want = if is_safe {
                    Verdict::Repeat
                } else {
                    Verdict::Denied(RetryDenied::Unsafe)
                };
                let got = verdict(&request, &retry(&EVERY), 0, happened);
                assert_eq!(got, want, "{method} {body:?} {happened:?}");
            }
            for happened in [
                Happened::NotConnected,
                Happened::Unprocessed,
                Happened::Full,
            ] {
                let got = verdict(&request, &retry(&EVERY), 0, happened);
                assert_eq!(got, Verdict::Repeat, "{method} never reached an endpoint");
            }
        }
    }

    #[test]
    fn attempts_count_with_the_first_and_one_means_that_nothing_is_denied() {
        let get = request("GET", "");
        let three = retry(&EVERY);
        assert_eq!(verdict(&get, &three, 1, Happened::Lost), Verdict::Repeat);
        let last = verdict(&get, &three, 2, Happened::Lost);
        assert_eq!(last, Verdict::Denied(RetryDenied::Attempts));
        let one = Retry {
            attempts: 1,
            ..three
        };
        assert_eq!(verdict(&get, &one, 0, Happened::Lost), Verdict::NotAsked);
    }

    #[test]
    fn what_began_to_answer_is_never_repeated() {
        for flag in Flag::ALL {
            assert_eq!(what_happened(*flag, true), None);
        }
        let lost = what_happened(Flag::UpstreamReset, false);
        assert_eq!(lost, Some(Happened::Lost));
        assert_eq!(what_happened(Flag::RequestTimeout, false), None);
        assert_eq!(what_happened(Flag::ClientGone, false), None);
    }

    #[test]
    fn a_turn_says_that_the_budget_is_spent() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let turn = Turn {
            request: &request("GET", ""),
            retry: &retry(&EVERY),
            budget: &budget,
            resend: 0,
            deadline: None,
            denied: Cell::new(None),
            is_paid: Cell::new(false),
        };
        while turn.may_repeat(Happened::Lost, now) {}
        assert_eq!(turn.denied.get(), Some(RetryDenied::Budget));
    }
}

//! The life of a request: found, balanced, sent, answered, recorded.
//!
//! One function per step, in that order. A request loads the table once and uses it to its end.

use std::io;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::downstream::Client;
use crate::exchange::{Exchange, Marks};
use crate::failure;
use crate::headers::{self, Ends, Refusal};
use crate::http1::Malformed;
use crate::limits::{ATTEMPTS_MAX, DOWNSTREAM_STALL_TIMEOUT};
use crate::message::{Framing, Method, Name, RequestHead, Version};
use crate::propagation::Trace;
use crate::stats::WorkerStats;
use crate::table::{Backend, Listener, ListenerKind, Route, Table, normalise};
use crate::trace::{Attempt, Balance, Flag, Segment, SpanId};
use crate::upstream::{ConnectError, Freshness, Lease};
use crate::worker::{Worker, Workspace};

/// When a request came.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// Its first byte.
    pub start: Instant,
    /// The end of its head.
    pub head_read: Instant,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// It may carry another request.
    KeepAlive,
    /// Both sides are done with it.
    Close,
    /// We are; the client may still be sending.
    Linger,
}

/// Everything about a request that does not change while it is served.
struct Job<'a> {
    worker: &'a Worker,
    table: &'a Table,
    request: &'a RequestHead,
    trace: &'a Trace<'a>,
    ends: Ends,
    /// 32 hex digits, or what the client said.
    id: &'a [u8],
    arrival: Arrival,
}

/// What became of it so far.
#[derive(Default)]
struct Outcome {
    /// The status that the client got; 0 while it got none.
    status: u16,
    flag: Option<Flag>,
    first_response: Option<Instant>,
    /// The last response byte, or the end of the last attempt.
    end: Option<Instant>,
    is_request_read: bool,
    malformed: Option<Malformed>,
    request_body_bytes: u64,
    response_body_bytes: u64,
    balance: Option<Balance>,
    attempts: SmallVec<[Tried; 1]>,
}

/// An attempt, with its endpoint by its index in the backend.
#[derive(Clone, Copy)]
struct Tried {
    id: SpanId,
    endpoint: usize,
    started: Instant,
    connected: Option<Instant>,
    sent: Option<Instant>,
    first_byte: Option<Instant>,
    end: Instant,
    status: Option<u16>,
    error: Option<Flag>,
    is_reused: bool,
}

/// Where a request goes: by a route, or straight to the backend of a service listener.
#[derive(Clone, Copy)]
struct Target<'a> {
    listener: &'a Listener,
    route: Option<&'a Route>,
    backend: &'a Backend,
}

/// Why a request has no target, and how far the search came.
struct NoTarget<'a> {
    flag: Flag,
    route: Option<&'a Route>,
}

/// Serves the request in `workspace.request`, whatever becomes of it, and records what happened.
pub async fn forward(
    worker: &Worker,
    client: &mut Client,
    workspace: &mut Workspace,
    arrival: Arrival,
) -> After {
    let _live = Live::begin(&worker.stats);
    let table = worker.table();
    let request = std::mem::take(&mut workspace.request);
    let trace = Trace::begin(worker, &table, &request);
    let made_id = worker.ids.borrow_mut().trace_id().to_hex();
    let job = Job {
        worker,
        table: &table,
        request: &request,
        trace: &trace,
        ends: Ends {
            peer: client.peer,
            local: client.local,
        },
        id: request.fields.get(Name::XRequestId).unwrap_or(&made_id),
        arrival,
    };
    let mut outcome = Outcome::default();
    let found = find(&job, client);
    let served = match &found {
        Ok(target) => balance(&job, target, client, workspace, &mut outcome).await,
        Err(missing) => Err(missing.flag),
    };
    let after = match served {
        Ok(after) => after,
        Err(flag) => fail(&job, flag, client, workspace, &mut outcome).await,
    };
    worker.stats.responses[usize::from(outcome.status / 100).min(5)].add(1);
    if trace.is_recorded() {
        record(&job, &found, &outcome);
    }
    workspace.request = request;
    after
}

/// Looks up what answers the request.
fn find<'a>(job: &Job<'a>, client: &Client) -> Result<Target<'a>, NoTarget<'a>> {
    let none = |flag| NoTarget { flag, route: None };
    let listener = job
        .table
        .listener(client.listener)
        .ok_or(none(Flag::Shutdown))?;
    let (route, key) = if let Some(key) = &listener.backend {
        (None, key)
    } else {
        // `OPTIONS *` asks about the host as a whole: who answers for its root answers for it.
        let path = match job.request.path() {
            b"*" => b"/",
            path => path,
        };
        let path = normalise(path).map_err(|_| none(Flag::BadRequest))?;
        let matched = job.table.route(job.request.host(), &path);
        let route: &Route = matched.ok_or(none(Flag::NoRoute))?.route;
        (Some(route), &route.backend)
    };
    match job.table.backend(key) {
        Some(backend) => Ok(Target {
            listener,
            route,
            backend,
        }),
        None => Err(NoTarget {
            flag: Flag::NoBackend,
            route,
        }),
    }
}

/// Tries endpoints until one answers; a request that an endpoint may have seen is repeated only
/// where that is safe.
async fn balance(
    job: &Job<'_>,
    target: &Target<'_>,
    client: &mut Client,
    workspace: &mut Workspace,
    outcome: &mut Outcome,
) -> Result<After, Flag> {
    let backend = target.backend;
    let start = Instant::now();
    let mut started = start;
    let id = job.worker.ids.borrow_mut().span_id();
    let balance = |end| Balance {
        id,
        start,
        end,
        endpoints_ready: backend.endpoints.len() as u32,
        policy: backend.balance,
        queue: Duration::ZERO,
    };
    outcome.balance = Some(balance(start));
    let mut last = Err(if backend.missing.is_empty() {
        Flag::NoEndpoints
    } else {
        Flag::NoBackend
    });
    for resend in 0..ATTEMPTS_MAX {
        let tried: SmallVec<[usize; 3]> = outcome.attempts.iter().map(|t| t.endpoint).collect();
        let picked = job
            .worker
            .balancer
            .borrow_mut()
            .pick(backend, &job.worker.pool, &tried);
        let Some(endpoint) = picked else { break };
        let attempt = Try {
            job,
            target,
            endpoint,
            resend,
            started,
        };
        let (tried, ended) = attempt.run(client, workspace, outcome).await;
        started = tried.end;
        outcome.balance = Some(balance(tried.end));
        outcome.attempts.push(tried);
        match ended {
            Ended::Answered(after) => return Ok(after),
            Ended::Failed(flag) => return Err(flag),
            Ended::MayBeRepeated(flag) => last = Err(flag),
        }
    }
    last
}

/// One attempt about to be made.
struct Try<'a, 'j> {
    job: &'a Job<'j>,
    target: &'a Target<'j>,
    endpoint: usize,
    resend: u32,
    started: Instant,
}

enum Ended {
    Answered(After),
    Failed(Flag),
    /// Failed, and another attempt cannot do harm.
    MayBeRepeated(Flag),
}

impl Try<'_, '_> {
    async fn run(
        &self,
        client: &mut Client,
        workspace: &mut Workspace,
        outcome: &mut Outcome,
    ) -> (Tried, Ended) {
        let Job {
            worker,
            request,
            trace,
            ..
        } = *self.job;
        worker.stats.attempts.add(1);
        let id = worker.ids.borrow_mut().span_id();
        let started = self.started;
        let marks = Marks::default();
        let mut tried = Tried {
            id,
            endpoint: self.endpoint,
            started,
            connected: None,
            sent: None,
            first_byte: None,
            end: started,
            status: None,
            error: None,
            is_reused: false,
        };
        let (lease, mut stream) = match self.connection().await {
            Ok(connection) => connection,
            Err(flag) => {
                tried.error = Some(flag);
                tried.end = Instant::now();
                return (tried, Ended::MayBeRepeated(flag));
            }
        };
        tried.is_reused = lease.is_reused;
        // A connection that was there is had in no time: no reason to ask for it.
        let connected = if lease.is_reused {
            started
        } else {
            Instant::now()
        };
        tried.connected = Some(connected);

        workspace.to_client.clear();
        workspace.to_upstream.clear();
        workspace.from_upstream.reset();
        headers::encode_request(
            &mut workspace.to_upstream,
            request,
            self.target.listener,
            self.job.ends,
            self.job.id,
            trace.propagation(id).as_ref(),
        );
        let exchange = Exchange {
            client: &mut client.stream,
            timer: &mut client.timer,
            upstream: &mut stream,
            request,
            response: &mut workspace.response,
            from_client: &mut workspace.input,
            from_upstream: &mut workspace.from_upstream,
            to_upstream: &mut workspace.to_upstream,
            to_client: &mut workspace.to_client,
            response_timeout: self.target.backend.response_timeout,
            connected,
            is_draining: &worker.is_draining,
        };
        let delivered = exchange.run(&marks).await;
        tried.end = Instant::now();
        tried.sent = marks.sent.get();
        tried.first_byte = marks.first_byte.get();
        tried.status = (marks.status.get() > 0).then(|| marks.status.get());
        outcome.status = marks.status.get();
        outcome.end = Some(tried.end);
        outcome.first_response = marks.first_response.get();
        outcome.is_request_read = marks.sent.get().is_some();
        outcome.malformed = marks.malformed.get();
        outcome.request_body_bytes = marks.request_body_bytes.get();
        outcome.response_body_bytes = marks.response_body_bytes.get();
        match delivered {
            Ok(delivered) => {
                if delivered.keep_upstream {
                    lease.keep(stream, tried.end);
                }
                let after = if delivered.keep_client {
                    After::KeepAlive
                } else {
                    After::Linger
                };
                (tried, Ended::Answered(after))
            }
            Err(flag) => {
                tried.error = Some(flag);
                (tried, self.failed(flag, &marks))
            }
        }
    }

    /// A connection to the endpoint: a kept one, unless the request is being repeated.
    async fn connection(&self) -> Result<(Lease, TcpStream), Flag> {
        let worker = self.job.worker;
        let backend = self.target.backend;
        let freshness = match self.resend {
            0 if is_repeatable(self.job.request) => Freshness::Known,
            0 => Freshness::Checked,
            _ => Freshness::New,
        };
        let mut lease = worker
            .pool
            .lease(backend.endpoints[self.endpoint].address, freshness);
        if let Some(stream) = lease.stream.take() {
            return Ok((lease, stream));
        }
        worker.stats.upstream_connects.add(1);
        let stream = lease
            .connect(backend.connect_timeout)
            .await
            .map_err(|err| match err {
                ConnectError::Timeout => Flag::ConnectTimeout,
                ConnectError::Io(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
                    Flag::ConnectRefused
                }
                ConnectError::Io(_) => Flag::ConnectFailed,
            })?;
        Ok((lease, stream))
    }

    fn failed(&self, flag: Flag, marks: &Marks) -> Ended {
        let is_lost_connection = matches!(flag, Flag::UpstreamClosed | Flag::UpstreamReset);
        let has_answer = marks.first_byte.get().is_some();
        if is_lost_connection && !has_answer && is_repeatable(self.job.request) {
            Ended::MayBeRepeated(flag)
        } else {
            Ended::Failed(flag)
        }
    }
}

/// Whether a request may reach an endpoint twice: its method is idempotent, and there is no body
/// that was already sent. Source: RFC 9110, section 9.2.2.
fn is_repeatable(request: &RequestHead) -> bool {
    let is_idempotent = matches!(
        request.method,
        Method::Get | Method::Head | Method::Options | Method::Put | Method::Delete | Method::Trace
    );
    is_idempotent && matches!(request.framing, Framing::None | Framing::Length(0))
}

/// Tells the client that its request failed, unless it has the beginning of a response or left.
async fn fail(
    job: &Job<'_>,
    flag: Flag,
    client: &mut Client,
    workspace: &mut Workspace,
    outcome: &mut Outcome,
) -> After {
    outcome.flag = Some(flag);
    if flag == Flag::ClientGone || outcome.first_response.is_some() {
        return After::Close;
    }
    let is_read = outcome.is_request_read || job.request.framing == Framing::None;
    let is_staying = flag != Flag::Shutdown && !job.worker.is_draining.get();
    let keep_alive = is_read && job.request.keep_alive && is_staying;
    let (status, sentence) = match outcome.malformed {
        Some(malformed) => (malformed.status(), malformed.reason()),
        None => (failure::status(flag), failure::sentence(flag)),
    };
    outcome.status = status;
    outcome.first_response = Some(Instant::now());
    let trace_id = job.trace.id_to_show();
    workspace.to_client.clear();
    headers::encode_refusal(
        &mut workspace.to_client,
        job.request,
        &Refusal {
            status,
            sentence,
            trace_id: trace_id.as_ref().map(<[u8; 32]>::as_slice),
            keep_alive,
        },
    );
    let is_sent = send(client, &workspace.to_client).await;
    outcome.end = Some(Instant::now());
    match is_sent {
        true if keep_alive => After::KeepAlive,
        true => After::Linger,
        false => After::Close,
    }
}

/// Answers bytes that are not a request, and closes.
pub async fn refuse(client: &mut Client, status: u16, sentence: &str) -> After {
    let request = RequestHead {
        version: Version::Http11,
        ..RequestHead::default()
    };
    let mut out = Vec::new();
    let refusal = Refusal {
        status,
        sentence,
        trace_id: None,
        keep_alive: false,
    };
    headers::encode_refusal(&mut out, &request, &refusal);
    if send(client, &out).await {
        After::Linger
    } else {
        After::Close
    }
}

/// False when the client is gone, or takes nothing for [`DOWNSTREAM_STALL_TIMEOUT`].
async fn send(client: &mut Client, bytes: &[u8]) -> bool {
    client.timer.set(Instant::now() + DOWNSTREAM_STALL_TIMEOUT);
    matches!(
        client.timer.limit(client.stream.write_all(bytes)).await,
        Some(Ok(()))
    )
}

/// Makes the request's spans.
fn record(job: &Job<'_>, found: &Result<Target<'_>, NoTarget<'_>>, outcome: &Outcome) {
    let Job {
        worker,
        request,
        trace,
        arrival,
        ends,
        ..
    } = *job;
    let (route, backend) = match found {
        Ok(target) => (target.route, Some(target.backend)),
        Err(missing) => (missing.route, None),
    };
    let attempts: SmallVec<[Attempt<'_>; 1]> = match backend {
        None => SmallVec::new(),
        Some(backend) => outcome
            .attempts
            .iter()
            .zip(0..)
            .map(|(t, n)| t.told(backend, n))
            .collect(),
    };
    let end = outcome.end.unwrap_or_else(Instant::now);
    worker.recorder.borrow_mut().record(&Segment {
        clock: worker.clock.borrow_mut().anchor(end),
        trace_id: trace.id,
        root: trace.root,
        parent: trace.parent,
        trace_state: &trace.state,
        sampled_flags: trace.flags,
        method: request.method_bytes(),
        is_known_method: request.method != Method::Other,
        path: request.path(),
        scheme: "http",
        host: request.host(),
        user_agent: request.fields.get(Name::UserAgent),
        http_version: if request.version == Version::Http10 {
            "1.0"
        } else {
            "1.1"
        },
        client: ends.peer,
        server: ends.local,
        listener: match found {
            Ok(target) => target.listener.kind,
            Err(_) => ListenerKind::Ingress,
        },
        route,
        backend,
        generation: job.table.generation,
        status: outcome.status,
        flag: outcome.flag,
        request_id: job.id,
        request_body_bytes: outcome.request_body_bytes,
        response_body_bytes: outcome.response_body_bytes,
        start: arrival.start,
        head_read: arrival.head_read,
        end,
        first_response: outcome.first_response,
        balance: outcome.balance,
        attempts: &attempts,
    });
}

impl Tried {
    fn told(self, backend: &Backend, resend_count: u32) -> Attempt<'_> {
        Attempt {
            id: self.id,
            endpoint: &backend.endpoints[self.endpoint],
            started: self.started,
            connected: self.connected.unwrap_or(self.end),
            sent: self.sent.unwrap_or(self.end),
            first_byte: self.first_byte,
            end: self.end,
            status: self.status,
            error: self.error,
            reused: self.is_reused,
            resend_count,
        }
    }
}

/// A request that is being served now, in the counters.
struct Live<'a>(&'a WorkerStats);

impl<'a> Live<'a> {
    fn begin(stats: &'a WorkerStats) -> Self {
        stats.requests.add(1);
        stats.requests_live.add(1);
        Self(stats)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.requests_live.sub_one();
    }
}

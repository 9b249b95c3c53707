//! One attempt: a connection to one endpoint, one exchange over it, and what came of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::body::{Http1Sink, Http1Source, Http2Sink, Http2Source, Http2Stream, Sink, Source};
use crate::buffer::Buffer;
use crate::downstream::Client;
use crate::exchange::{Exchange, Finished, Marks, StayWith};
use crate::forward::{After, Job, Target};
use crate::headers::{self, Told};
use crate::health::Finding;
use crate::instant::Instant;
use crate::live::Slot;
use crate::message::{Fields, Framing};
use crate::pace::Bounds;
use crate::proxy_protocol::Announced;
use crate::retry::{self, Happened, Turn};
use crate::server_timing::{Moments, disclose};
use crate::socket::{Answer, Ask, Socket};
use crate::stream::Shared;
use crate::table::{Backend, OverTls, ServerTiming};
use crate::trace::segment::Fault;
use crate::trace::{Attempt, Blocked, Flag, Net, Observed, SpanId, TlsSession};
use crate::upstream::http2::Seat;
use crate::upstream::{ConnectError, Connection, Dial, Earlier, Freshness, Lease, Steps};
use crate::worker::Workspace;

/// An attempt about to be made.
pub struct Try<'a, 'j> {
    pub job: &'a Job<'j>,
    pub target: &'a Target<'j>,
    /// By its index in the backend.
    pub endpoint: usize,
    /// The requests that are there already.
    pub ahead: u32,
    /// Whether the client has to be told by a cookie, where the backend has affinity.
    pub is_new_to_client: bool,
    pub turn: &'a Turn<'a>,
    /// When the backend was looked up.
    pub balanced: Instant,
    pub started: Instant,
}

/// An attempt that is over.
pub struct Tried {
    pub endpoint: usize,
    pub is_reused: bool,
    pub end: Instant,
    pub marks: Marks,
    ahead: u32,
    id: SpanId,
    /// When its turn came.
    pub started: Instant,
    /// What it has waited for that.
    queued: Duration,
    steps: Steps,
    connected: Option<Instant>,
    /// What the endpoint took to say that it takes requests, on a connection that was there.
    unready: Duration,
    error: Option<Flag>,
    reason: Option<Box<str>>,
    /// Whether another attempt has told of the failure: several have waited for one connection.
    is_old_news: bool,
    tls: Option<TlsSession>,
    http_version: &'static str,
    net: Observed,
}

/// How an attempt ended.
pub enum Ended {
    Answered(After),
    Failed(Flag),
    /// Failed, and another attempt cannot do harm.
    MayBeRepeated(Flag),
}

impl Try<'_, '_> {
    /// What is known of the attempt before it is made.
    pub fn begin(&self) -> Tried {
        Tried {
            endpoint: self.endpoint,
            is_reused: false,
            end: self.started,
            marks: Marks::default(),
            ahead: self.ahead,
            id: self.job.worker.ids.borrow_mut().span_id(),
            started: self.started,
            queued: Duration::ZERO,
            steps: Steps::default(),
            connected: None,
            unready: Duration::ZERO,
            error: None,
            reason: None,
            is_old_news: false,
            tls: None,
            http_version: "",
            net: Observed::Off,
        }
    }

    /// Makes the attempt, and notes what came of it in `tried`, which is large and not moved.
    ///
    /// # Cancel safety
    /// As [`Exchange::run`]: a dropped call closes the endpoint's connection.
    pub async fn run(
        &self,
        client: &mut Client,
        workspace: &mut Workspace,
        tried: &mut Tried,
    ) -> Ended {
        let worker = self.job.worker;
        worker.stats.attempts.add(1);
        self.job.live.attempt(self.endpoint, self.started);
        let waiting = (&*client, &mut workspace.input);
        let connected = self.connection(waiting, &tried.steps).await;
        if let Some(turn) = self.job.live.turn(self.started, Instant::now) {
            tried.queued = turn.saturating_duration_since(self.started);
            tried.started = turn;
        }
        let (lease, connection) = match connected {
            Ok(connection) => connection,
            Err(error) => {
                let is_queued = self.job.live.is_queued();
                tried.is_old_news = is_queued || !error.is_news();
                let ConnectError { flag, reason, .. } = error;
                tried.end = if is_queued {
                    tried.started
                } else {
                    Instant::now()
                };
                tried.error = Some(flag);
                tried.reason = reason;
                let happened = match flag {
                    Flag::RequestTimeout | Flag::ClientGone => return Ended::Failed(flag),
                    Flag::ConnectionsFull | Flag::QueueTimeout => Happened::Full,
                    _ => Happened::NotConnected,
                };
                return self.failed(flag, Some(happened), tried.end);
            }
        };
        tried.tls = connection.tls();
        tried.http_version = connection.http_version();
        tried.is_reused = lease.is_reused;
        // A connection that was there is had in no time: no reason to ask for it.
        if lease.has_waited {
            let now = Instant::now();
            let connected = tried.steps.connected.get().unwrap_or(now);
            tried.unready = now.saturating_duration_since(connected);
            tried.connected = Some(connected);
            tried.end = now;
        } else {
            tried.connected = Some(self.started);
            tried.end = self.started;
        }
        workspace.to_client.clear();
        let finished = match connection {
            Connection::Http1(stream) => {
                self.over_http1(client, workspace, (lease, stream), tried)
                    .await
            }
            Connection::Http2(seat) => self.over_http2(client, workspace, seat, tried).await,
        };
        match finished {
            Ok(Finished::Delivered { keep_client, .. }) => Ended::Answered(if keep_client {
                After::KeepAlive
            } else {
                After::Linger
            }),
            Ok(Finished::HeldBack) => Ended::MayBeRepeated(Flag::UpstreamStatus),
            Err(flag) => {
                tried.error = Some(flag);
                let marks = &tried.marks;
                let has_answer = marks.first_byte.get().is_some();
                let is_untouched = marks.is_unprocessed.get() && self.job.live.received.get() == 0;
                let happened = if is_untouched {
                    Some(Happened::Unprocessed)
                } else {
                    retry::what_happened(flag, has_answer)
                };
                self.failed(flag, happened, tried.end)
            }
        }
    }

    /// A connection to the endpoint: a kept one, unless the request is being repeated. It is waited
    /// for as long as the client is there.
    async fn connection(
        &self,
        (client, input): (&Client, &mut Buffer),
        steps: &Steps,
    ) -> Result<(Lease, Connection), ConnectError> {
        let worker = self.job.worker;
        let backend = self.target.backend;
        let freshness = match self.turn.resend {
            0 if retry::is_repeatable(self.job.request) => Freshness::Known,
            0 => Freshness::Checked,
            _ => Freshness::New,
        };
        let destination = backend.destination(self.endpoint);
        let generation = self.job.generation();
        let pool = &worker.pool;
        let mut lease = pool.lease(destination, generation, freshness, self.started);
        if let Some(connection) = lease.at_hand() {
            return Ok((lease, connection));
        }
        let dial = Dial {
            backend,
            endpoint: destination.address,
            announced: Announced {
                source: self.job.ends.client,
                destination: self.job.ends.local,
            },
            until: self.turn.ends(self.started),
        };
        let opening = lease.connection(&dial, steps, self.job.live.slot());
        // On the heap, so that clients' connections are not larger for it while they do not wait.
        let opened = Box::pin(client.while_there(opening, input)).await;
        let opened = opened.unwrap_or_else(|| Err(Flag::ClientGone.into()));
        let connection = opened.map_err(|err| match err.flag {
            Flag::ConnectTimeout | Flag::QueueTimeout if self.turn.is_over() => ConnectError {
                flag: Flag::RequestTimeout,
                ..err
            },
            _ => err,
        })?;
        Ok((lease, connection))
    }

    async fn over_http1(
        &self,
        client: &mut Client,
        workspace: &mut Workspace,
        (lease, stream): (Lease, Rc<Shared>),
        tried: &mut Tried,
    ) -> Result<Finished, Flag> {
        let request = self.job.request;
        let Workspace {
            to_upstream,
            from_upstream,
            ..
        } = workspace;
        let (mut out, mut buffer) = (std::mem::take(to_upstream), std::mem::take(from_upstream));
        out.clear();
        buffer.reset();
        headers::encode_request(&mut out, request, &self.told(tried));
        let is_observed = self.job.is_observed() && stream.with_socket(Socket::observe);
        if is_observed && !lease.is_reused {
            // At once: others that wait for their answers now are judged by it, too.
            let at = tried.connected.unwrap_or(self.started);
            lease.note_round_trip(stream.with_socket(Socket::handshake_us), at);
        }
        stream.with_socket(Socket::note_arrivals);
        let sink = Http1Sink::new(&stream, &mut out, request.framing);
        let mut sink = Sink::Http1(sink.asking(if is_observed { Ask::Last } else { Ask::Nothing }));
        let mut source = Source::Http1(Http1Source::new(&stream, &mut buffer, Framing::None));
        let sides = (&mut sink, &mut source);
        let finished = self.exchange(client, workspace, sides, tried).await;
        (workspace.to_upstream, workspace.from_upstream) = (out, buffer);
        if self.job.is_observed() {
            let answer = stream.with_socket(|socket| socket.answer(tried.end));
            tried.net = observed(&lease, answer, tried, self.job.live);
        }
        if let Ok(Finished::Delivered {
            keep_upstream: true,
            ..
        }) = finished
            && !request.authenticates_connection()
        {
            lease.keep(stream, tried.end);
        }
        finished
    }

    async fn over_http2(
        &self,
        client: &mut Client,
        workspace: &mut Workspace,
        mut seat: Seat,
        tried: &mut Tried,
    ) -> Result<Finished, Flag> {
        let request = self.job.request;
        let head = headers::request(request, &self.told(tried)).ok_or(Flag::BadRequest)?;
        let begun = seat.begin(head, !request.has_body());
        let Ok((answer, send)) = begun else {
            tried.marks.is_unprocessed.set(true);
            tried.end = Instant::now();
            return Err(Flag::UpstreamClosed);
        };
        let send = RefCell::new(Http2Stream {
            respond: None,
            send: Some(send),
        });
        let mut receive = None;
        let mut sink = Sink::Http2(Http2Sink::of_request(&send, !request.has_body()));
        let mut source = Source::Http2(Http2Source::of_response(&mut receive, Some(answer)));
        let sides = (&mut sink, &mut source);
        let finished = self.exchange(client, workspace, sides, tried).await;
        if matches!(finished, Err(Flag::UpstreamTimeout | Flag::RequestTimeout)) {
            seat.timed_out();
        }
        if self.job.is_observed() {
            tried.net = seat.look();
        }
        finished
    }

    async fn exchange<'s>(
        &self,
        client: &'s mut Client,
        workspace: &'s mut Workspace,
        (to_upstream, from_upstream): (&mut Sink<'s>, &mut Source<'s>),
        tried: &mut Tried,
    ) -> Result<Finished, Flag> {
        let (request, policy) = (self.job.request, self.target.policy);
        let editor = self.job.editor(policy.response_headers.as_ref());
        let connected = tried.connected;
        let level = self.job.server_timing(Some(policy));
        let is_told = level != ServerTiming::Off;
        let add = |fields: &mut Fields, marks: &Marks| {
            let first_byte = marks.first_byte.get();
            let moments = Moments {
                balanced: Some(self.balanced),
                started: Some(self.started),
                connected,
                sent: marks.sent.get().or(first_byte),
                first_byte,
                ..Moments::of(self.job.arrival.head_read)
            };
            disclose(fields, level, self.job.trace, &moments);
        };
        // Of unknown length, to an endpoint that does not spend a thread on it.
        let is_stream =
            request.framing == Framing::Chunked && matches!(to_upstream, Sink::Http2(_));
        let mut opened = client.open(
            request.framing,
            &mut workspace.input,
            &mut workspace.to_client,
        );
        let exchange = Exchange {
            request,
            response: &mut workspace.response,
            from_client: &mut opened.body,
            to_upstream,
            from_upstream,
            to_client: &mut opened.reply,
            timer: opened.timer,
            bounds: self.bounds(is_stream),
            live: self.job.live,
            body_bytes_max: policy.request_body_bytes_max.unwrap_or(u64::MAX),
            request_edits: policy.request_headers.as_ref(),
            is_held_back: &|status, now| self.turn.may_repeat(Happened::Status(status), now),
            editor: editor.as_ref(),
            connected: tried.end,
            is_draining: &self.job.worker.is_draining,
            stay: self.stay(),
            disclose: is_told.then_some(&add),
        };
        let finished = exchange.run(&tried.marks).await;
        tried.end = Instant::now();
        finished
    }

    fn told(&self, tried: &Tried) -> Told<'_> {
        let edits = self.target.policy.request_headers.as_ref();
        Told {
            listener: self.target.listener,
            ends: self.job.ends,
            origin: self.job.origin.told(),
            tls: self.job.origin.tls(),
            scheme: if tried.tls.is_some() { "https" } else { "http" },
            request_id: self.job.id,
            propagation: self.job.trace.propagation(tried.id, self.target.policy),
            path: self.target.path.as_deref(),
            editor: self.job.editor(edits),
        }
    }

    fn stay(&self) -> Option<StayWith<'_>> {
        let affinity = self.target.backend.affinity.as_ref()?;
        self.is_new_to_client.then_some(StayWith {
            affinity,
            endpoint: self.endpoint,
            over_tls: OverTls(self.target.listener.tls),
        })
    }

    fn bounds(&self, is_stream: bool) -> Bounds {
        let policy = self.target.policy;
        Bounds {
            read: policy.read_timeout,
            send: policy.send_timeout,
            client: policy.client_timeout,
            client_bytes_per_s_min: policy.client_bytes_per_s_min,
            is_stream,
            tunnel: policy.tunnel_timeout,
            request: self.turn.deadline,
            // A request with a body is not repeated, and how long it takes is the client's affair.
            first_byte: policy
                .retry
                .per_try_timeout
                .filter(|_| !self.job.request.has_body())
                .map(|timeout| self.started + timeout),
        }
    }

    fn failed(&self, flag: Flag, happened: Option<Happened>, now: Instant) -> Ended {
        if happened.is_some_and(|happened| self.turn.may_repeat(happened, now)) {
            Ended::MayBeRepeated(flag)
        } else {
            Ended::Failed(flag)
        }
    }
}

/// What the kernel told of an attempt over a connection of its own.
fn observed(lease: &Lease, answer: Option<Answer>, tried: &Tried, live: &Slot) -> Observed {
    let Some(Answer {
        acknowledged,
        now,
        before,
    }) = answer
    else {
        return Observed::Refused;
    };
    let net = Net::between(&before, &now);
    let new = Some(before).filter(|_| !lease.is_reused);
    if net.retransmits > 0 {
        lease.note_loss(tried.end);
    }
    let has_body = live.received.get() > 0;
    Observed::Told(Net {
        acknowledged,
        arrived: tried.marks.arrived.get(),
        round_trip_us: lease.round_trip(tried.end).unwrap_or(net.round_trip_us),
        is_lossy: lease.is_lossy(tried.end),
        handshake_us: new.and_then(|new| new.handshake_us()).unwrap_or(0),
        handshake_retransmits: new.map_or(0, |new| new.retransmits),
        window_us: if has_body { net.window_us } else { 0 },
        ..net
    })
}

impl Tried {
    /// The attempt as the choice of the next endpoint sees it. A kept connection that turned out to
    /// be closed tells nothing about its endpoint; one that takes no more requests, is late or
    /// answers with an error may do better the next time.
    pub fn earlier(&self) -> Earlier {
        let is_fatal = match self.error {
            None | Some(Flag::UpstreamTimeout) => false,
            Some(_) => !self.is_reused && !self.marks.is_unprocessed.get(),
        };
        Earlier {
            endpoint: self.endpoint,
            has_failed: is_fatal,
        }
    }

    /// Whether the request, if it took longer than usual, may have been under way for longer than the
    /// round trip that is believed in.
    pub fn is_doubtful(&self) -> bool {
        let sent = self.marks.sent.get();
        match (&self.net, sent) {
            (Observed::Told(net), Some(sent)) => net.is_doubtful(sent),
            _ => false,
        }
    }

    /// What the attempt tells about the health of its endpoint; no more than [`Tried::earlier`] does.
    pub fn finding(&self) -> Finding {
        let answered = self.marks.first_byte.get().unwrap_or(self.end);
        let latency = answered.saturating_duration_since(self.started);
        let is_stale = self.is_reused && self.marks.first_byte.get().is_none();
        match self.error {
            Some(Flag::UpstreamClosed | Flag::UpstreamReset) if is_stale => Finding::Nothing,
            Some(_) if self.is_old_news || self.marks.is_unprocessed.get() => Finding::Nothing,
            Some(flag) if flag.fault() == Fault::Upstream => Finding::Failed(latency),
            _ => match self.marks.status.get() {
                0 => Finding::Nothing,
                502..=504 => Finding::Failed(latency),
                _ => Finding::Well(latency),
            },
        }
    }

    /// How far the request came with it.
    pub fn moments(&self) -> Moments {
        let first_byte = self.marks.first_byte.get();
        Moments {
            started: Some(self.started),
            connected: self.connected,
            sent: self.marks.sent.get().or(first_byte),
            first_byte,
            ..Moments::of(self.started)
        }
    }

    /// The attempt as its span tells it; `backend` is the one that it was made for.
    pub fn told<'a>(&'a self, backend: &'a Backend, resend_count: u32) -> Attempt<'a> {
        let status = self.marks.status.get();
        Attempt {
            id: self.id,
            endpoint: &backend.endpoints[self.endpoint],
            started: self.started,
            queued: self.queued,
            handshake_started: self.steps.handshake_started.get(),
            connected: self.connected.unwrap_or(self.end),
            sent: self.marks.sent.get().unwrap_or(self.end),
            first_byte: self.marks.first_byte.get(),
            end: self.end,
            status: (status > 0).then_some(status),
            grpc_status: self.marks.grpc_status.get(),
            error: self.error,
            reason: self.reason.as_deref(),
            tls: self.tls,
            http_version: self.http_version,
            reused: self.is_reused,
            resend_count,
            ahead: self.ahead,
            blocked: Blocked {
                by_client: self.marks.blocked_by_client.get(),
                by_endpoint: self.marks.blocked_by_endpoint.get(),
                unready: self.unready,
            },
            net: &self.net,
        }
    }
}

//! The life of a request: found, admitted, balanced, sent, answered, recorded.
//!
//! One function per step, in that order. A request loads the table once and uses it to its end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::access_log::Line;
use crate::admission::{Admitted, Turned, admit};
use crate::attempt::{Ended, Tried, Try};
use crate::downstream::{Client, Origin};
use crate::editor::Editor;
use crate::exchange::Marks;
use crate::failure::{self, MOVED};
use crate::grpc;
use crate::headers::{Ends, Refusal};
use crate::instant::Instant;
use crate::limits::DELIVERY_WAIT_MAX;
use crate::live::{Live, Phase};
use crate::message::{Fields, Name, RequestHead, ResponseHead};
use crate::metrics::Observed;
use crate::origin;
use crate::propagation::{Asked, Trace};
use crate::queueing::Queued;
use crate::retry::Turn;
use crate::server_timing::{Moments, disclose};
use crate::stream::End;
use crate::table::{
    Backend, Facts, HeaderEdits, KernelTimestamps, Listener, ListenerKind, Route, RoutePolicy,
    ServerTiming, Table,
};
use crate::tls::Tls;
use crate::trace::bucket::Bucket;
use crate::trace::tail::{self, Latencies};
use crate::trace::{
    Attempt, Balance, By, Call, Choice, Decision, Flag, Judgement, Net, Phases, Segment, Timeline,
    TracingPolicy, Verdict,
};
use crate::upstream::{Asker, Earlier};
use crate::worker::{Snapshot, Worker, Workspace};

/// When a request came.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// Its first byte.
    pub start: Instant,
    /// The end of its head.
    pub head_read: Instant,
    /// When the first byte had come to our kernel, where that tells.
    pub arrived: Option<Instant>,
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
pub struct Job<'a> {
    pub worker: &'a Worker,
    table: &'a Snapshot,
    pub request: &'a RequestHead,
    pub trace: &'a Trace<'a>,
    /// Where it is noted how far the request has come.
    pub live: &'a Live<'a>,
    /// The client's connection.
    pub origin: &'a Origin,
    /// Its ends, and who asks, as far as trusted proxies tell.
    pub ends: &'a Ends,
    /// 32 hex digits, or what the client said.
    pub id: &'a [u8],
    pub arrival: Arrival,
}

impl<'a> Job<'a> {
    /// What the client is told of its trace; nothing where there is none.
    pub fn server_timing(&self, policy: Option<&RoutePolicy>) -> ServerTiming {
        let own = policy.and_then(|policy| policy.server_timing);
        match own.unwrap_or(self.table.tracing.server_timing) {
            _ if self.trace.decision == Decision::Off => ServerTiming::Off,
            level => level,
        }
    }

    /// That of the table which the request is served by.
    pub fn generation(&self) -> u64 {
        self.table.generation
    }

    /// The request, as a policy's variables name it.
    fn facts(&self) -> Facts<'a> {
        Facts {
            client: self.ends.client.ip(),
            scheme: self.ends.scheme,
            authority: self.request.authority(),
            host: self.request.host(),
            path: path_to_match(self.request),
            query: self.request.query(),
            request_id: self.id,
            trace_id: self.trace.id_to_show(),
        }
    }

    /// Whether the kernel is asked what it saw of the request.
    pub fn is_observed(&self) -> bool {
        match self.table.tracing.kernel_timestamps {
            KernelTimestamps::Off => false,
            KernelTimestamps::Sampled => matches!(self.trace.decision, Decision::Sampled(_)),
            KernelTimestamps::All => true,
        }
    }

    /// These edits, with the facts of the request.
    pub fn editor(&self, edits: Option<&'a HeaderEdits>) -> Option<Editor<'a>> {
        let edits = edits?;
        Some(Editor {
            edits,
            facts: self.facts(),
        })
    }
}

/// What became of it so far.
#[derive(Default)]
struct Outcome {
    /// The status that the client got; 0 while it got none.
    status: u16,
    flag: Option<Flag>,
    /// How a gRPC call ended for the client.
    grpc_status: Option<grpc::Status>,
    first_response: Option<Instant>,
    /// The last response byte, or the end of the last attempt.
    end: Option<Instant>,
    balance: Option<Balance>,
    attempts: SmallVec<[Tried; 1]>,
    /// What the kernel told of the client's connection.
    client_net: Option<Net>,
    /// When the client's kernel had the response, where it was asked.
    delivered: Option<Instant>,
    /// How the client has ended what it sends.
    client_end: Option<End>,
}

impl Outcome {
    /// Takes over what the last attempt came to; `told` is the status that the client was told,
    /// which is another one over HTTP/2 where the endpoint switched protocols.
    fn conclude(&mut self, told: u16) {
        let Some(tried) = self.attempts.last() else {
            return;
        };
        self.status = match tried.marks.status.get() {
            101 => told,
            status => status,
        };
        self.grpc_status = tried.marks.grpc_status.get();
        self.first_response = tried.marks.first_response.get();
        self.end = Some(tried.end);
        if let Some(balance) = &mut self.balance {
            balance.end = tried.end;
        }
    }

    /// The attempts as their spans tell them; `backend` is the one that they were made for.
    fn told<'a>(&'a self, backend: &'a Backend) -> impl Iterator<Item = Attempt<'a>> {
        let attempts = self.attempts.iter().zip(0..);
        attempts.map(|(tried, resend)| tried.told(backend, resend))
    }

    /// How far the last attempt came; the others ended before a byte of the request was read.
    fn marks(&self) -> Option<&Marks> {
        self.attempts.last().map(|tried| &tried.marks)
    }
}

/// Where a request goes: by a route, or straight to the backend of a service listener.
pub struct Target<'a> {
    pub listener: &'a Listener,
    route: Option<&'a Arc<Route>>,
    pub backend: &'a Arc<Backend>,
    pub policy: &'a RoutePolicy,
    /// The path for the endpoint, where the policy rewrites it.
    pub path: Option<Vec<u8>>,
}

/// Why a request has no target, and how far the search came.
struct NoTarget<'a> {
    flag: Flag,
    route: Option<&'a Arc<Route>>,
}

/// Serves the request in `workspace.request`, whatever becomes of it, and records what happened.
pub async fn forward(
    worker: &Worker,
    client: &mut Client,
    workspace: &mut Workspace,
    arrival: Arrival,
) -> After {
    let table = worker.table();
    let request = Rc::clone(&workspace.request);
    let origin = Rc::clone(&client.origin);
    let made_id;
    let id = if let Some(id) = request.fields.get(Name::XRequestId) {
        id
    } else {
        made_id = worker.ids.borrow_mut().trace_id().to_hex();
        &made_id
    };
    let listener = table.listener(origin.listener);
    let ends = listener.map(|listener| origin::resolved(&origin.ends, listener, &request));
    let ends = ends.as_deref().unwrap_or(&origin.ends);
    let mut found = if worker.is_full() {
        worker.stats.shed.add(1);
        Err(NoTarget {
            flag: Flag::Overload,
            route: None,
        })
    } else {
        find(&table, listener, &request, (origin.tls(), ends.scheme))
    };
    let policy = tracing_policy(&table, &found);
    let asked = Asked {
        tracing: &table.tracing,
        policy,
        route: route(&found).map(|route| &*route.path),
        listener,
        ends,
        now: arrival.head_read,
    };
    let trace = Trace::begin(worker, &request, &asked);
    let came = (ends, origin.listener);
    let live = Live::request(worker, workspace, &table, &trace, came, arrival);
    let job = Job {
        worker,
        table: &table,
        request: &request,
        trace: &trace,
        live: &live,
        origin: &origin,
        ends,
        id,
        arrival,
    };
    let mut outcome = Outcome::default();
    client.observe(job.is_observed());
    client.note_last(&request);
    let served = match &mut found {
        Ok(target) => {
            client.patience = target.listener.times;
            serve(&job, target, client, workspace, &mut outcome).await
        }
        Err(missing) => Err(Turned::Away(missing.flag)),
    };
    let after = match served {
        Ok(after) => after,
        Err(turned) => {
            let policy = found.as_ref().ok().map(|target| target.policy);
            turn(&job, turned, policy, client, workspace, &mut outcome).await
        }
    };
    worker.stats.responses[usize::from(outcome.status / 100).min(5)].add(1);
    if job.is_observed() {
        if after == After::KeepAlive
            && workspace.input.is_empty()
            && !worker.is_draining.get()
            && let Some((at, net)) = client.delivered(DELIVERY_WAIT_MAX).await
        {
            outcome.delivered = Some(at);
            outcome.client_net = net;
        }
        let now = || outcome.end.unwrap_or_else(Instant::now);
        outcome.client_net = outcome.client_net.or_else(|| client.look(now()));
    }
    outcome.client_end = client.ended();
    if let Some(end) = outcome.end {
        // Nothing was waited for since then but the client itself: no reason to look at the clock.
        client.timer.set(end + client.patience.idle);
    }
    record(&job, policy, &found, &outcome, &workspace.response);
    after
}

/// Looks up what answers the request, which came over `tls`, and was asked with `scheme`.
fn find<'a>(
    table: &'a Table,
    listener: Option<&'a Listener>,
    request: &RequestHead,
    (tls, scheme): (Option<&Tls>, &str),
) -> Result<Target<'a>, NoTarget<'a>> {
    let none = |flag| NoTarget { flag, route: None };
    let listener = listener.ok_or(none(Flag::Shutdown))?;
    let (route, key, policy) = if let Some(key) = &listener.backend {
        (None, key, table.policy(listener.policy.as_deref()))
    } else {
        let matched = table.route(request.host(), path_to_match(request));
        let matched = matched.ok_or(none(Flag::NoRoute))?;
        let route = matched.route;
        let policy = table.policy(route.policy.as_deref());
        let is_served = match (tls, scheme) {
            (Some(tls), _) => tls.may_ask_for(table, request.host(), matched.host),
            (None, "http") if policy.https_only => true, // To be told where to go.
            (None, _) => table.is_served_without_tls(request.host(), matched.host),
        };
        if !is_served {
            return Err(none(Flag::Misdirected));
        }
        if table.is_ambiguous(request.host(), path_to_match(request), &matched) {
            return Err(none(Flag::BadRequest));
        }
        (Some(route), &route.backend, policy)
    };
    match table.backend(key) {
        Some(backend) => Ok(Target {
            listener,
            route,
            backend,
            policy,
            path: None,
        }),
        None => Err(NoTarget {
            flag: Flag::NoBackend,
            route,
        }),
    }
}

fn route<'a>(found: &Result<Target<'a>, NoTarget<'a>>) -> Option<&'a Arc<Route>> {
    match found {
        Ok(target) => target.route,
        Err(missing) => missing.route,
    }
}

/// How the request is traced: as its route says, else as the table does.
fn tracing_policy<'a>(
    table: &'a Table,
    found: &Result<Target<'a>, NoTarget<'a>>,
) -> &'a TracingPolicy {
    let policy = match found {
        Ok(target) => Some(target.policy),
        Err(missing) => missing
            .route
            .map(|route| &**table.policy(route.policy.as_deref())),
    };
    let tracing = policy.and_then(|policy| policy.tracing.as_deref());
    tracing.unwrap_or(&table.tracing.policy)
}

/// The path that rules are matched with. `OPTIONS *` asks about the host as a whole: who answers
/// for its root answers for it.
pub fn path_to_match(request: &RequestHead) -> &[u8] {
    match request.path() {
        b"*" => b"/",
        path => path,
    }
}

/// Serves a request whose target is known: admitted first, then balanced.
async fn serve(
    job: &Job<'_>,
    target: &mut Target<'_>,
    client: &mut Client,
    workspace: &mut Workspace,
    outcome: &mut Outcome,
) -> Result<After, Turned> {
    if !target.policy.admits_all {
        let Admitted { path } = admit(target.policy, job.request, &job.facts())?;
        target.path = path;
    }
    let balanced = balance(job, target, client, workspace, outcome).await;
    balanced.map_err(Turned::Away)
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
    let (worker, backend) = (job.worker, target.backend);
    // Read anew: what our own decisions took since the head was there is the phase `route`.
    let start = Instant::now();
    outcome.balance = Some(Balance {
        id: worker.ids.borrow_mut().span_id(),
        start,
        end: start,
        queue: Duration::ZERO,
        choice: Choice::default(),
        retry_denied: None,
    });
    let retry = &target.policy.retry;
    let deadline = deadline(job, target.policy);
    let waiting = (&mut *client, &mut workspace.input);
    let queued = Queued::to(backend, start, deadline, waiting, job.live).await;
    let start = start + queued.queue;
    if let Some(balance) = &mut outcome.balance {
        balance.queue = queued.queue;
        balance.end = start;
    }
    let _place = queued.result?;
    let budget = &backend.load.budget;
    if retry.attempts > 1 {
        budget.request(start);
    }
    let asker = Asker {
        client: job.ends.client.ip(),
        fields: &job.request.fields,
    };
    let mut last = Err(if backend.missing.is_empty() {
        Flag::NoEndpoints
    } else {
        Flag::NoBackend
    });
    let mut is_paid = false;
    for resend in 0..retry.attempts {
        let turn = Turn {
            request: job.request,
            retry,
            budget,
            resend,
            deadline,
            denied: Cell::new(None),
            is_paid: Cell::new(false),
        };
        let earlier: SmallVec<[Earlier; 3]> = outcome.attempts.iter().map(Tried::earlier).collect();
        let started = outcome.end.unwrap_or(start);
        let picked = worker
            .balancer
            .borrow_mut()
            .pick(backend, &asker, &earlier, started);
        let is_over = turn.is_over();
        let Some(picked) = picked.filter(|_| !is_over) else {
            if is_paid {
                budget.give_back(started);
            }
            return if is_over {
                Err(Flag::RequestTimeout)
            } else {
                last
            };
        };
        worker.stats.retries.add(u64::from(resend > 0));
        if let Some(balance) = &mut outcome.balance {
            balance.choice = picked.choice;
        }
        let attempt = Try {
            job,
            target,
            endpoint: picked.endpoint,
            ahead: picked.ahead,
            is_new_to_client: picked.is_new_to_client(),
            turn: &turn,
            balanced: start,
            started,
        };
        outcome.attempts.push(attempt.begin());
        let tried = &mut outcome.attempts[resend as usize];
        let ended = attempt.run(client, workspace, tried).await;
        is_paid = turn.is_paid.get();
        if picked.report(backend, tried.finding(), tried.end) {
            worker.stats.ejections.add(1);
        }
        outcome.conclude(job.live.status.get());
        if let Some(denied) = turn.denied.get() {
            worker.stats.retries_denied.add(1);
            if let Some(balance) = &mut outcome.balance {
                balance.retry_denied = Some(denied);
            }
        }
        match ended {
            Ended::Answered(after) => return Ok(after),
            Ended::Failed(flag) => return Err(flag),
            Ended::MayBeRepeated(flag) => last = Err(flag),
        }
    }
    last
}

/// When the request must be over: by its route, or by what a gRPC client said.
fn deadline(job: &Job<'_>, policy: &RoutePolicy) -> Option<Instant> {
    let patience = grpc::timeout(job.request).filter(|_| grpc::is_grpc(job.request));
    let allowed = [policy.request_timeout, patience].into_iter().flatten();
    Some(job.arrival.start + allowed.min()?)
}

/// Answers a request ourselves, unless the client has the beginning of a response or left.
async fn turn(
    job: &Job<'_>,
    turned: Turned,
    policy: Option<&RoutePolicy>,
    client: &mut Client,
    workspace: &mut Workspace,
    outcome: &mut Outcome,
) -> After {
    if let Turned::Away(flag) = turned {
        outcome.flag = Some(flag);
    }
    if outcome.flag == Some(Flag::ClientGone) || outcome.first_response.is_some() {
        return After::Close;
    }
    let is_sent_on = outcome
        .marks()
        .is_some_and(|marks| marks.sent.get().is_some());
    let is_read = is_sent_on || !job.request.has_body();
    let is_leaving = matches!(outcome.flag, Some(Flag::Shutdown | Flag::Overload));
    let is_staying = !is_leaving && !job.worker.is_draining.get();
    let keep_alive = is_read && job.request.keep_alive && is_staying;
    let malformed = outcome.marks().and_then(|marks| marks.malformed.get());
    let (status, sentence, location) = match (&turned, malformed) {
        (Turned::To(moved), _) => (moved.status, MOVED, Some(&*moved.location)),
        (Turned::Away(_), Some(malformed)) => (malformed.status(), malformed.reason(), None),
        (Turned::Away(flag), None) => (failure::status(*flag), failure::sentence(*flag), None),
    };
    let now = Instant::now();
    outcome.status = status;
    if grpc::is_grpc(job.request) {
        outcome.status = 200;
        outcome.grpc_status = Some(grpc::Status::for_http(status));
    }
    outcome.first_response = Some(now);
    job.live.status.set(outcome.status);
    job.live.enter(Phase::Respond, now);
    let trace_id = job.trace.id_to_show();
    let editor = job.editor(policy.and_then(|policy| policy.response_headers.as_ref()));
    let mut disclosed = Fields::default();
    let level = job.server_timing(policy);
    if level != ServerTiming::Off {
        let last = outcome.attempts.last().map(Tried::moments);
        let moments = Moments {
            head_read: job.arrival.head_read,
            balanced: outcome.balance.map(|balance| balance.start),
            ..last.unwrap_or(Moments::of(job.arrival.head_read))
        };
        disclose(&mut disclosed, level, job.trace, &moments);
    }
    let refusal = Refusal {
        status,
        flag: outcome.flag,
        sentence,
        trace_id: trace_id.as_ref().map(<[u8; 32]>::as_slice),
        location,
        disclosed: Some(&disclosed),
        editor: editor.as_ref(),
        retry_after_s: outcome.flag.and_then(failure::retry_after_s),
        keep_alive,
    };
    let refused = client.refuse(job.request, &refusal, &mut workspace.to_client);
    let is_sent = refused.await;
    outcome.end = Some(Instant::now());
    match is_sent {
        true if keep_alive => After::KeepAlive,
        true => After::Linger,
        false => After::Close,
    }
}

/// Counts the request and logs it, and makes its spans if it is sampled or was worth it.
fn record(
    job: &Job<'_>,
    policy: &TracingPolicy,
    found: &Result<Target<'_>, NoTarget<'_>>,
    outcome: &Outcome,
    response: &ResponseHead,
) {
    let Job {
        worker,
        request,
        trace,
        arrival,
        ends,
        ..
    } = *job;
    let (sampled_by, tail) = match (trace.decision, &policy.tail) {
        (Decision::Sampled(by), _) => (Some(by), None),
        (Decision::Unsampled, tail) => (None, tail.as_ref()),
        (Decision::Off, _) => (None, None),
    };
    let route = route(found);
    let backend = found.as_ref().ok().map(|target| target.backend);
    let mut attempts = SmallVec::<[Attempt<'_>; 1]>::new();
    if let Some(backend) = backend {
        attempts.extend(outcome.told(backend));
    }
    let marks = outcome.marks();
    let end = outcome.end.unwrap_or_else(Instant::now);
    let clock = worker.clock.borrow_mut().anchor(end);
    let request_body_bytes = job.live.received.get();
    let response_body_bytes = job.live.sent.get();
    let is_passed_on = marks.is_some_and(|marks| marks.first_response.get().is_some());
    let mut segment = Segment {
        clock,
        trace_id: trace.id,
        root: trace.root,
        parent: trace.parent,
        link: trace.link,
        publisher: None,
        trace_state: &trace.state,
        sampled_flags: trace.flags,
        sampled_by: sampled_by.unwrap_or(By::All),
        method: request.method_bytes(),
        known_method: request.method.name(),
        path: request.path(),
        query: request.query(),
        scheme: ends.scheme,
        tls_attributes: job.origin.tls().map_or(&[], |tls| &tls.attributes),
        host: request.host(),
        user_agent: request.fields.get(Name::UserAgent),
        http_version: request.version.as_str(),
        client: ends.client,
        network_peer: ends.network_peer,
        server: ends.local,
        ends_attributes: (ends.client == job.origin.ends.client).then(|| job.origin.attributes()),
        listener: match found {
            Ok(target) => target.listener.kind,
            Err(_) => ListenerKind::Ingress,
        },
        route: route.map(Arc::as_ref),
        rewritten_path: found
            .as_ref()
            .ok()
            .and_then(|target| target.path.as_deref()),
        backend: backend.map(Arc::as_ref),
        generation: job.table.generation,
        status: outcome.status,
        flag: outcome.flag,
        call: grpc::is_grpc(request).then_some(Call {
            status: outcome.grpc_status,
        }),
        request_id: job.id,
        detail: &job.table.tracing.detail,
        request_fields: &request.fields,
        response_fields: is_passed_on.then_some(&response.fields),
        phase_id: None,
        tunnel: marks.and_then(Marks::tunnel),
        request_body_bytes,
        response_body_bytes,
        arrived: arrival.arrived,
        client_net: outcome.client_net.as_ref(),
        client_end: outcome.client_end,
        start: arrival.start,
        head_read: arrival.head_read,
        end,
        delivered: outcome.delivered,
        first_response: outcome.first_response,
        balance: outcome.balance.as_ref(),
        attempts: &attempts,
        judgement: Judgement::default(),
    };
    let timeline = Timeline::new(&segment);
    segment.judgement = worker.baselines.borrow_mut().judge(&segment, &timeline);
    doubt(job, outcome, backend, segment.judgement.verdict);
    // Without tracing nobody asks what is slow.
    let is_slow = trace.decision != Decision::Off && is_slow(job, &segment);
    let sampled_by = sampled_by.or_else(|| kept_by(job, tail?, &segment, is_slow));
    if let Some(by) = sampled_by {
        segment.sampled_by = by;
        segment.publisher = job.table.take_publisher();
        if segment.wants_phases(policy.phase_spans, is_slow) {
            segment.phase_id = Some(worker.ids.borrow_mut().span_id());
        }
        worker.recorder.borrow_mut().record(&segment, &timeline);
    }
    let told = (&segment, &timeline.phases);
    count(job, (route, backend), told, sampled_by.is_some());
}

/// Asks for a new connection to the endpoint, whose handshake tells, where the network and the
/// application could not be told apart.
fn doubt(job: &Job<'_>, outcome: &Outcome, backend: Option<&Arc<Backend>>, verdict: Verdict) {
    let is_slow = matches!(
        verdict,
        Verdict::App | Verdict::AppQueue | Verdict::ClusterNetwork
    );
    if is_slow
        && let (Some(backend), Some(tried)) = (backend, outcome.attempts.last())
        && tried.is_doubtful()
    {
        let destination = backend.destination(tried.endpoint);
        job.worker.pool.doubt(&destination, tried.started);
    }
}

/// Counts the request, and writes its line where requests are logged.
fn count(
    job: &Job<'_>,
    (route, backend): (Option<&Arc<Route>>, Option<&Arc<Backend>>),
    (segment, phases): (&Segment<'_>, &Phases),
    is_recorded: bool,
) {
    let Job {
        worker, request, ..
    } = *job;
    let request_bytes = request.head_bytes as u64 + segment.request_body_bytes;
    if let Some(log) = &worker.access_log {
        log.borrow_mut().write(&Line {
            segment,
            phases,
            is_sampled: is_recorded,
            request_bytes,
            referer: referer(request),
            tls: job.origin.tls().map(|tls| (tls.version_text(), tls.cipher)),
        });
    }
    let trace = || (segment.trace_id, segment.clock.unix_ns(segment.end));
    worker.metrics.borrow_mut().count(&Observed {
        route,
        backend,
        method: request.method,
        status: segment.status,
        flag: segment.flag,
        verdict: segment.judgement.verdict,
        phases,
        request_bytes,
        response_bytes: segment.response_body_bytes,
        attempts: segment.attempts.len() as u64,
        trace: is_recorded.then(trace),
    });
}

/// Why the tail rule keeps a request that was not sampled; `None` if it does not.
fn kept_by(job: &Job<'_>, rate: &Bucket, segment: &Segment<'_>, is_slow: bool) -> Option<By> {
    let by = tail::reason(segment, is_slow)?;
    let stats = &job.worker.stats;
    if !tail::may_keep(rate, segment, by) {
        stats.tail_over_rate.add(1);
        return None;
    }
    stats.tail_kept.add(1);
    Some(by)
}

/// Whether it was slower than nearly all of its route, among which it is counted. How long an
/// upgraded connection lasts says nothing about its route.
fn is_slow(job: &Job<'_>, segment: &Segment<'_>) -> bool {
    let took_us = segment.end.nanoseconds_since(segment.start) / 1_000;
    let latencies = latencies(segment).filter(|_| job.request.upgrade().is_none());
    latencies.is_some_and(|latencies| latencies.is_slow(took_us))
}

/// Looked for only where it is logged: no request pays for its being known.
fn referer(request: &RequestHead) -> Option<&[u8]> {
    let mut fields = request.fields.iter();
    let found = fields.find(|field| field.name.eq_ignore_ascii_case(b"referer"))?;
    Some(found.value)
}

/// Those of the request's route, or of the backend of its service listener.
fn latencies<'a>(segment: &Segment<'a>) -> Option<&'a Latencies> {
    match (segment.route, segment.backend) {
        (_, None) => None,
        (Some(route), _) => Some(&route.latencies),
        (None, Some(backend)) => Some(&backend.load.latencies),
    }
}

//! One attempt: a connection to one endpoint, one exchange over it, and what came of it.

use std::io;
use std::time::Instant;

use crate::body::{Http1Sink, Http1Source, Sink, Source};
use crate::downstream::Client;
use crate::exchange::{Exchange, Finished, Marks};
use crate::forward::{After, Job, Target};
use crate::headers::{self, Told};
use crate::message::{Framing, Method, RequestHead};
use crate::pace::Bounds;
use crate::stream::{Shared, Stream};
use crate::table::Backend;
use crate::trace::{Attempt, Flag, SpanId};
use crate::upstream::{ConnectError, Earlier, Freshness, Lease};
use crate::worker::Workspace;

/// An attempt about to be made.
pub struct Try<'a, 'j> {
    pub job: &'a Job<'j>,
    pub target: &'a Target<'j>,
    /// By its index in the backend.
    pub endpoint: usize,
    /// 0 for the first attempt.
    pub resend: u32,
    pub started: Instant,
}

/// An attempt that is over.
pub struct Tried {
    pub endpoint: usize,
    pub is_reused: bool,
    pub end: Instant,
    pub marks: Marks,
    id: SpanId,
    started: Instant,
    connected: Option<Instant>,
    error: Option<Flag>,
}

/// How an attempt ended.
pub enum Ended {
    Answered(After),
    Failed(Flag),
    /// Failed, and another attempt cannot do harm.
    MayBeRepeated(Flag),
}

impl Try<'_, '_> {
    /// Makes the attempt.
    ///
    /// # Cancel safety
    /// As [`Exchange::run`]: a dropped call closes the endpoint's connection.
    pub async fn run(&self, client: &mut Client, workspace: &mut Workspace) -> (Tried, Ended) {
        let worker = self.job.worker;
        worker.stats.attempts.add(1);
        let mut tried = Tried {
            endpoint: self.endpoint,
            is_reused: false,
            end: self.started,
            marks: Marks::default(),
            id: worker.ids.borrow_mut().span_id(),
            started: self.started,
            connected: None,
            error: None,
        };
        let (lease, stream) = match self.connection().await {
            Ok(connection) => connection,
            Err(flag) => {
                tried.end = Instant::now();
                tried.error = Some(flag);
                return (tried, Ended::MayBeRepeated(flag));
            }
        };
        tried.is_reused = lease.is_reused;
        // A connection that was there is had in no time: no reason to ask for it.
        let connected = if lease.is_reused {
            self.started
        } else {
            Instant::now()
        };
        tried.connected = Some(connected);

        self.encode(tried.id, workspace);
        let stream = Shared::new(stream);
        let finished = self.exchange(client, &stream, workspace, &tried).await;
        tried.end = Instant::now();
        let ended = match finished {
            Ok(Finished::Delivered {
                keep_client,
                keep_upstream,
            }) => {
                if keep_upstream {
                    lease.keep(stream.into_inner(), tried.end);
                }
                Ended::Answered(if keep_client {
                    After::KeepAlive
                } else {
                    After::Linger
                })
            }
            Ok(Finished::HeldBack) => Ended::MayBeRepeated(Flag::UpstreamStatus),
            Err(flag) => {
                tried.error = Some(flag);
                self.failed(flag, &tried.marks)
            }
        };
        (tried, ended)
    }

    async fn exchange(
        &self,
        client: &mut Client,
        stream: &Shared,
        workspace: &mut Workspace,
        tried: &Tried,
    ) -> Result<Finished, Flag> {
        let request = self.job.request;
        let connected = tried.connected.unwrap_or(self.started);
        let opened = client.open(
            request.framing,
            &mut workspace.input,
            &mut workspace.to_client,
        );
        // A body that was given away is not there for another attempt.
        let opened = opened.ok_or(Flag::Internal)?;
        let buffer = &mut workspace.from_upstream;
        let out = &mut workspace.to_upstream;
        let exchange = Exchange {
            request,
            response: &mut workspace.response,
            from_client: opened.body,
            to_upstream: Sink::Http1(Http1Sink::new(stream, out, request.framing)),
            from_upstream: Source::Http1(Http1Source::new(stream, buffer, Framing::None)),
            to_client: opened.reply,
            timer: opened.timer,
            bounds: self.bounds(),
            body_bytes_max: u64::MAX,
            held_back: &[],
            connected,
            is_draining: &self.job.worker.is_draining,
        };
        exchange.run(&tried.marks).await
    }

    fn bounds(&self) -> Bounds {
        let policy = self.target.policy;
        Bounds {
            read: policy.read_timeout,
            send: policy.send_timeout,
            tunnel: policy.tunnel_timeout,
            request: None,
            first_byte: None,
        }
    }

    /// A connection to the endpoint: a kept one, unless the request is being repeated.
    async fn connection(&self) -> Result<(Lease, Stream), Flag> {
        let worker = self.job.worker;
        let backend = self.target.backend;
        let freshness = match self.resend {
            0 if is_repeatable(self.job.request) => Freshness::Known,
            0 => Freshness::Checked,
            _ => Freshness::New,
        };
        let address = backend.endpoints[self.endpoint].address;
        let mut lease = worker.pool.lease(address, freshness);
        if let Some(stream) = lease.stream.take() {
            return Ok((lease, stream));
        }
        worker.stats.upstream_connects.add(1);
        match lease.connect(backend.connect_timeout).await {
            Ok(stream) => Ok((lease, stream)),
            Err(ConnectError::Timeout) => Err(Flag::ConnectTimeout),
            Err(ConnectError::Io(err)) if err.kind() == io::ErrorKind::ConnectionRefused => {
                Err(Flag::ConnectRefused)
            }
            Err(ConnectError::Io(_)) => Err(Flag::ConnectFailed),
        }
    }

    fn encode(&self, id: SpanId, workspace: &mut Workspace) {
        workspace.to_client.clear();
        workspace.to_upstream.clear();
        workspace.from_upstream.reset();
        headers::encode_request(
            &mut workspace.to_upstream,
            self.job.request,
            &Told {
                listener: self.target.listener,
                ends: self.job.ends,
                request_id: self.job.id,
                propagation: self.job.trace.propagation(id),
            },
        );
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
    is_idempotent && !request.has_body()
}

impl Tried {
    /// The attempt as the choice of the next endpoint sees it. A kept connection that turned out to
    /// be closed tells nothing about its endpoint.
    pub fn earlier(&self) -> Earlier {
        Earlier {
            endpoint: self.endpoint,
            has_failed: !self.is_reused,
        }
    }

    /// The attempt as its span tells it; `backend` is the one that it was made for.
    pub fn told<'a>(&self, backend: &'a Backend, resend_count: u32) -> Attempt<'a> {
        let status = self.marks.status.get();
        Attempt {
            id: self.id,
            endpoint: &backend.endpoints[self.endpoint],
            started: self.started,
            connected: self.connected.unwrap_or(self.end),
            sent: self.marks.sent.get().unwrap_or(self.end),
            first_byte: self.marks.first_byte.get(),
            end: self.end,
            status: (status > 0).then_some(status),
            error: self.error,
            reused: self.is_reused,
            resend_count,
        }
    }
}

//! A new connection to an endpoint: TCP, the PROXY protocol's header, TLS, in that order, and then
//! what HTTP/2 wants to be said first.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::Counted;
use super::channels::{Channels, Opening};
use super::http2::{Channel, Moving};
use crate::instant::Instant;
use crate::proxy_protocol::{Announced, put_v1, put_v2};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::table::{Backend, Destination, ProxyProtocol, Transport, UpstreamTls};
use crate::trace::Flag;

/// A connection that somebody wants.
#[derive(Clone, Copy)]
pub struct Dial<'a> {
    /// It says how a connection is made, how long that may take, and how many there may be.
    pub backend: &'a Arc<Backend>,
    pub endpoint: SocketAddr,
    /// Whom it is made for, as the PROXY protocol says it.
    pub announced: Announced,
    /// When whoever wants it wants it no longer.
    pub until: Option<Instant>,
}

/// The endpoint has as many connections as it may have.
#[derive(Debug)]
pub struct Full;

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, Clone)]
pub struct ConnectError {
    pub flag: Flag,
    /// In words, where the flag does not say it all.
    pub reason: Option<Box<str>>,
    /// What was waited for, where others may have waited for the same.
    pub opening: Option<Rc<Opening>>,
}

/// How far a connection that is being made has come, and when.
#[derive(Debug, Default)]
pub struct Steps {
    /// Its TLS handshake began, if there is one.
    pub handshake_started: Cell<Option<Instant>>,
    /// All that the network has to do was done.
    pub connected: Cell<Option<Instant>>,
}

/// A connection that was made.
pub enum Opened {
    Http1(Stream, Option<Counted>),
    /// It keeps its count to itself. Nothing moves on it unless [`Moving::run`] does.
    Http2(Channel, Box<Moving>),
}

impl Steps {
    /// Notes the steps of `others` as somebody sees them who has waited since then.
    pub fn follow(&self, others: &Self, since: Instant) {
        let seen = |step: &Cell<Option<Instant>>| step.get().map(|at| at.max(since));
        self.handshake_started.set(seen(&others.handshake_started));
        self.connected.set(seen(&others.connected));
    }
}

impl ConnectError {
    /// It took too long to come farther than that.
    pub fn timeout(steps: &Steps) -> Self {
        let is_in_handshake = steps
            .handshake_started
            .get()
            .filter(|_| steps.connected.get().is_none());
        let reason = is_in_handshake.map(|_| "the TLS handshake was not over in time".into());
        Self {
            reason,
            ..Flag::ConnectTimeout.into()
        }
    }

    /// Whether it tells something new of the endpoint: a connection that could not be made does so
    /// once, however many have waited for it.
    pub fn is_news(&self) -> bool {
        let opening = self.opening.as_ref();
        opening.is_none_or(|opening| !opening.is_told.replace(true))
    }
}

impl From<Flag> for ConnectError {
    fn from(flag: Flag) -> Self {
        Self {
            flag,
            reason: None,
            opening: None,
        }
    }
}

impl From<Full> for ConnectError {
    fn from(_: Full) -> Self {
        Flag::ConnectionsFull.into()
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Tls(err) => Self {
                reason: Some(err.to_string().into()),
                ..Flag::UpstreamTls.into()
            },
            Failure::Http2(err) => Self {
                reason: Some(err.to_string().into()),
                ..Flag::ConnectFailed.into()
            },
            Failure::Tcp(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
                Flag::ConnectRefused.into()
            }
            Failure::Tcp(_) => Flag::ConnectFailed.into(),
        }
    }
}

impl Dial<'_> {
    /// Counts it, where its backend bounds connections.
    ///
    /// # Errors
    /// The endpoint has as many as it may have.
    pub fn count(&self) -> Result<Option<Counted>, Full> {
        Counted::begin(self.backend, self.endpoint)
    }

    /// Makes a connection that `destination` describes, and notes its steps. Those of `channels` may use it, too, if it is one of HTTP/2.
    ///
    /// One of HTTP/2 is there when the endpoint has said how many requests it takes at once, as for
    /// gRPC: until then a listening socket's backlog may have taken it. But an endpoint that is slow
    /// to say so is not one that cannot be reached; it gets requests when the time is over.
    ///
    /// # Errors
    /// [`ConnectError`].
    ///
    /// # Cancel safety
    /// A dropped call closes the half-made connection.
    pub async fn open(
        &self,
        destination: Destination,
        channels: Weak<Channels>,
        counted: Option<Counted>,
        steps: &Steps,
    ) -> Result<Opened, ConnectError> {
        let end = self.end();
        let work = async {
            let stream = self.connect(steps).await?;
            steps.connected.set(Some(Instant::now()));
            if !destination.is_http2(stream.alpn()) {
                return Ok(Opened::Http1(stream, counted));
            }
            let (channel, moving) = Channel::open(stream, counted, channels).await?;
            Ok(Opened::Http2(channel, Box::new(moving)))
        };
        let mut opened = within(end, steps, work).await?;
        if let Opened::Http2(channel, moving) = &mut opened {
            if let Ok(settled) = timeout_at(end.into(), moving.settle()).await {
                settled?;
            }
            if !channel.is_open() {
                return Err(Flag::ConnectFailed.into());
            }
        }
        Ok(opened)
    }

    /// Connects without TLS: for bytes that are handed on as they are, which may be TLS themselves.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent, so another attempt is safe.
    pub async fn connect_raw(&self) -> Result<(TcpStream, Option<Counted>), ConnectError> {
        let counted = self.count()?;
        let work = async { self.tcp().await.map_err(Failure::Tcp) };
        let socket = within(self.end(), &Steps::default(), work).await?;
        Ok((socket, counted))
    }

    /// When it must be there.
    fn end(&self) -> Instant {
        let end = Instant::now() + self.backend.connect_timeout;
        self.until.map_or(end, |until| until.min(end))
    }

    async fn connect(&self, steps: &Steps) -> Result<Stream, Failure> {
        let socket = self.tcp().await.map_err(Failure::Tcp)?;
        let Some(tls) = self.transport().and_then(|it| it.tls.as_ref()) else {
            return Ok(Stream::Plain(socket.into()));
        };
        steps.handshake_started.set(Some(Instant::now()));
        handshake(tls, socket.into()).await.map_err(Failure::Tls)
    }

    /// A connection, and the PROXY header on it if there is to be one.
    async fn tcp(&self) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(self.endpoint).await?;
        socket.set_nodelay(true)?;
        if let Some(transport) = self.transport() {
            let header = self.header(transport.proxy_protocol);
            socket.write_all(&header).await?;
        }
        Ok(socket)
    }

    fn transport(&self) -> Option<&Transport> {
        self.backend.transport.as_deref()
    }

    fn header(&self, version: ProxyProtocol) -> Vec<u8> {
        let mut header = Vec::new();
        match version {
            ProxyProtocol::Off => {}
            ProxyProtocol::V1 => put_v1(&mut header, self.announced),
            ProxyProtocol::V2 => put_v2(&mut header, self.announced),
        }
        header
    }
}

/// Runs `work`, which makes a connection, for as long as that may take.
async fn within<T>(
    end: Instant,
    steps: &Steps,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, ConnectError> {
    match timeout_at(end.into(), work).await {
        Ok(made) => Ok(made?),
        Err(_) => Err(ConnectError::timeout(steps)),
    }
}

/// What went wrong.
pub enum Failure {
    /// The kernel's answer: refused, unreachable, no more sockets …
    Tcp(io::Error),
    /// The handshake's, or that the endpoint went away in it.
    Tls(io::Error),
    /// What was said on the connection is not HTTP/2.
    Http2(h2::Error),
}

/// Of a connection that was made. What rustls finds out is `InvalidData`: an endpoint that wants
/// another certificate says so after our side of the handshake.
impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::InvalidData => Self::Tls(err),
            _ => Self::Tcp(err),
        }
    }
}

impl From<h2::Error> for Failure {
    fn from(err: h2::Error) -> Self {
        if err.is_io() {
            let lost = || io::ErrorKind::ConnectionReset.into();
            err.into_io().unwrap_or_else(lost).into()
        } else {
            Self::Http2(err)
        }
    }
}

async fn handshake(tls: &UpstreamTls, socket: Socket) -> io::Result<Stream> {
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let session = connector.connect(tls.server_name.clone(), socket).await?;
    Ok(Stream::Tls(Box::new(session.into())))
}

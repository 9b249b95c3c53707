//! A new connection to an endpoint: TCP, the PROXY protocol's header, TLS, in that order.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Counted;
use crate::instant::Instant;
use crate::proxy_protocol::{Announced, put_v1, put_v2};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::table::{ProxyProtocol, Transport, UpstreamTls};
use crate::trace::Flag;

/// How a connection is made.
#[derive(Clone, Copy)]
pub struct Dial<'a> {
    /// What it is made of beyond TCP.
    pub transport: Option<&'a Transport>,
    /// For all of it.
    pub timeout: Duration,
    /// Counts it, where its backend bounds connections.
    pub count: &'a dyn Fn() -> Result<Option<Counted>, Full>,
    /// Whom it is made for, as the PROXY protocol says it.
    pub announced: Announced,
}

/// The endpoint has as many connections as it may have.
#[derive(Debug)]
pub struct Full;

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug)]
pub struct ConnectError {
    pub flag: Flag,
    /// In words, where the flag does not say it all.
    pub reason: Option<Box<str>>,
}

impl Dial<'_> {
    /// Runs `work`, which makes a connection, for as long as that may take.
    ///
    /// # Errors
    /// What went wrong, or that it took too long.
    pub async fn within<T>(
        &self,
        handshake_started: &Cell<Option<Instant>>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, ConnectError> {
        let (flag, reason) = match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(made)) => return Ok(made),
            Ok(Err(Failure::Full)) => (Flag::ConnectionsFull, None),
            Ok(Err(Failure::Tls(err))) => (Flag::UpstreamTls, Some(err.to_string().into())),
            Ok(Err(Failure::Tcp(err))) if err.kind() == io::ErrorKind::ConnectionRefused => {
                (Flag::ConnectRefused, None)
            }
            Ok(Err(Failure::Tcp(_))) => (Flag::ConnectFailed, None),
            Err(_) if handshake_started.get().is_some() => (
                Flag::ConnectTimeout,
                Some("the TLS handshake was not over in time".into()),
            ),
            Err(_) => (Flag::ConnectTimeout, None),
        };
        Err(ConnectError { flag, reason })
    }

    /// Connects to `endpoint`, and notes when the TLS handshake begins, if one does.
    ///
    /// # Cancel safety
    /// A dropped call closes the half-made connection.
    pub async fn connect(
        &self,
        endpoint: SocketAddr,
        handshake_started: &Cell<Option<Instant>>,
    ) -> Result<Stream, Failure> {
        let socket = self.tcp(endpoint).await.map_err(Failure::Tcp)?;
        let Some(tls) = self.transport.and_then(|it| it.tls.as_ref()) else {
            return Ok(Stream::Plain(socket.into()));
        };
        handshake_started.set(Some(Instant::now()));
        handshake(tls, socket.into()).await.map_err(Failure::Tls)
    }

    /// Connects without TLS: for bytes that are handed on as they are, which may be TLS themselves.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent, so another attempt is safe.
    pub async fn connect_raw(
        &self,
        endpoint: SocketAddr,
    ) -> Result<(TcpStream, Option<Counted>), ConnectError> {
        let work = async {
            let counted = (self.count)()?;
            let socket = self.tcp(endpoint).await.map_err(Failure::Tcp)?;
            Ok((socket, counted))
        };
        self.within(&Cell::default(), work).await
    }

    /// A connection, and the PROXY header on it if there is to be one.
    async fn tcp(&self, endpoint: SocketAddr) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(endpoint).await?;
        socket.set_nodelay(true)?;
        if let Some(transport) = self.transport {
            let header = self.header(transport.proxy_protocol);
            socket.write_all(&header).await?;
        }
        Ok(socket)
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

/// What went wrong.
pub enum Failure {
    /// There may be no more.
    Full,
    /// The kernel's answer: refused, unreachable, no more sockets …
    Tcp(io::Error),
    /// The handshake's, or that the endpoint went away in it.
    Tls(io::Error),
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

async fn handshake(tls: &UpstreamTls, socket: Socket) -> io::Result<Stream> {
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let session = connector.connect(tls.server_name.clone(), socket).await?;
    Ok(Stream::Tls(Box::new(session.into())))
}

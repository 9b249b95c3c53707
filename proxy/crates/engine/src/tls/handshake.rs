//! The beginning of a connection on a listener with TLS.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::server::Accepted;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;

use super::hello::{Opening, read_opening};
use super::{Server, Tls, alert};
use crate::downstream::{Origin, linger};
use crate::instant::Instant;
use crate::limits::LINGER_TIMEOUT;
use crate::passthrough::Passing;
use crate::socket::Socket;
use crate::stream::{Shared, Stream};
use crate::table::TlsTerms;
use crate::timer::Timer;
use crate::worker::Worker;

/// What has become of a connection that goes on.
pub enum Begun {
    /// It speaks TLS.
    Secure(Stream, Rc<Tls>),
    /// It speaks HTTP without TLS.
    Plain(TcpStream),
    /// It speaks TLS with somebody else.
    PassThrough(Box<Passing>),
}

/// How a handshake ended.
enum Shaken {
    Done(Begun),
    Failed(Socket),
    /// Failed, but the client does not know yet.
    Refused(TcpStream, Vec<u8>),
    Gone {
        has_spoken: bool,
    },
}

/// Begins a connection. `None` when it is over: the handshake failed, or took longer than `limit`,
/// which is counted.
///
/// # Cancel safety
/// A dropped call closes the connection.
pub async fn begin(
    worker: &Worker,
    stream: TcpStream,
    origin: &Origin,
    timer: &mut Timer,
    limit: Duration,
) -> Option<Begun> {
    timer.set(Instant::now() + limit);
    // Pinned here, so that a connection whose time is over is counted before it is closed.
    let mut shaking = pin!(shake(worker, stream, origin));
    let stats = &worker.stats;
    let failed = match timer.limit(shaking.as_mut()).await {
        Some(Shaken::Done(begun)) => {
            if let Begun::Secure(_, tls) = &begun {
                stats.tls_handshakes.add(1);
                stats.tls_resumed.add(u64::from(tls.is_resumed));
                stats
                    .tls13_handshakes
                    .add(u64::from(tls.version_text() == "1.3"));
            }
            return Some(begun);
        }
        // Somebody looked whether the port is open.
        Some(Shaken::Gone { has_spoken: false }) => return None,
        Some(Shaken::Failed(stream)) => Some((stream, Vec::new())),
        Some(Shaken::Refused(stream, alert)) => Some((stream.into(), alert)),
        Some(Shaken::Gone { .. }) | None => None,
    };
    stats.tls_handshakes_failed.add(1);
    if let Some((stream, alert)) = failed {
        let stream = Shared::new(Stream::Plain(stream));
        timer.set(Instant::now() + LINGER_TIMEOUT);
        // Whether the client wants to know or not.
        drop(timer.limit((&stream).write_all(&alert)).await);
        linger(&stream, timer).await;
    }
    None
}

async fn shake(worker: &Worker, stream: TcpStream, origin: &Origin) -> Shaken {
    let mut input = Vec::new();
    let accepted = match read_opening(&stream, &mut input).await {
        Opening::Hello(accepted) => accepted,
        Opening::PlainHttp => return Shaken::Done(Begun::Plain(stream)),
        Opening::Wrong(alert) => return Shaken::Refused(stream, alert),
        Opening::Gone => {
            let has_spoken = !input.is_empty();
            return Shaken::Gone { has_spoken };
        }
    };
    let server_name = accepted
        .client_hello()
        .server_name()
        .map(str::to_ascii_lowercase);
    let server_name = server_name.unwrap_or_default();
    // The table of now: the client may have taken its time.
    match worker
        .table()
        .tls_terms(origin.listener, server_name.as_bytes())
    {
        TlsTerms::Serve(server) => serve(stream, *accepted, server).await,
        TlsTerms::PassThrough(backend) => Shaken::Done(Begun::PassThrough(Box::new(Passing {
            stream,
            first_bytes: input,
            server_name,
            backend,
            origin: origin.clone(),
        }))),
        TlsTerms::Unknown => Shaken::Refused(stream, alert(AlertDescription::UnrecognisedName)),
    }
}

async fn serve(stream: TcpStream, accepted: Accepted, server: Server) -> Shaken {
    let starting = StartHandshake::from_parts(accepted, Socket::from(stream));
    let shaking = starting.into_stream(server.config).into_fallible();
    match shaking.await {
        Ok(stream) => {
            let tls = Tls::of(stream.get_ref().1, &server.verification);
            let stream = Stream::Tls(Box::new(stream.into()));
            Shaken::Done(Begun::Secure(stream, Rc::new(tls)))
        }
        // The alert is sent by then.
        Err((_, stream)) => Shaken::Failed(stream),
    }
}

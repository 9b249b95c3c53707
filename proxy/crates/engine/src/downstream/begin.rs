//! How a client's connection begins: at once, or with a TLS handshake.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Origin;
use super::connection::linger;
use crate::headers::{self, Refusal};
use crate::instant::Instant;
use crate::limits::DOWNSTREAM_STALL_TIMEOUT;
use crate::message::RequestHead;
use crate::passthrough::pass;
use crate::stream::{Shared, Stream};
use crate::timer::Timer;
use crate::tls::{self, Begun};
use crate::trace::Flag;
use crate::worker::{Stage, Worker};

/// The stream that requests come over; its TLS session, if it has one, is noted in `origin`. `None`
/// when the connection is over.
///
/// # Cancel safety
/// A dropped call closes the connection.
pub async fn begin(
    worker: &Worker,
    stream: TcpStream,
    origin: &mut Origin,
    timer: &mut Timer,
    stage: &Cell<Stage>,
) -> Option<Stream> {
    let Some(limit) = handshake_limit(worker, origin.listener) else {
        return Some(Stream::Plain(stream.into()));
    };
    // In a box of its own: no task is to be as large as a handshake for as long as it lives.
    match Box::pin(tls::begin(worker, stream, origin, timer, limit)).await? {
        Begun::Secure(stream, tls) => {
            origin.tls = Some(tls);
            origin.ends.scheme = "https";
            Some(stream)
        }
        Begun::Plain(stream) => {
            worker.stats.malformed.add(1);
            refuse_plain(Shared::new(Stream::Plain(stream.into())), timer).await;
            None
        }
        Begun::PassThrough(passing) => {
            stage.set(Stage::Serving);
            Box::pin(pass(worker, *passing, timer)).await;
            None
        }
    }
}

/// How long a handshake may take; `None` where connections begin without.
fn handshake_limit(worker: &Worker, listener: SocketAddr) -> Option<Duration> {
    let table = worker.table();
    let listener = table.listener(listener).filter(|listener| listener.tls)?;
    Some(listener.times.head)
}

/// Answers a request without TLS, in the words of nginx.
async fn refuse_plain(stream: Shared, timer: &mut Timer) {
    let refusal = Refusal {
        status: 400,
        flag: Some(Flag::BadRequest),
        sentence: "the plain HTTP request was sent to HTTPS port",
        trace_id: None,
        keep_alive: false,
        location: None,
        retry_after_s: None,
        editor: None,
        disclosed: None,
    };
    let mut answer = Vec::new();
    headers::encode_refusal(&mut answer, &RequestHead::default(), &refusal);
    timer.set(Instant::now() + DOWNSTREAM_STALL_TIMEOUT);
    if let Some(Ok(())) = timer.limit((&stream).write_all(&answer)).await {
        linger(&stream, timer).await;
    }
}

//! One client connection: requests one after the other, each read, forwarded and answered.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::announced::ends;
use super::begin::begin;
use super::http2::{has_preface, serve_http2};
use super::{Client, Origin, Side};
use crate::buffer::Buffer;
use crate::failure;
use crate::forward::{After, Arrival, forward};
use crate::headers::Refusal;
use crate::http1::{Malformed, Parsed, parse_request};
use crate::instant::Instant;
use crate::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT};
use crate::live::Live;
use crate::message::RequestHead;
use crate::socket::{Ask, Socket};
use crate::stream::{Farewell, Shared};
use crate::table::KernelTimestamps;
use crate::timer::Timer;
use crate::trace::Flag;
use crate::worker::{Registered, Stage, Worker, Workspace};

/// How waiting for a request ended.
enum Arrived {
    Request(Arrival),
    /// Not within its listener's time for a head.
    Late,
    Malformed(Malformed),
    /// The client closed instead; a part of a head is not worth an answer.
    Nothing,
}

/// Serves `stream` until either side closes it. It is idle while no request is under way.
pub async fn serve(
    connection: Registered,
    mut stream: TcpStream,
    peer: SocketAddr,
    listener: SocketAddr,
) {
    let Registered { worker, stage, .. } = &connection;
    let Some(ends) = ends(worker, &mut stream, peer, listener).await else {
        return;
    };
    let mut origin = Origin::new(ends, listener);
    let patience = worker
        .table()
        .listener(listener)
        .map_or_else(Default::default, |listener| listener.times);
    let mut timer = Timer::new(patience.idle);
    let begun = begin(worker, stream, &mut origin, &mut timer, stage).await;
    let Some(stream) = begun else {
        return;
    };
    if worker.table().tracing.kernel_timestamps != KernelTimestamps::Off {
        // What has come by now has its time, since the listener was told so.
        stream.socket().observe();
        stream.socket().note_arrivals();
    }
    let stream = Rc::new(Shared::new(stream));
    let farewell = Farewell(Rc::clone(&stream));
    let mut client = Client {
        side: Side::Http1(Rc::clone(&stream)),
        timer,
        origin: Rc::new(origin),
        patience,
        asks: Ask::Nothing,
    };
    client.timer.set(Instant::now() + client.patience.idle);
    let mut is_first = true;
    let mut kept: Option<Box<Workspace>> = None;
    loop {
        let mut workspace = match kept.take() {
            Some(workspace) => workspace,
            None => match first_bytes(worker, &stream, &mut client).await {
                Some(workspace) => workspace,
                None => return close(&stream, &mut client.timer).await,
            },
        };
        stage.set(worker.beginning());
        if std::mem::take(&mut is_first)
            && has_preface(&stream, &mut client, &mut workspace.input).await
        {
            let read = std::mem::take(&mut workspace.input);
            worker.return_workspace(workspace);
            let Client {
                side,
                origin,
                patience,
                ..
            } = client;
            drop(side);
            stream.is_busy.set(true); // It goes on.
            drop(farewell);
            if let Ok(stream) = Rc::try_unwrap(stream) {
                // In a box of its own: no task is to be as large as this for HTTP/1.
                Box::pin(serve_http2(
                    Rc::clone(worker),
                    stream.into_inner(),
                    read,
                    (origin, patience),
                    Rc::clone(stage),
                ))
                .await;
            }
            return;
        }
        let after = serve_one(&connection, &stream, &mut client, &mut workspace).await;
        stream.with_socket(Socket::note_arrivals);
        if after != After::Close {
            stream.is_busy.set(false);
        }
        if after == After::Linger {
            linger(&stream, &mut client.timer).await;
        }
        if after != After::KeepAlive {
            return worker.return_workspace(workspace);
        }
        if !workspace.input.is_empty() {
            kept = Some(workspace);
            continue;
        }
        // An idle connection holds no memory but its task.
        worker.return_workspace(workspace);
        if worker.is_closing_idle.get() {
            return close(&stream, &mut client.timer).await;
        }
        stage.set(worker.idle());
    }
}

/// Waits for a request and reads its first bytes; `None` when the client left, or stayed quiet for
/// its listener's idle time, which [`forward`] lets begin where the request before ended.
async fn first_bytes(
    worker: &Worker,
    stream: &Shared,
    client: &mut Client,
) -> Option<Box<Workspace>> {
    let mut input = Buffer::default();
    match client.timer.limit(input.fill(stream)).await? {
        Ok(1..) => Some(worker.workspace_of(input)),
        _ => None,
    }
}

async fn serve_one(
    Registered { worker, stage, .. }: &Registered,
    stream: &Shared,
    client: &mut Client,
    workspace: &mut Workspace,
) -> After {
    let refused = match read_head(worker, stream, client, workspace).await {
        Arrived::Request(arrival) => {
            stage.set(Stage::Serving);
            stream.is_busy.set(true);
            return forward(worker, client, workspace, arrival).await;
        }
        Arrived::Nothing => return After::Close,
        Arrived::Late => {
            let flag = Flag::ClientTimeout;
            (flag, failure::status(flag), failure::sentence(flag))
        }
        Arrived::Malformed(malformed) => (Flag::BadRequest, malformed.status(), malformed.reason()),
    };
    worker.stats.malformed.add(1);
    refuse(client, refused, &mut workspace.to_client).await
}

/// Reads a head whose first bytes are in the workspace.
async fn read_head(
    worker: &Worker,
    stream: &Shared,
    client: &mut Client,
    workspace: &mut Workspace,
) -> Arrived {
    let Client {
        timer,
        origin,
        patience,
        ..
    } = client;
    let Workspace {
        input,
        request,
        live,
        ..
    } = workspace;
    let request = Rc::make_mut(request);
    let start = Instant::now();
    let arrived = stream.with_socket(|socket| socket.arrived(start));
    let mut head_read = start;
    timer.set(start + patience.head);
    // Most heads come whole, and are listed as requests only.
    let mut arriving = None;
    loop {
        match parse_request(input.unread(), request) {
            Ok(Parsed::Complete { head_bytes }) => {
                input.consume(head_bytes);
                return Arrived::Request(Arrival {
                    start,
                    head_read,
                    arrived,
                });
            }
            Ok(Parsed::Incomplete) => {
                arriving.get_or_insert_with(|| Live::arriving(worker, live, origin, start));
            }
            Err(malformed) => return Arrived::Malformed(malformed),
        }
        match timer.limit(input.fill(stream)).await {
            None => return Arrived::Late,
            Some(Ok(read)) if read > 0 => head_read = Instant::now(),
            Some(_) => return Arrived::Nothing,
        }
    }
}

/// Answers bytes that are not a request.
async fn refuse(
    client: &mut Client,
    (flag, status, sentence): (Flag, u16, &str),
    out: &mut Vec<u8>,
) -> After {
    let refusal = Refusal {
        status,
        flag: Some(flag),
        sentence,
        trace_id: None,
        location: None,
        editor: None,
        disclosed: None,
        retry_after_s: None,
        keep_alive: false,
    };
    if client.refuse(&RequestHead::default(), &refusal, out).await {
        After::Linger
    } else {
        After::Close
    }
}

/// Says goodbye as [`Farewell`] does, and waits until the kernel has taken it.
async fn close(mut stream: &Shared, timer: &mut Timer) {
    if stream.is_tls() {
        timer.set(Instant::now() + LINGER_TIMEOUT);
        // The client need not be there any more.
        drop(timer.limit(stream.shutdown()).await);
    }
}

/// Says that no more will be sent, and reads on for a while: closing with unread input would make
/// the kernel send a reset, and the client might lose the response that is on its way.
/// Source: RFC 9112, section 9.6.
pub async fn linger(mut stream: &Shared, timer: &mut Timer) {
    timer.set(Instant::now() + LINGER_TIMEOUT);
    let discard = async {
        stream.shutdown().await?;
        let mut bytes = vec![0; 4096];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // The connection is closed next, whatever came of this.
    drop(timer.limit(discard).await);
}

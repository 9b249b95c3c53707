//! The PROXY protocol's header at the start of a connection, where its listener wants one.
//!
//! Not a byte beyond it is read, so whatever follows, TLS or HTTP, finds the socket as if there had
//! been none.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::headers::Ends;
use crate::limits::PROXY_HEADER_BYTES_MAX;
use crate::proxy_protocol::{Announced, Parsed, parse};
use crate::table::Listener;
use crate::worker::Worker;

/// Who is at both ends of a connection, once its first bytes have said it; `None` when it is to be
/// closed, because there is no header that could be read in time.
pub async fn ends(
    worker: &Worker,
    stream: &mut TcpStream,
    network_peer: SocketAddr,
    listener: SocketAddr,
) -> Option<Ends> {
    let mut ends = Ends {
        client: network_peer,
        peer: network_peer,
        local: stream.local_addr().ok()?,
        network_peer,
        scheme: "http",
        is_trusted: false,
    };
    let table = worker.table();
    let listener = table.listener(listener);
    let Some(listener) = listener.filter(|listener| is_wanted(listener, network_peer)) else {
        return Some(ends);
    };
    let Ok(Ok(announced)) = timeout(listener.times.head, read(stream)).await else {
        worker.stats.proxy_headers_missing.add(1);
        return None;
    };
    if let Some(announced) = announced.map(Announced::canonical) {
        ends.client = announced.source;
        ends.peer = announced.source;
        ends.local = announced.destination;
    }
    Some(ends)
}

fn is_wanted(listener: &Listener, peer: SocketAddr) -> bool {
    let senders = &listener.trusted_proxies;
    listener.proxy_protocol && (senders.is_empty() || senders.contains(peer.ip()))
}

/// Looks at what is there, and takes as much of it as belongs to the header: all, while it is not
/// complete.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Announced>> {
    let mut bytes = Vec::with_capacity(PROXY_HEADER_BYTES_MAX);
    let mut taken = 0;
    loop {
        bytes.resize(PROXY_HEADER_BYTES_MAX, 0);
        let seen = stream.peek(&mut bytes[taken..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.truncate(taken + seen);
        let parsed = parse(&bytes).map_err(io::Error::other)?;
        let end = match parsed {
            Parsed::Complete { header_bytes, .. } => header_bytes,
            Parsed::Incomplete => bytes.len(),
        };
        // They are there: this does not wait.
        stream.read_exact(&mut bytes[taken..end]).await?;
        taken = end;
        if let Parsed::Complete { announced, .. } = parsed {
            return Ok(announced);
        }
    }
}

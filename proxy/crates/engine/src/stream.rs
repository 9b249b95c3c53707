//! A connection's byte stream, with or without TLS, the same for all that read and write it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

use crate::socket::Socket;
use crate::trace::TlsSession;

/// A connected stream.
pub enum Stream {
    /// TCP alone.
    Plain(Socket),
    /// TLS over TCP, ours or the other side's session.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// The socket below.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// What its TLS session is; `None` without one.
    #[must_use]
    pub fn tls(&self) -> Option<TlsSession> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let (_, session) = stream.get_ref();
        Some(TlsSession {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "1.3",
            },
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// The protocol that ALPN settled on; `None` without one.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether nothing has arrived: neither the end of the stream nor bytes that nobody asked for.
    /// No system call unless the event loop saw something. A byte that did arrive is lost.
    #[must_use]
    pub fn is_quiet(&mut self) -> bool {
        if let Self::Plain(stream) = self {
            let seen = stream.tcp().try_read(&mut [0]);
            return matches!(seen, Err(err) if err.kind() == io::ErrorKind::WouldBlock);
        }
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let reading = Pin::new(self).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        reading.is_pending()
    }

    /// Sends the `close_notify` of a TLS session as far as the kernel takes it at once: without it the end of
    /// the connection may be somebody else's doing.
    /// Source: RFC 8446, section 6.1.
    fn say_goodbye(&mut self) {
        if let Self::Tls(stream) = self {
            let mut nobody = Context::from_waker(Waker::noop());
            // Who is not there any more, or was told before, is told nothing.
            let _ = Pin::new(stream).poll_shutdown(&mut nobody);
        }
    }

    /// Whether the kernel has input that the event loop need not know of yet: one system call.
    #[must_use]
    pub fn has_input(&self) -> bool {
        let peeked = SockRef::from(self.socket().tcp()).peek(&mut [MaybeUninit::uninit()]);
        !matches!(peeked, Err(err) if err.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A stream that one task reads and writes by turns: both through a shared reference.
pub struct Shared {
    stream: RefCell<Stream>,
    /// Whether the other side has said that it will send nothing more: then its end is no news.
    pub is_last: Cell<bool>,
    /// How the other side has ended what it sends, if that was seen.
    pub ended: Cell<Option<End>>,
    /// Whether a message is under way. Cut in one, the stream's end must not look like that of the message.
    pub is_busy: Cell<bool>,
    /// Whether nothing but the connection's end tells that of the message.
    pub ends_message: Cell<bool>,
}

/// A stream that says goodbye when this is dropped, whatever for, unless it is busy. Where its end would be
/// that of a message which is cut, it is reset: HTTP/1.0 has nothing else to tell that by.
pub struct Farewell(pub Rc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let Ok(mut stream) = self.0.stream.try_borrow_mut() else {
            return;
        };
        if !self.0.is_busy.get() {
            stream.say_goodbye();
        } else if self.0.ends_message.get() {
            // It fails for a socket that is gone.
            drop(SockRef::from(stream.socket().tcp()).set_linger(Some(Duration::ZERO)));
        }
    }
}

/// How a side of a connection has ended what it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// In good order. It may still take what is sent to it.
    Closed,
    /// It is not there any more.
    Reset,
}

impl End {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
        }
    }
}

impl Shared {
    /// Shares a stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: RefCell::new(stream),
            is_last: Cell::new(false),
            ended: Cell::new(None),
            is_busy: Cell::new(false),
            ends_message: Cell::new(false),
        }
    }

    /// The stream itself.
    #[must_use]
    pub fn into_inner(self) -> Stream {
        self.stream.into_inner()
    }

    /// Returns when the other side, which sends nothing more, has reset the connection. One that merely
    /// is not there any more tells so only when something is sent to it.
    pub async fn reset(&self) {
        // A registration of its own, since nothing may be borrowed while this waits.
        let Ok(watch) = self.with_socket(Socket::again) else {
            return pending().await;
        };
        while watch.ready(Interest::ERROR).await.is_ok() {
            if !matches!(SockRef::from(&watch).take_error(), Ok(None)) {
                return;
            }
            // Only an answer about what was sent: the next event has to wake us up.
            let forgotten = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
            drop(watch.try_io(Interest::ERROR, forgotten));
        }
    }

    /// Whether it has a TLS session, which may hold bytes that the socket has no more.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(*self.stream.borrow(), Stream::Tls(_))
    }

    /// As [`Stream::tls`].
    #[must_use]
    pub fn tls(&self) -> Option<TlsSession> {
        self.stream.borrow().tls()
    }

    /// As [`Stream::is_quiet`].
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.stream.borrow_mut().is_quiet()
    }

    /// As [`Stream::has_input`].
    #[must_use]
    pub fn has_input(&self) -> bool {
        self.stream.borrow().has_input()
    }

    /// Does something with the socket.
    pub fn with_socket<T>(&self, work: impl FnOnce(&Socket) -> T) -> T {
        work(self.stream.borrow().socket())
    }

    /// Ready when there may be something to read. Whether a TLS session holds bytes that the socket has no
    /// more is seen by trying.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self.stream.borrow() {
            Stream::Plain(socket) => socket.tcp().poll_read_ready(context),
            Stream::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Reads once, behind what `bytes` has, after [`Self::poll_read_ready`]; if that was wrong, an error says
    /// `WouldBlock`.
    pub fn poll_read_into(
        &self,
        context: &mut Context<'_>,
        bytes: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        match &mut *self.stream.borrow_mut() {
            Stream::Plain(socket) => Poll::Ready(socket.try_read(bytes)),
            Stream::Tls(stream) => pin!(stream.read_buf(bytes)).poll(context),
        }
    }
}

impl AsyncRead for &Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for &Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }
}

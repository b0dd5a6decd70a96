//! Streams of QUIC as the library for HTTP/3 wants them. Written here, as its own adapter tells nobody that a client has stopped
//! an answer (STOP_SENDING, RFC 9000), and panics where one is stopped that is being read.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use h3::error::Code;
use h3::quic::{
    self, BidiStream, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};
use parking_lot::Mutex;
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use super::frames::{ExcessiveLoad, StreamFrames, UndecodedBytes};

/// How large a frame may be that is copied to be in one piece, in bytes.
const SMALL: usize = 1024;

/// A connection, of either end.
pub(super) struct StreamConnection {
    accepting: PolledFuture<Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>>,
    accepting_one_way: PolledFuture<Result<quinn::RecvStream, ConnectionError>>,
    opening: StreamOpener,
    stops: AnswerStopSignal,
    unread: UnreadStreams,
}

/// Streams that the library for HTTP/3 does not read. What comes on them is dropped, or it would stay.
#[derive(Clone, Default)]
struct UnreadStreams(Arc<Mutex<Vec<quinn::RecvStream>>>);

impl UnreadStreams {
    fn add(&self, stream: quinn::RecvStream, cx: &mut Context<'_>) {
        self.0.lock().push(stream);
        self.poll(cx);
    }

    /// Drops what has come by now; has `cx` woken by what comes next.
    fn poll(&self, cx: &mut Context<'_>) {
        self.0.lock().retain_mut(|stream| {
            loop {
                match pin!(stream.read_chunk(usize::MAX, false)).poll(cx) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Ready(Ok(None) | Err(_)) => return false,
                    Poll::Pending => return true,
                }
            }
        });
    }
}

/// Signal that the client stops the answer on the stream that was accepted last, with the code of that.
#[derive(Clone, Default)]
pub(super) struct AnswerStopSignal(Arc<Mutex<Option<BoxFuture<'static, VarInt>>>>);

impl AnswerStopSignal {
    /// For the first who asks after a stream was accepted. Never ready where the client stops nothing: it has got its answer, or
    /// the connection is lost, which ends all calls anyhow.
    pub(super) fn take(&self) -> BoxFuture<'static, VarInt> {
        self.0.lock().take().unwrap_or_else(|| Box::pin(std::future::pending()))
    }
}

impl StreamConnection {
    /// Those of a connection on which the frame of a head may have so many bytes.
    pub(super) fn new(connection: quinn::Connection, head_bytes_max: u64) -> Self {
        let (accepting, accepting_one_way) = (PolledFuture(None), PolledFuture(None));
        let bound = BufferBound {
            connection: connection.clone(),
            head_bytes_max,
            undecoded: UndecodedBytes::default(),
        };
        let opening = StreamOpener::new(connection, bound);
        let (stops, unread) = (AnswerStopSignal::default(), UnreadStreams::default());
        Self { accepting, accepting_one_way, opening, stops, unread }
    }

    /// To be asked after each stream.
    pub(super) fn stops(&self) -> AnswerStopSignal {
        self.stops.clone()
    }
}

/// Future that is waited for by asking: begun by the first who asks, and gone on with by the next.
struct PolledFuture<T>(Option<Pin<Box<dyn Future<Output = T> + Send + Sync>>>);

impl<T> PolledFuture<T> {
    fn poll<F>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &quinn::Connection,
        begin: impl FnOnce(quinn::Connection) -> F,
    ) -> Poll<T>
    where
        F: Future<Output = T> + Send + Sync + 'static,
    {
        let waited = self.0.get_or_insert_with(|| Box::pin(begin(connection.clone()))).as_mut().poll(cx);
        if waited.is_ready() {
            self.0 = None;
        }
        waited
    }
}

impl quic::Connection<Bytes> for StreamConnection {
    type RecvStream = ReceiveHalf;
    type OpenStreams = StreamOpener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ReceiveHalf, ConnectionErrorIncoming>> {
        self.unread.poll(cx);
        let accepted = self
            .accepting_one_way
            .poll(cx, &self.opening.connection, |connection| async move { connection.accept_uni().await });
        let (bound, unread) = (&self.opening.bound, &self.unread);
        accepted.map(|accepted| {
            accepted.map(|stream| ReceiveHalf::one_way(stream, bound, unread.clone())).map_err(lost)
        })
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidirectionalStream, ConnectionErrorIncoming>> {
        let accepted = self
            .accepting
            .poll(cx, &self.opening.connection, |connection| async move { connection.accept_bi().await });
        let (sending, receiving) = ready!(accepted).map_err(lost)?;
        let stopped = sending.stopped();
        *self.stops.0.lock() = Some(Box::pin(async move {
            match stopped.await {
                Ok(Some(code)) => code,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }));
        Poll::Ready(Ok(BidirectionalStream::of((sending, receiving), &self.opening.bound)))
    }

    fn opener(&self) -> StreamOpener {
        self.opening.clone()
    }
}

impl OpenStreams<Bytes> for StreamConnection {
    type BidiStream = BidirectionalStream;
    type SendStream = SendHalf;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidirectionalStream, StreamErrorIncoming>> {
        self.opening.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendHalf, StreamErrorIncoming>> {
        self.opening.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opening.close(code, reason);
    }
}

/// Opens streams.
pub(super) struct StreamOpener {
    connection: quinn::Connection,
    bound: BufferBound,
    both: PolledFuture<Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>>,
    one_way: PolledFuture<Result<quinn::SendStream, ConnectionError>>,
}

impl StreamOpener {
    fn new(connection: quinn::Connection, bound: BufferBound) -> Self {
        Self { connection, bound, both: PolledFuture(None), one_way: PolledFuture(None) }
    }
}

impl Clone for StreamOpener {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone(), self.bound.clone())
    }
}

impl OpenStreams<Bytes> for StreamOpener {
    type BidiStream = BidirectionalStream;
    type SendStream = SendHalf;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidirectionalStream, StreamErrorIncoming>> {
        let opened =
            self.both.poll(cx, &self.connection, |connection| async move { connection.open_bi().await });
        opened
            .map(|opened| opened.map(|both| BidirectionalStream::of(both, &self.bound)).map_err(lost_stream))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendHalf, StreamErrorIncoming>> {
        let opened =
            self.one_way.poll(cx, &self.connection, |connection| async move { connection.open_uni().await });
        opened.map(|opened| opened.map(SendHalf::new).map_err(lost_stream))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(varint(code.value()), reason);
    }
}

/// A bidirectional stream.
pub(super) struct BidirectionalStream {
    sending: SendHalf,
    receiving: ReceiveHalf,
}

impl BidirectionalStream {
    fn of((sending, receiving): (quinn::SendStream, quinn::RecvStream), bound: &BufferBound) -> Self {
        Self { sending: SendHalf::new(sending), receiving: ReceiveHalf::of_call(receiving, bound) }
    }
}

impl BidiStream<Bytes> for BidirectionalStream {
    type SendStream = SendHalf;
    type RecvStream = ReceiveHalf;

    fn split(self) -> (SendHalf, ReceiveHalf) {
        (self.sending, self.receiving)
    }
}

impl SendStream<Bytes> for BidirectionalStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.sending.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.send_id()
    }
}

impl RecvStream for BidirectionalStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiving.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receiving.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiving.recv_id()
    }
}

/// The half of a stream that is written.
pub(super) struct SendHalf {
    stream: quinn::SendStream,
    writing: WriteState,
}

/// State of writing to a stream: the frame that is being written.
enum WriteState {
    Nothing,
    /// A frame with its head in one piece: each piece takes the lock of the connection, and wakes what sends.
    Small(Bytes),
    Large(WriteBuf<Bytes>),
}

impl WriteState {
    fn of(data: WriteBuf<Bytes>) -> Self {
        match data.remaining() {
            0..=SMALL => {
                let mut whole = BytesMut::with_capacity(data.remaining());
                whole.put(data);
                Self::Small(whole.freeze())
            }
            _ => Self::Large(data),
        }
    }

    fn rest(&mut self) -> Option<&mut dyn Buf> {
        let rest: &mut dyn Buf = match self {
            Self::Nothing => return None,
            Self::Small(rest) => rest,
            Self::Large(rest) => rest,
        };
        rest.has_remaining().then_some(rest)
    }
}

impl SendHalf {
    fn new(stream: quinn::SendStream) -> Self {
        Self { stream, writing: WriteState::Nothing }
    }
}

impl SendStream<Bytes> for SendHalf {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.rest() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk()));
            data.advance(written.map_err(unwritten)?);
        }
        self.writing = WriteState::Nothing;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        match std::mem::replace(&mut self.writing, WriteState::of(data.into())) {
            WriteState::Nothing => Ok(()),
            WriteState::Small(_) | WriteState::Large(_) => {
                let what = "data was sent while there was no room".to_owned();
                let connection_error = ConnectionErrorIncoming::InternalError(what);
                Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error })
            }
        }
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(error.into())))
    }

    fn reset(&mut self, code: u64) {
        // One that has ended needs none.
        let _ = self.stream.reset(varint(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// Bounds of what is kept of a connection, and the connection, which is closed when that is too much.
#[derive(Clone)]
struct BufferBound {
    connection: quinn::Connection,
    /// How long the frame of a head may be, in bytes.
    head_bytes_max: u64,
    undecoded: UndecodedBytes,
}

impl BufferBound {
    fn exceeded(&self, error: ExcessiveLoad) -> StreamErrorIncoming {
        tracing::debug!(remote = %self.connection.remote_address(), %error, "HTTP/3 connection closed");
        self.connection.close(varint(Code::H3_EXCESSIVE_LOAD.value()), b"");
        let connection_error = ConnectionErrorIncoming::Undefined(Arc::new(error));
        StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
    }
}

/// The half of a stream that is read. Dropping it before its end tells the other side to send no more.
pub(super) struct ReceiveHalf {
    id: quinn::StreamId,
    /// `None`: it is among those that nobody reads.
    stream: Option<quinn::RecvStream>,
    frames: StreamFrames,
    /// What has come and was not told apart yet.
    came: Bytes,
    bound: BufferBound,
    unread: UnreadStreams,
}

impl ReceiveHalf {
    fn of_call(stream: quinn::RecvStream, bound: &BufferBound) -> Self {
        let frames = StreamFrames::of_call(bound.head_bytes_max, bound.undecoded.clone());
        Self::new(stream, frames, bound, UnreadStreams::default())
    }

    fn one_way(stream: quinn::RecvStream, bound: &BufferBound, unread: UnreadStreams) -> Self {
        let frames = StreamFrames::one_way(bound.head_bytes_max, bound.undecoded.clone());
        Self::new(stream, frames, bound, unread)
    }

    fn new(
        stream: quinn::RecvStream,
        frames: StreamFrames,
        bound: &BufferBound,
        unread: UnreadStreams,
    ) -> Self {
        let (id, came) = (stream.id(), Bytes::new());
        Self { id, stream: Some(stream), frames, came, bound: bound.clone(), unread }
    }

    /// What has come, told apart: the next piece that is passed on.
    fn next(&mut self, cx: &mut Context<'_>) -> Result<Option<Bytes>, StreamErrorIncoming> {
        let piece = self.frames.pass(&mut self.came).map_err(|error| self.bound.exceeded(error))?;
        if self.frames.are_over()
            && let Some(stream) = self.stream.take()
        {
            self.came.clear();
            self.unread.add(stream, cx);
        }
        Ok(piece)
    }
}

impl RecvStream for ReceiveHalf {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            if let Some(piece) = self.next(cx)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            // Whoever asks on is not told that it has ended: these streams never do.
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            // It keeps nothing of what it waits for but whom to wake.
            let read = ready!(pin!(stream.read_chunk(usize::MAX, true)).poll(cx));
            match read.map_err(unread)? {
                Some(chunk) => self.came = chunk.bytes,
                None => return Poll::Ready(Ok(self.frames.rest())),
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        // One that has ended needs no stop.
        let _ = self.stream.as_mut().map(|stream| stream.stop(varint(code)));
    }

    fn recv_id(&self) -> StreamId {
        id(self.id)
    }
}

#[expect(clippy::expect_used, reason = "both are numbers of QUIC, of 62 bits")]
fn id(id: quinn::StreamId) -> StreamId {
    u64::from(VarInt::from(id)).try_into().expect("a number of a stream")
}

/// A code of HTTP/3 as QUIC carries it.
fn varint(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(closed) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: closed.error_code.into() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn lost_stream(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
}

fn unwritten(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into() },
        WriteError::ConnectionLost(error) => lost_stream(error),
        error => StreamErrorIncoming::Unknown(error.into()),
    }
}

fn unread(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into() },
        ReadError::ConnectionLost(error) => lost_stream(error),
        error => StreamErrorIncoming::Unknown(error.into()),
    }
}

//! Codec by which the generated services and clients put messages into bytes.

use std::marker::PhantomData;

use http::HeaderMap;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::metadata::MetadataValue;
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a call begins with, in bytes; it grows with its messages. Every open stream holds one: at tonic's own
/// 8 KiB the buffers alone of 10,000 watches would be 80 MB.
const BUFFER_BYTES: usize = 1024;
/// How much of a busy stream is gathered before it is sent, in bytes. A stream that has fallen behind may go
/// on holding a buffer of that size.
const GATHER_BYTES: usize = BUFFER_BYTES;

/// Protocol buffers by prost, with small buffers.
#[derive(Clone, Copy, Debug)]
pub struct SmallBufferCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBufferCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBufferCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = MarkingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, GATHER_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        MarkingDecoder(ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, GATHER_BYTES)))
    }
}

/// Set on the status of what could not be decoded: tonic reports it like a failure of our own.
const UNDECODABLE: &str = "omnirelay-undecodable";
/// How tonic begins to speak of a message that could not be decompressed.
const NOT_DECOMPRESSED: &str = "Error decompressing: ";

/// A decoder that marks its errors.
#[derive(Debug)]
pub struct MarkingDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for MarkingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.0.decode(buf).map_err(|mut status| {
            status.metadata_mut().insert(UNDECODABLE, MetadataValue::from_static("1"));
            status
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// How tonic speaks of a message that is too large once it is decompressed.
const OVERSIZED: &str = "Error decompressing: size limit, ";

/// Whether this is the status of a message that was too large once it was decompressed.
pub fn oversized(status: &HeaderMap) -> bool {
    Status::from_header_map(status).is_some_and(|status| status.message().starts_with(OVERSIZED))
}

/// How the decoder of health and reflection begins to speak, which do not mark their errors.
const NOT_DECODED: &str = "failed to decode Protobuf message: ";

/// Says what was wrong with a request's message; `None` when this is the status of anything else.
pub fn undecodable(status: &HeaderMap) -> Option<String> {
    let marked = status.contains_key(UNDECODABLE);
    let message = Status::from_header_map(status)?.message().to_owned();
    (marked || message.starts_with(NOT_DECOMPRESSED) || message.starts_with(NOT_DECODED)).then_some(message)
}

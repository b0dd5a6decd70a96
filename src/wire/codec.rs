//! How the generated services and clients put messages into bytes.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a call begins with, in bytes; it grows with its messages. Every open stream holds one: at tonic's own
/// 8 KiB the buffers alone of 10,000 watches would be 80 MB.
const BUFFER_BYTES: usize = 1024;
/// How much of a busy stream is gathered before it is sent, in bytes: tonic's own.
const GATHER_BYTES: usize = 32 * 1024;

/// Protocol buffers by prost, with small buffers.
#[derive(Clone, Copy, Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, GATHER_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, GATHER_BYTES))
    }
}

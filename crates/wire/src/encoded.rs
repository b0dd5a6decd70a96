//! An encoded message: what is passed on as it came, with what later versions add to it, what is encoded once for all
//! who are sent it, and what is put together from parts that were.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint};
use prost::{DecodeError, Message};

use crate::fields::{FieldValue, MessageField, fields};

/// How much an item is expected to be longer than what was encoded of it before, its key and length included.
const ITEM_BYTES: usize = 32;

/// A message and its bytes; if it was read from them, with the fields that have no name here. What of the two was not
/// there from the beginning is made once somebody asks for it. A clone shares both.
#[derive(Debug)]
pub struct EncodedMessage<M>(Arc<SharedEncoding<M>>);

/// Encoding and message that clones share: one of the two is there.
#[derive(Debug)]
struct SharedEncoding<M> {
    message: OnceLock<M>,
    bytes: OnceLock<Bytes>,
}

impl<M> Clone for EncodedMessage<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Message + Default> Default for EncodedMessage<M> {
    fn default() -> Self {
        M::default().into()
    }
}

impl<M: Message + Default> PartialEq for EncodedMessage<M> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl<M: Message + Default> EncodedMessage<M> {
    /// As it came, or goes.
    pub fn bytes(&self) -> &Bytes {
        self.0.bytes.get_or_init(|| self.encode_to_vec().into())
    }

    /// The message alone.
    pub fn into_message(self) -> M
    where
        M: Clone,
    {
        let _: &M = &self;
        let known = |message: OnceLock<M>| message.into_inner().unwrap_or_default();
        Arc::try_unwrap(self.0)
            .map_or_else(|shared| known(shared.message.clone()), |shared| known(shared.message))
    }

    /// `message` with more items in its field of this number: each of what was encoded before, and what there is to be
    /// said `besides`.
    pub fn with_items<'a, I, F: Message>(
        message: &M,
        number: u32,
        items: impl Iterator<Item = (&'a Bytes, I)> + Clone,
        besides: impl Fn(I) -> F,
    ) -> Self {
        let of_items: usize = items.clone().map(|(item, _)| item.len() + ITEM_BYTES).sum();
        let mut bytes = BytesMut::with_capacity(message.encoded_len() + of_items);
        message.encode_raw(&mut bytes);
        for (item, of) in items {
            let besides = besides(of);
            encode_key(number, WireType::LengthDelimited, &mut bytes);
            encode_varint((item.len() + besides.encoded_len()) as u64, &mut bytes);
            bytes.put_slice(item);
            besides.encode_raw(&mut bytes);
        }
        Self(Arc::new(SharedEncoding { message: OnceLock::new(), bytes: bytes.freeze().into() }))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When these bytes are none.
    pub fn read(bytes: Bytes) -> Result<Self, DecodeError> {
        Ok(Self::of(M::decode(bytes.clone())?, bytes))
    }

    /// A message that `field` is all of, under this number.
    pub fn around<F: Message + Default>(message: M, number: u32, field: &EncodedMessage<F>) -> Self {
        let mut bytes = BytesMut::with_capacity(field.bytes().len() + 16);
        encode_key(number, WireType::LengthDelimited, &mut bytes);
        encode_varint(field.bytes().len() as u64, &mut bytes);
        bytes.put_slice(field.bytes());
        Self::of(message, bytes.freeze())
    }

    /// The message in one of its fields, an empty one if there is none.
    ///
    /// # Errors
    /// When that is not what the field holds.
    pub fn field<F: Message + Default>(&self, number: u32) -> Result<EncodedMessage<F>, DecodeError> {
        let mut found = BytesMut::new();
        for field in fields(self.bytes()) {
            // Of more than one of them the fields come together.
            if let MessageField { number: at, value: FieldValue::Bytes(value), .. } = field?
                && at == number
            {
                found.put_slice(value);
            }
        }
        EncodedMessage::read(found.freeze())
    }

    /// The same in bytes of its own: others may be of a larger message, which they would keep.
    #[must_use]
    pub fn detached(self) -> Self
    where
        M: Clone,
    {
        let bytes = Bytes::copy_from_slice(self.bytes());
        Self::of(self.into_message(), bytes)
    }

    fn of(message: M, bytes: Bytes) -> Self {
        Self(Arc::new(SharedEncoding { message: message.into(), bytes: bytes.into() }))
    }
}

impl<M: Message + Default> Deref for EncodedMessage<M> {
    type Target = M;

    fn deref(&self) -> &M {
        let read = || self.0.bytes.get().and_then(|bytes| M::decode(bytes.clone()).ok()).unwrap_or_default();
        self.0.message.get_or_init(read)
    }
}

impl<M: Message + Default> From<M> for EncodedMessage<M> {
    fn from(message: M) -> Self {
        Self(Arc::new(SharedEncoding { message: message.into(), bytes: OnceLock::new() }))
    }
}

impl<M: Message + Default> Message for EncodedMessage<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        match self.0.bytes.get() {
            Some(bytes) => buf.put_slice(bytes),
            None => M::encode_raw(self, buf),
        }
    }

    fn encoded_len(&self) -> usize {
        self.0.bytes.get().map_or_else(|| M::encoded_len(self), Bytes::len)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        Self::read(buf.copy_to_bytes(buf.remaining()))
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Only reached inside another message, where nothing of ours has one of these.
        let mut message = M::decode(self.bytes().clone())?;
        message.merge_field(tag, wire_type, buf, context)?;
        *self = message.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::aeroarc::agent::v1::{OperationContext, SetOperationContextCommand};
    use crate::pb::aeroarc::relay::v1::SetOperationContextRequest;

    /// A context with a field that this version has no name for.
    fn context() -> Vec<u8> {
        let known = OperationContext { flight_id: "f".to_owned(), ..OperationContext::default() };
        [known.encode_to_vec(), b"\x22\x03abc".to_vec()].concat()
    }

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
    }

    #[test]
    fn what_has_no_name_here_comes_and_goes_as_it_is() {
        let bytes = Bytes::from(context());
        let passed_on = EncodedMessage::<OperationContext>::decode(bytes.clone()).unwrap();
        assert_eq!((passed_on.flight_id.as_str(), passed_on.encode_to_vec()), ("f", bytes.to_vec()));
        assert_eq!(passed_on.encoded_len(), bytes.len());
        assert!(EncodedMessage::<OperationContext>::decode(&b"\x0a\x7f"[..]).is_err());
    }

    #[test]
    fn fields_are_found_with_all_that_is_in_them() {
        let command = [field(1, b"c-1"), field(2, &context()), field(9, b"new")].concat();
        let request = [field(7, b"new"), field(2, &command), field(1, b"drone-1")].concat();
        let request = EncodedMessage::<SetOperationContextRequest>::read(request.into()).unwrap();
        let found = request.field::<SetOperationContextCommand>(2).unwrap();
        assert_eq!((found.command_id.as_str(), found.bytes().as_ref()), ("c-1", command.as_slice()));
        assert_eq!(request.field::<OperationContext>(3).unwrap(), EncodedMessage::default());
        let around = EncodedMessage::around(SetOperationContextRequest::default(), 2, &found);
        assert_eq!(around.bytes().as_ref(), field(2, &command));
    }

    #[test]
    fn parts_of_one_field_are_one_message() {
        let parts = [field(2, &field(1, b"c-1")), field(2, &field(2, &context()))].concat();
        let request = EncodedMessage::<SetOperationContextRequest>::read(parts.into()).unwrap();
        let found = request.field::<SetOperationContextCommand>(2).unwrap();
        assert_eq!(Some(&*found), request.command.as_ref());
    }
}

//! The glue between a generated service and what answers its methods, a line for each.

use tonic::Response;

/// Answer of a method: its message, or a response with headers of its own.
pub trait MethodAnswer<T> {
    fn response(self) -> Response<T>;
}

impl<T> MethodAnswer<T> for T {
    fn response(self) -> Response<T> {
        Response::new(self)
    }
}

impl<T> MethodAnswer<T> for Response<T> {
    fn response(self) -> Self {
        self
    }
}

/// Implements a service of the messages in `pb`: each of its calls, then each of its streams behind the name
/// of its associated type. Behind a method stands what answers it, of the noun, the caller and the request. An answer that
/// is put together from encoded parts is an `Encoded<...>`.
#[macro_export]
macro_rules! serve {
    (@answer $answer:ident) => { pb::$answer };
    (@answer $_encoded:ident $answer:ident) => { $crate::wire::encoded::EncodedMessage<pb::$answer> };
    (
        $service:ident for $noun:ty {
            $($method:ident($asked:ident) -> $answer:ident $(<$parts:ident>)?: |$of:pat_param, $who:pat_param, $what:pat_param| $by:expr;)*
            $([$stream:ident] $watch:ident($watched:ident) -> $event:ident:
                |$watch_of:pat_param, $watch_who:pat_param, $watch_what:pat_param| $watch_by:expr;)*
        }
    ) => {
        #[tonic::async_trait]
        impl $service for $noun {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<pb::$asked>,
                ) -> Result<tonic::Response<$crate::serve!(@answer $answer $($parts)?)>, tonic::Status> {
                    let caller = $crate::caller(&request)?;
                    let ($of, $who, $what) = (self, &caller, request.into_inner());
                    let answer: Result<_, $crate::wire::fault::Fault> = $by.await;
                    Ok($crate::serve::MethodAnswer::response(answer?))
                }
            )*
            $(
                type $stream = $crate::feed::NounEventStream<pb::$event>;

                async fn $watch(
                    &self,
                    request: tonic::Request<pb::$watched>,
                ) -> Result<tonic::Response<Self::$stream>, tonic::Status> {
                    let caller = $crate::caller(&request)?;
                    let ($watch_of, $watch_who, $watch_what) = (self, &caller, request.into_inner());
                    let events: Result<_, $crate::wire::fault::Fault> = $watch_by.await;
                    Ok(tonic::Response::new(events?))
                }
            )*
        }
    };
}

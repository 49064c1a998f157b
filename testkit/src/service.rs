//! The server as a tower service: the door without sockets.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;

use crate::{api, body::Body, state::Shared};

/// The server as a [`tower::Service`]: [`ApiServer::service`](crate::ApiServer::service).
///
/// It takes any request body and is always ready. An error means that the connection broke without an answer.
#[derive(Clone, Debug)]
pub struct ApiService {
    shared: Arc<Shared>,
    replica: usize,
}

impl ApiService {
    pub(crate) fn new(shared: Arc<Shared>, replica: usize) -> Self {
        Self { shared, replica }
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(api::handle(Arc::clone(&self.shared), request, self.replica))
    }
}

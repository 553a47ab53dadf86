//! The first look at a request: is it for AWS, or one of our own pages?

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use lambfold_api::lambda::{Lambda, LambdaInvoke};
use lambfold_api::logs::{LOGS_START_LIVE_TAIL, Logs};
use lambfold_api::sqs::{Sqs, SqsPeek};
use lambfold_aws_wire::sigv4::Verifier;
use lambfold_aws_wire::{Answer, Router};
use lambfold_types::{Clock, Entropy, uuid_v4};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::body::Room;
use crate::function_url::{self, Named, UrlTable};
use crate::messages;
use crate::pages::Pages;
use crate::{Metrics, Options};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Everything that it takes to answer a request.
pub(crate) struct Front {
    pub(crate) router: Router,
    pub(crate) sqs: Arc<dyn Sqs>,
    pub(crate) peek: Arc<dyn SqsPeek>,
    pub(crate) lambda: Arc<dyn Lambda>,
    pub(crate) invoke: Arc<dyn LambdaInvoke>,
    pub(crate) logs: Arc<dyn Logs>,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) pages: Pages,
    pub(crate) urls: Arc<UrlTable>,
    pub(crate) options: Options,
    /// For what arrives.
    pub(crate) room: Room,
    /// Cancelled when the edge stops: long polls and streams end then.
    pub(crate) stopping: CancellationToken,
}

impl Front {
    /// Answers `request`, which came from that address.
    pub(crate) async fn answer(&self, request: Request<Incoming>, from: IpAddr) -> Response<Answer> {
        let (head, body) = request.into_parts();
        // Before our own pages: a function's paths are its own.
        if let Some(named) = function_url::named(&head) {
            return self.at_function_url(named, head, body, from).await;
        }
        let request = Request::from_parts(head, body);
        if Pages::has(request.uri().path()) {
            return self
                .pages
                .answer(request.method(), request.uri().path(), &*self.entropy)
                .await
                .map(Answer::Whole);
        }
        if messages::is_page(request.uri().path()) {
            return self.messages(request.into_parts().0).await.map(Answer::Whole);
        }
        let began = Instant::now();
        let _under_way = self.metrics.begin();
        let request_id = uuid_v4(&*self.entropy);
        let (head, body) = request.into_parts();
        let (operation, mut response) = self.aws(head, body, request_id).await;
        response.headers_mut().insert(REQUEST_ID, header_value(request_id));
        self.metrics.answered(operation, "http", response.status().as_u16(), began.elapsed());
        if operation.is_some_and(|it| it.rpc_path == LOGS_START_LIVE_TAIL.rpc_path) {
            return response.map(|answer| self.until_stopping(answer));
        }
        response
    }

    async fn at_function_url(
        &self,
        named: Named,
        head: Parts,
        body: Incoming,
        from: IpAddr,
    ) -> Response<Answer> {
        let began = Instant::now();
        let _under_way = self.metrics.begin();
        let request_id = uuid_v4(&*self.entropy);
        let call = self.function_url(named, head, body, from, request_id);
        let (operation, mut response) = Box::pin(call).await;
        response.headers_mut().insert(REQUEST_ID, header_value(request_id));
        self.metrics.answered(operation, "url", response.status().as_u16(), began.elapsed());
        response
    }

    /// A stream that has no end of its own ends when the edge stops.
    fn until_stopping(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Whole(body) => Answer::Whole(body),
            Answer::Stream(body) => {
                Answer::Stream(Box::pin(body.take_until(self.stopping.clone().cancelled_owned())))
            }
        }
    }
}

fn header_value(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer)).expect("a UUID is visible ASCII")
}

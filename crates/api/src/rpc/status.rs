//! Faults as gRPC statuses with a typed detail, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

use crate::fault::Fault;
use crate::wire_messages::FaultDetail;

/// `google.rpc.Status`: the envelope in which gRPC carries typed details.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

const DETAIL_TYPE: &str = "type.googleapis.com/lambfold.api.v1.FaultDetail";

/// `fault` as it travels.
pub(super) fn detail_of(fault: &Fault) -> FaultDetail {
    FaultDetail {
        code: fault.code().to_owned(),
        query_code: fault.query_code().to_owned(),
        http_status: u32::from(fault.http_status()),
        message: fault.message().to_owned(),
        sender: fault.is_sender(),
        retry_after_ms: fault.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        members: fault.members().clone(),
    }
}

/// The fault that travelled as `detail`.
pub(super) fn fault_of(detail: FaultDetail) -> Fault {
    let http_status = u16::try_from(detail.http_status).unwrap_or(500);
    let mut fault = Fault::raw(detail.code, detail.query_code, http_status, detail.message);
    if !detail.sender {
        fault = fault.blame_receiver();
    }
    if let Some(wait) = detail.retry_after_ms {
        fault = fault.with_retry_after(Duration::from_millis(wait));
    }
    let members: BTreeMap<String, String> = detail.members;
    members.iter().fold(fault, |fault, (name, value)| fault.with_member(name, value.clone()))
}

/// The status that carries `fault`.
pub fn status_from_fault(fault: &Fault) -> Status {
    let detail = detail_of(fault);
    let code = match fault.http_status() {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 => Code::DeadlineExceeded,
        409 | 412 => Code::FailedPrecondition,
        413 | 429 => Code::ResourceExhausted,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        _ => Code::Internal,
    };
    let envelope = RpcStatus {
        code: code.into(),
        message: fault.to_string(),
        details: vec![prost_types::Any { type_url: DETAIL_TYPE.to_owned(), value: detail.encode_to_vec() }],
    };
    Status::with_details(code, fault.to_string(), envelope.encode_to_vec().into())
}

/// The fault that `status` carries; for a peer that sent no detail, the nearest by its code.
pub fn fault_from_status(status: &Status) -> Fault {
    let detail = RpcStatus::decode(status.details())
        .ok()
        .and_then(|envelope| envelope.details.into_iter().find(|any| any.type_url == DETAIL_TYPE))
        .and_then(|any| FaultDetail::decode(any.value.as_slice()).ok());
    let Some(detail) = detail else {
        return match status.code() {
            Code::Unavailable | Code::Cancelled => Fault::unavailable(),
            Code::DeadlineExceeded => Fault::deadline_exceeded(),
            Code::ResourceExhausted => Fault::overloaded(Duration::from_millis(100)),
            Code::Unimplemented => {
                Fault::raw("NotImplementedException", "NotImplemented", 501, status.message())
            }
            Code::Unauthenticated => {
                Fault::raw("UnrecognizedClientException", "UnrecognizedClient", 403, status.message())
            }
            Code::PermissionDenied => {
                Fault::raw("AccessDeniedException", "AccessDenied", 403, status.message())
            }
            _ => Fault::internal(),
        };
    };
    fault_of(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::ErrorCode;

    #[test]
    fn a_fault_survives_the_journey() {
        let fault = Fault::new(ErrorCode::QueueDoesNotExist, "The specified queue does not exist.")
            .with_member("Reason", "None")
            .with_retry_after(Duration::from_millis(5));
        assert_eq!(fault_from_status(&status_from_fault(&fault)), fault);
        let ours = Fault::internal();
        assert_eq!(fault_from_status(&status_from_fault(&ours)), ours);
    }

    #[test]
    fn a_status_without_detail_falls_back_to_its_code() {
        assert_eq!(fault_from_status(&Status::unavailable("gone")), Fault::unavailable());
        assert_eq!(fault_from_status(&Status::unknown("?")), Fault::internal());
    }
}

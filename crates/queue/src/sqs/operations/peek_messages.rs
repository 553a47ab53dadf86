//! Looking at messages: no operation of AWS's, for consoles and tests.

use lambfold_api::sqs::{PeekMessagesRequest, PeekMessagesResult, PeekedMessage};
use lambfold_api::{CallContext, Fault};

use super::receive_message::{Wanted, message};
use crate::MessageState;
use crate::sqs::faults;
use crate::sqs::service::{SqsService, fault};

const MOST: usize = 100;
const USUAL: i32 = 10;

pub(in crate::sqs) async fn peek_messages(
    service: &SqsService,
    ctx: &CallContext,
    input: PeekMessagesRequest,
) -> Result<PeekMessagesResult, Fault> {
    let queue = service.queue(ctx, input.queue_url.as_deref())?;
    let max = input.max_number_of_messages.unwrap_or(USUAL);
    let max = usize::try_from(max).ok().filter(|max| (1..=MOST).contains(max)).ok_or_else(|| {
        let reason = "Must be between 1 and 100, if provided.";
        faults::invalid_value(&max.to_string(), "MaxNumberOfMessages", reason)
    })?;
    let after = input.next_token.filter(|token| !token.is_empty()).map(|token| {
        token.parse::<u64>().map_err(|_| faults::invalid_parameter("Invalid or expired NextToken."))
    });
    let page = service.engine.peek(&queue, after.transpose()?, max).await.map_err(fault(&queue))?;
    let is_fifo = queue.kind().is_fifo();
    let show = |(received, state): (crate::Received, MessageState)| {
        let waits = matches!(state, MessageState::Delayed | MessageState::InFlight);
        PeekedMessage {
            visible_at: waits.then(|| received.visible_at.millis()),
            message: Some(message(is_fifo, received, &Wanted::everything())),
            state: Some(name(state).to_owned()),
        }
    };
    Ok(PeekMessagesResult {
        messages: page.messages.into_iter().map(show).collect(),
        next_token: page.next.map(|sequence| sequence.to_string()),
    })
}

fn name(state: MessageState) -> &'static str {
    match state {
        MessageState::Visible => "visible",
        MessageState::Delayed => "delayed",
        MessageState::InFlight => "in flight",
        MessageState::Moving => "moving",
    }
}

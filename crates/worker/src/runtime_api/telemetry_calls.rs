//! The one call of the Telemetry API, and that of the Logs API: to subscribe.

use std::io;

use super::Link;
use super::connection::refuse_with;
use super::extension_calls::{body, identifier, refuse};
use super::http::{Connection, Head};
use crate::telemetry::{Api, Refusal};

/// Serves one request. False if it was the last of its connection.
pub(super) async fn serve(
    api: Api,
    connection: &mut Connection,
    link: &Link,
    head: &Head,
) -> io::Result<bool> {
    let Some(body) = body(connection, head).await? else { return Ok(false) };
    let known = identifier(head).and_then(|identifier| {
        link.knows_extension(&identifier)?;
        Ok(identifier)
    });
    let identifier = match known {
        Ok(identifier) => identifier,
        Err(refusal) => {
            refuse(connection, &refusal, head.close).await?;
            return Ok(!head.close);
        }
    };
    let name = api.name();
    match link.subscribe(&identifier, api, &body) {
        Ok(()) => connection.answer("200 OK", "\"OK\"", head.close).await?,
        Err(Refusal::Closed) => {
            let error_type = format!("{name}.SubscriptionClosed");
            let message = format!("{name} API subscription is closed already");
            refuse_with(connection, "403 Forbidden", &error_type, &message, head.close).await?;
        }
        Err(Refusal::Invalid(message)) => {
            let error_type = match api {
                Api::Telemetry => "ValidationError",
                Api::Logs => "Logs.ValidationError",
            };
            refuse_with(connection, "400 Bad Request", error_type, &message, head.close).await?;
        }
    }
    Ok(!head.close)
}

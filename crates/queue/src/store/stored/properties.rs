//! A queue's properties as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::queue::{QueueProperties, QueueSettings, Redrive};
use lambfold_types::InvalidQueueName;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    delay_ms: u64,
    visibility_timeout_ms: u64,
    message_retention_period_ms: u64,
    receive_message_wait_time_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redrive: Option<StoredRedrive>,
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct StoredRedrive {
    dead_letter_queue: String,
    max_receive_count: u32,
}

pub(super) fn encode(properties: &QueueProperties) -> String {
    let QueueProperties { settings, attributes, tags } = properties;
    let stored = Stored {
        format: FORMAT,
        delay_ms: millis(settings.delay),
        visibility_timeout_ms: millis(settings.visibility_timeout),
        message_retention_period_ms: millis(settings.message_retention_period),
        receive_message_wait_time_ms: millis(settings.receive_message_wait_time),
        redrive: settings.redrive.as_ref().map(|redrive| StoredRedrive {
            dead_letter_queue: redrive.dead_letter_queue.to_string(),
            max_receive_count: redrive.max_receive_count,
        }),
        attributes: attributes.clone(),
        tags: tags.clone(),
    };
    serde_json::to_string(&stored).expect("text and numbers can always be written")
}

/// The error says what is wrong.
pub(super) fn decode(text: &str) -> Result<QueueProperties, String> {
    let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if stored.format != FORMAT {
        return Err(format!("properties of the unknown format {}", stored.format));
    }
    let redrive = stored.redrive.map(|redrive| {
        let name = redrive.dead_letter_queue.parse();
        let dead_letter_queue = name.map_err(|error: InvalidQueueName| error.to_string())?;
        Ok::<_, String>(Redrive { dead_letter_queue, max_receive_count: redrive.max_receive_count })
    });
    Ok(QueueProperties {
        settings: QueueSettings {
            delay: Duration::from_millis(stored.delay_ms),
            visibility_timeout: Duration::from_millis(stored.visibility_timeout_ms),
            message_retention_period: Duration::from_millis(stored.message_retention_period_ms),
            receive_message_wait_time: Duration::from_millis(stored.receive_message_wait_time_ms),
            redrive: redrive.transpose()?,
        },
        attributes: stored.attributes,
        tags: stored.tags,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

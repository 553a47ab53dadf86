//! Does what its event asks for.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if let Some(reason) = payload["fail"].as_str() {
        return Err(reason.into());
    }
    if payload["crash"] == true {
        std::process::exit(7);
    }
    println!("answering {}", context.request_id);
    Ok(json!({
        "payload": payload,
        "request": context.request_id,
        "function": context.env_config.function_name,
        "memory": context.env_config.memory,
        "deadline": context.deadline,
        "pid": std::process::id(),
    }))
}

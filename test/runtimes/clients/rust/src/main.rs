//! The test function of the lambda_runtime client: it does what its event says.

use lambda_runtime::{service_fn, Error, LambdaEvent};
use serde_json::{json, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var("INIT_FAIL").as_deref() == Ok("1") {
        eprintln!("init failed as asked");
        std::process::exit(4);
    }
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    let number = |name: &str| payload[name].as_u64().unwrap_or(0);
    match payload["do"].as_str().unwrap_or("echo") {
        "error" => return Err("boom".into()),
        "exit" => std::process::exit(3),
        "sleep" => tokio::time::sleep(Duration::from_millis(number("ms"))).await,
        "oom" => exhaust(),
        "big" => return Ok(Value::String("x".repeat(number("size") as usize - 2))),
        "context" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
            return Ok(json!({
                "requestId": context.request_id,
                "functionArn": context.invoked_function_arn,
                "remainingMs": context.deadline.saturating_sub(now),
                "traceId": context.xray_trace_id,
                "clientContext": context.client_context,
            }));
        }
        _ => {}
    }
    Ok(payload)
}

/// Takes and touches memory until the function is ended.
fn exhaust() -> ! {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1u8; 8 << 20]);
    }
}

//! Streams its answer as the path asks, by lambda_runtime. What /forever learns of
//! its caller's leaving, /told tells.

use lambda_runtime::streaming::{Body, Response, Sender, channel};
use lambda_runtime::{Error, LambdaEvent, MetadataPrelude, service_fn};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

static TOLD: AtomicBool = AtomicBool::new(false);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let path = event.payload["rawPath"].as_str().unwrap_or("").to_string();
    let path = path.rsplit('/').next().unwrap_or("").to_string();
    if path == "early" {
        return Err("before anything".into());
    }
    let (tx, stream) = channel();
    tokio::spawn(async move {
        let _ = write(&path, tx).await;
    });
    let mut prelude = MetadataPrelude {
        status_code: "203".parse()?,
        ..Default::default()
    };
    prelude.headers.insert("content-type", "text/plain".parse()?);
    prelude.headers.insert("x-a", "b".parse()?);
    Ok(Response { metadata_prelude: prelude, stream })
}

async fn write(path: &str, mut tx: Sender) -> Result<(), Error> {
    match path {
        "parts" => {
            tx.send_data("one\n".into()).await?;
            sleep(Duration::from_millis(400)).await;
            tx.send_data("two\n".into()).await?;
        }
        "forever" => {
            TOLD.store(false, Ordering::Relaxed);
            for _ in 0..2000 {
                if tx.send_data("x".repeat(1000).into()).await.is_err() {
                    TOLD.store(true, Ordering::Relaxed);
                    break;
                }
                sleep(Duration::from_millis(2)).await;
            }
        }
        "told" => {
            let told = TOLD.load(Ordering::Relaxed);
            tx.send_data(if told { "error" } else { "nothing" }.into()).await?;
        }
        "hang" => {
            tx.send_data("some\n".into()).await?;
            sleep(Duration::from_secs(60)).await;
        }
        "exit" => {
            tx.send_data("some\n".into()).await?;
            sleep(Duration::from_millis(50)).await;
            std::process::exit(3);
        }
        "big" => {
            for _ in 0..64 {
                tx.send_data(vec![b'x'; 1 << 20].into()).await?;
            }
        }
        _ => {}
    }
    Ok(())
}

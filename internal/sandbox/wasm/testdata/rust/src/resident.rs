//! A function that stays: it answers with its event, and counts.

use std::sync::atomic::{AtomicU32, Ordering};

#[link(wasm_import_module = "lambent")]
extern "C" {
    fn fail(kind: *const u8, kind_size: usize, message: *const u8, message_size: usize);
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static mut EVENT: Vec<u8> = Vec::new();
static mut ANSWER: Vec<u8> = Vec::new();

/// Makes room for an event.
#[no_mangle]
#[allow(static_mut_refs)]
pub unsafe extern "C" fn lambent_alloc(size: usize) -> *mut u8 {
    EVENT.resize(size, 0);
    EVENT.as_mut_ptr()
}

/// Handles the event.
#[no_mangle]
#[allow(static_mut_refs)]
pub unsafe extern "C" fn lambent_handle(_event: *const u8, size: usize) -> u64 {
    match handle(&EVENT[..size]) {
        Ok(answer) => ANSWER = answer,
        Err(message) => {
            let kind = "Function.Oops";
            fail(kind.as_ptr(), kind.len(), message.as_ptr(), message.len());
            return 0;
        }
    }
    (ANSWER.as_ptr() as u64) << 32 | ANSWER.len() as u64
}

fn handle(event: &[u8]) -> Result<Vec<u8>, String> {
    match event {
        b"\"count\"" => Ok(COUNT.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()),
        b"\"error\"" => Err("oh no".to_string()),
        b"\"panic\"" => panic!("cannot go on"),
        b"\"log\"" => {
            println!("to the log");
            Ok(b"null".to_vec())
        }
        _ => Ok(event.to_vec()),
    }
}

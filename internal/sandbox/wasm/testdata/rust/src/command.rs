//! A command: the event is its input, the answer its output.

use std::io::{self, Read, Write};
use std::{env, fs, process, thread, time::Duration};

fn main() -> io::Result<()> {
    let mut event = String::new();
    io::stdin().read_to_string(&mut event)?;
    let text = event.trim_matches('"');
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "exit" => {
            eprintln!("leaving");
            process::exit(7);
        }
        "error" => {
            print!("{{\"errorType\":\"Function.Oops\",\"errorMessage\":\"oh no\"}}");
            io::stdout().flush()?;
            process::exit(1);
        }
        "panic" => panic!("{rest}"),
        "sleep" => thread::sleep(Duration::from_secs(3600)),
        "spin" => loop {
            std::hint::black_box(0);
        },
        "grow" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1u8; 1 << 20]);
            }
        }
        "env" => print!("{}", env::var(rest).unwrap_or_default()),
        "read" => print!("{}", fs::read_to_string(rest)?),
        "log" => {
            eprintln!("{rest}");
            print!("null");
        }
        _ => print!("{event}"),
    }
    Ok(())
}

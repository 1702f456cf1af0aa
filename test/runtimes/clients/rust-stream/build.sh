#!/bin/sh
# Builds the function that streams by the lambda_runtime crate.
. "$(dirname "$0")/../cache.sh"

build() {
	cp -r "$here/Cargo.toml" "$here/Cargo.lock" "$here/src" "$2"
	cd "$2"
	cargo build --release --locked --quiet
	cp target/release/bootstrap "$1/bootstrap"
}

cached rust-stream "$(cargo --version)" build

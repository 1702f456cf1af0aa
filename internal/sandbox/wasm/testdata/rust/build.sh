#!/bin/sh
# Builds command.wasm and resident.wasm, which are kept, so that the tests need
# no Rust. It takes cargo, and: rustup target add wasm32-wasip1
set -eu
cd "$(dirname "$0")"
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
RUSTFLAGS="--remap-path-prefix=$PWD=/src --remap-path-prefix=$HOME=/home" CARGO_TARGET_DIR=$target \
	cargo build --quiet --release --locked --target wasm32-wasip1
cp "$target"/wasm32-wasip1/release/command.wasm "$target"/wasm32-wasip1/release/resident.wasm .

#!/bin/sh
# Builds the client on aws-lambda-go, at the version that go.mod names.
. "$(dirname "$0")/../cache.sh"

build() {
	cd "$here"
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$1/bootstrap" .
}

cached go "$(go version; cd "$here" && go list -m github.com/aws/aws-lambda-go)" build

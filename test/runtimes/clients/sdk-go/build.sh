#!/bin/sh
# Builds a function on the AWS SDK for Go that calls the API, at the versions that
# go.mod names.
. "$(dirname "$0")/../cache.sh"

build() {
	cd "$here"
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$1/bootstrap" .
}

cached sdk-go "$(go version; cd "$here" && go list -m github.com/aws/aws-sdk-go-v2/service/lambda github.com/aws/aws-lambda-go)" build

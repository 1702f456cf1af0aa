#!/bin/sh
# Installs boto3 beside a function that calls the API.
. "$(dirname "$0")/../cache.sh"

build() {
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		--target "$1" -r "$here/requirements.txt"
	# It has the models of all services.
	for service in "$1"/botocore/data/*/; do
		case $(basename "$service") in lambda | sts | logs) ;; *) rm -rf "$service" ;; esac
	done
	cp "$here/handler.py" "$1"
}

cached sdk-python "$(python3 --version)" build

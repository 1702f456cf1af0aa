#!/bin/sh
# Fetches the Java runtime interface client with Maven and compiles the handler.
. "$(dirname "$0")/../cache.sh"

build() {
	cp "$here/pom.xml" "$2"
	mvn --quiet --batch-mode -f "$2/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/lib"
	javac --release 17 -cp "$1/lib/*" -d "$1" "$here/Handler.java"
	cp "$here/bootstrap" "$1"
}

cached java "$(javac --version)" build

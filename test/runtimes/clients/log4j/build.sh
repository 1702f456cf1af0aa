#!/bin/sh
# Fetches AWS's appender for log4j with Maven and compiles a function that logs by it.
. "$(dirname "$0")/../cache.sh"

build() {
	cp "$here/pom.xml" "$2"
	mvn --quiet --batch-mode -f "$2/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/lib"
	javac --release 17 -proc:none -cp "$1/lib/*" -d "$1" "$here/Handler.java"
	cp "$here/log4j2.xml" "$1"
}

cached log4j "$(javac --version)" build

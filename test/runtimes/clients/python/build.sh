#!/bin/sh
# Installs awslambdaric for the interpreter $PYTHON, python3 by default.
. "$(dirname "$0")/../cache.sh"

python=$(command -v "${PYTHON:-python3}")
python=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')

build() {
	"$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		--target "$1/site" -r "$here/requirements.txt"
	cp "$here/handler.py" "$1"
	minor=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
	sed -e "s|@PYTHON@|$python|" -e "s|@MINOR@|$minor|" "$here/bootstrap" >"$1/bootstrap"
	chmod 755 "$1/bootstrap"
}

cached python "$python $("$python" --version)" build

# What the walks with the AWS CLI share. It is sourced; set -euo pipefail is theirs.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export AWS_PAGER="" AWS_MAX_ATTEMPTS=1

# The first aws on the path may be version 1, which cannot tail logs.
cli=
for candidate in aws /usr/local/bin/aws /usr/bin/aws; do
  case $("$candidate" --version 2>/dev/null) in aws-cli/2*) cli=$candidate; break ;; esac
done
[ -n "$cli" ] || { echo "no AWS CLI version 2" >&2; exit 1; }
# Versions before 2.13 do not read AWS_ENDPOINT_URL.
aws() { command "$cli" --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }

is() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: have $1, want $2" >&2; exit 1; }; }

#!/bin/bash
# The tests of the product that depend on the host's kernel and control groups, in a
# guest of scripts/vm.sh, which has built their programs.
#
#   scripts/vm.sh [...] scripts/vm-tests.sh [DIRECTORY TESTS]
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD failed=0
export LAMBENT_TEST_CACHE=$root/.vm/cache

check() { # DIRECTORY TESTS, or TEST/SUBTESTS
  local pattern="^(${2%%/*})\$"
  [[ $2 != */* ]] || pattern+="/^(${2#*/})\$"
  echo "$1"
  (cd "$1" && "$root/.vm/tests/$1" -test.v -test.timeout 900s -test.run "$pattern") 2>&1 | grep --line-buffered -vE '^(===|PASS|FAIL| +--- PASS)'
  [ "${PIPESTATUS[0]}" = 0 ] || failed=1
}

if [ $# = 2 ]; then
  check "$@"
else
  while read -r directory tests; do check "$directory" "$tests"; done <<'T'
test/e2e TestHibernation|TestOrphansAreEnded
internal/sandbox/linux TestLeftovers|TestCgroupRoot|TestGroupThatCannotBeMade|TestKilledServer|TestBlankMemory|TestForks|TestZygoteDies
internal/sandbox/linux TestExtensionsLeaveNothing|TestImageUser|TestImageThatIsComing|TestUserNamespacesAtOnce
internal/sandbox/linux TestConformance/Lifecycle|Stop|Escape|Freeze|PageOut|Collect|Recover
T
fi
[ $failed = 0 ] && echo "all is well" || echo "something is not well"
exit $failed

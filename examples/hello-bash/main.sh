# Answers with a greeting and with where it ran. The event is on standard input,
# the answer on standard output, the log on standard error.
handler() {
  local event name=stranger
  event=$(cat)
  [[ $event =~ \"name\":\ ?\"([^\"]*)\" ]] && name=${BASH_REMATCH[1]}
  printf '{"message":"Hello, %s!","bash":"%s","request":"%s"}' "$name" "$BASH_VERSION" "$AWS_REQUEST_ID"
}

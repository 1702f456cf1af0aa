# A function that does what its event says: {"do": "echo", ...}, with verbs of the
# other languages beside this folder. It reads JSON no better than it must.

count=0
[[ -z ${INIT_SLEEP-} ]] || sleep "0.$INIT_SLEEP"

handler() {
  local event verb
  event=$(cat)
  [[ ${event:0:64} =~ ^\{\ ?\"do\":\ ?\"([a-z_]+)\" ]] || { echo "$event"; return; }
  verb=${BASH_REMATCH[1]}
  if [[ $verb == size ]]; then # no patterns over megabytes
    event=${event:0:-2}
    event=${event:18}
    event=${event#*\"}
    event=${event#*\"}
    echo ${#event}
    return
  fi
  local value=null number=1 message='went wrong'
  [[ $event =~ \"value\":\ ?(.*)\}$ ]] && value=${BASH_REMATCH[1]}
  [[ $event =~ \"(code|seconds|bytes)\":\ ?([0-9]+) ]] && number=${BASH_REMATCH[2]}
  [[ $event =~ \"message\":\ ?\"([^\"]*)\" ]] && message=${BASH_REMATCH[1]}
  case $verb in
  echo) echo "$value" ;;
  error) echo "$message"; return 3 ;;
  exit) exit "$number" ;;
  crash) kill -SEGV $BASHPID ;;
  sleep) count=$((count + 1)); sleep "$number"; echo '"woke"' ;;
  oom) local all=x; while :; do all+=$all; done ;;
  big) printf '"%s"' "$(head -c "$number" /dev/zero | tr '\0' x)" ;;
  count) count=$((count + 1)); echo "{\"count\": $count, \"pid\": $$}" ;;
  log) printf '%s\n' "$(yes "$(printf 'y%.0s' {1..99})" | head -c "$number")" >&2; echo '"logged"' ;;
  say) value=${value//\"/}; [[ $value == null ]] && value=hello; echo "stderr $value" >&2; echo '"said"' ;;
  context)
    printf '{"aws_request_id":"%s","function_name":"%s","function_version":"%s","invoked_function_arn":"%s",' \
      "$AWS_REQUEST_ID" "$AWS_LAMBDA_FUNCTION_NAME" "$AWS_LAMBDA_FUNCTION_VERSION" "$LAMBDA_INVOKED_FUNCTION_ARN"
    printf '"memory_limit_in_mb":"%s","log_group_name":"%s","log_stream_name":"%s","remaining":%d,"client_context":%s,"identity":"who","trace":"%s"}' \
      "$AWS_LAMBDA_FUNCTION_MEMORY_SIZE" "$AWS_LAMBDA_LOG_GROUP_NAME" "$AWS_LAMBDA_LOG_STREAM_NAME" "$(remaining_time_in_millis)" \
      "${LAMBDA_CLIENT_CONTEXT:-null}" "$_X_AMZN_TRACE_ID"
    ;;
  env) environment ;;
  run) [[ $event =~ \[(.*)\] ]] && eval "quoted=\$(${BASH_REMATCH[1]//,/ })" && text "$quoted"$'\n' ;;
  files) files "$event" ;;
  where) echo "{\"cwd\": \"$PWD\", \"uid\": $EUID, \"user\": \"$(id -un)\"}" ;;
  esac
}

# text prints a JSON string.
text() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//$'\n'/\\n}"
}

environment() {
  local name separator='{'
  for name in $(compgen -e); do
    printf '%s%s:%s' "$separator" "$(text "$name")" "$(text "${!name}")"
    separator=,
  done
  echo '}'
}

files() {
  [[ $1 =~ \"path\":\ ?\"([^\"]*)\" ]] && local path=${BASH_REMATCH[1]}
  if [[ $1 =~ \"write\":\ ?\"([^\"]*)\" ]]; then
    printf %s "${BASH_REMATCH[1]}" >"$path" && echo ${#BASH_REMATCH[1]}
  else
    text "$(<"$path")"
  fi
}

argument() { echo "$1"; }

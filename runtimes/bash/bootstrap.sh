# lambent's Bash runtime: runs a handler on the AWS Lambda Runtime API, with
# nothing but Bash itself, head for large events, and rm once.
#
# The handler is a function of this very shell, so that what it sets is there for
# the next event. The event is its standard input and its first argument; what it
# prints is the answer, which should be JSON; its standard error is the log. A
# status other than 0 is an error, and what it printed then the message.

__lambent_api=/2018-06-01/runtime
__lambent_host=${AWS_LAMBDA_RUNTIME_API%:*}
__lambent_port=${AWS_LAMBDA_RUNTIME_API##*:}
__lambent_socket=

# __lambent_say tells the driver something; what is in runtimes/README.md.
__lambent_say() {
  if [[ -n ${__lambent_control-} ]]; then printf '%s' "$1" >&3; fi
}

__lambent_connect() {
  exec {__lambent_socket}<>"/dev/tcp/$__lambent_host/$__lambent_port"
}

# __lambent_head reads the status line and the headers of an answer.
__lambent_head() {
  local line
  IFS= read -r line <&"$__lambent_socket" || return 1
  __lambent_status=${line:9:3}
  __lambent_headers=()
  while IFS= read -r line <&"$__lambent_socket"; do
    line=${line%$'\r'}
    [[ -n $line ]] || return 0
    local name=${line%%:*} value=${line#*:}
    __lambent_headers[${name,,}]=${value# }
  done
  return 1
}

# __lambent_request sends a head and a body; a connection that had gone stale is
# made anew, once.
__lambent_request() {
  local LC_ALL=C
  if [[ -n $__lambent_socket ]]; then
    if printf '%s%s' "$1" "$2" 2>/dev/null >&"$__lambent_socket" && __lambent_head; then return; fi
    exec {__lambent_socket}>&-
  fi
  __lambent_connect && printf '%s%s' "$1" "$2" >&"$__lambent_socket" && __lambent_head && return
  echo "lambent: the Runtime API closed the connection" >&2
  exit 1
}

# __lambent_body reads the body into the file. Bash reads a socket byte by byte.
__lambent_body() {
  local LC_ALL=C size=${__lambent_headers[content-length]:-0} text
  if [[ ${__lambent_headers[transfer-encoding]-} == chunked ]]; then
    __lambent_chunks >"$1"
  elif ((size > 4096)); then
    head -c "$size" <&"$__lambent_socket" >"$1"
  else
    IFS= read -r -d '' -N "$size" text <&"$__lambent_socket" || true
    printf '%s' "$text" >"$1"
  fi
}

__lambent_chunks() {
  local line
  while IFS= read -r line <&"$__lambent_socket" && ((16#${line%$'\r'} > 0)); do
    head -c "$((16#${line%$'\r'}))" <&"$__lambent_socket"
    IFS= read -r line <&"$__lambent_socket"
  done
  while IFS= read -r line <&"$__lambent_socket" && [[ $line != $'\r' ]]; do :; done
}

# __lambent_post sends text: PATH TEXT HEADER...
__lambent_post() {
  local LC_ALL=C path=$1 text=$2 head=
  shift 2
  for header; do head+="$header"$'\r\n'; done
  __lambent_request "POST $__lambent_api$path HTTP/1.1"$'\r\n'"Host: $AWS_LAMBDA_RUNTIME_API"$'\r\n'"${head}Content-Length: ${#text}"$'\r\n\r\n' "$text"
  __lambent_body /dev/null
  case $__lambent_status in
  202 | 410 | 413) ;; # late or too large answers: the platform has told the caller
  *)
    echo "lambent: the Runtime API answered $__lambent_status to $path" >&2
    exit 1
    ;;
  esac
}

# __lambent_quote makes a JSON string of a text.
__lambent_quote() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\r'/\\r}
  text=${text//$'\t'/\\t}
  __lambent_quoted=\"${text//[[:cntrl:]]/ }\"
}

# __lambent_fail reports an error: PATH TYPE MESSAGE HEADER...
__lambent_fail() {
  local path=$1 type=$2
  __lambent_quote "$3"
  shift 3
  __lambent_post "$path" "{\"errorType\":\"$type\",\"errorMessage\":$__lambent_quoted,\"stackTrace\":[]}" \
    'Content-Type: application/json' "Lambda-Runtime-Function-Error-Type: $type" "$@"
}

# __lambent_init reads the file that FILE.FUNCTION names.
__lambent_init() {
  local file=${_HANDLER%.*}
  __lambent_function=${_HANDLER##*.}
  if [[ $_HANDLER != ?*.?* || $_HANDLER == *..* ]]; then
    __lambent_broken Runtime.MalformedHandlerName "Bad handler '$_HANDLER': it has the form FILE.FUNCTION"
  fi
  local at=$LAMBDA_TASK_ROOT/$file
  [[ -f $at ]] || at+=.sh
  [[ -f $at ]] || __lambent_broken Runtime.ImportModuleError "There is no file $file.sh"
  local said
  said=$(bash -n "$at" 2>&1) || __lambent_broken Runtime.UserCodeSyntaxError "${said//"$LAMBDA_TASK_ROOT/"/}"
  __lambent_file=$at
}

__lambent_broken() {
  __lambent_fail /init/error "$1" "$2"
  exit 1
}

# remaining_time_in_millis is how long the handler may still take.
remaining_time_in_millis() {
  local now=${EPOCHREALTIME/[.,]/}
  local left=$((LAMBDA_DEADLINE_MS - now / 1000))
  echo $((left > 0 ? left : 0))
}

# __lambent_call runs the handler on one event.
__lambent_call() {
  __lambent_body "$__lambent_event"
  local id=${__lambent_headers[lambda-runtime-aws-request-id]} tag=()
  [[ -n ${__lambent_headers[lambda-runtime-invocation-id]-} ]] &&
    tag=("Lambda-Runtime-Invocation-Id: ${__lambent_headers[lambda-runtime-invocation-id]}")
  export AWS_REQUEST_ID=$id
  export LAMBDA_DEADLINE_MS=${__lambent_headers[lambda-runtime-deadline-ms]:-0}
  export LAMBDA_INVOKED_FUNCTION_ARN=${__lambent_headers[lambda-runtime-invoked-function-arn]-}
  export LAMBDA_CLIENT_CONTEXT=${__lambent_headers[lambda-runtime-client-context]-}
  export LAMBDA_COGNITO_IDENTITY=${__lambent_headers[lambda-runtime-cognito-identity]-}
  export _X_AMZN_TRACE_ID=${__lambent_headers[lambda-runtime-trace-id]-}
  local status=0
  "$__lambent_function" "$(<"$__lambent_event")" <"$__lambent_event" >"$__lambent_answer" || status=$?
  if ((status == 0)); then
    __lambent_post "/invocation/$id/response" "$(<"$__lambent_answer")" 'Content-Type: application/json' "${tag[@]}"
  else
    local said
    said=$(<"$__lambent_answer")
    : "${said:=$__lambent_function returned $status}"
    printf '[ERROR] %s\tstatus %d: %s\n' "$id" "$status" "${said//$'\n'/$'\r'}" >&2
    __lambent_fail "/invocation/$id/error" "ExitStatus$status" "$said" "${tag[@]}"
  fi
}

declare -A __lambent_headers
__lambent_control=${LAMBENT_CONTROL-}
unset LAMBENT_CONTROL LAMBENT_BLANK

# __lambent_scratch makes a new file in memory, without a name: VARIABLE.
__lambent_scratch() {
  local path fd
  path=/dev/shm/.lambent-$$-$1
  exec {fd}<>"$path" || exit 1
  rm -f "$path"
  printf -v "$1" '/dev/fd/%d' "$fd"
}
__lambent_scratch __lambent_event
__lambent_scratch __lambent_answer

__lambent_say "W${EPOCHREALTIME/[.,]/}" # it has no clock but the wall's
__lambent_init
# What the file itself prints is log; standard output is the log too.
# shellcheck disable=SC1090
source "$__lambent_file" || __lambent_broken Runtime.InitError "$_HANDLER: the file ended with status $?"
declare -F "$__lambent_function" >/dev/null || __lambent_broken Runtime.HandlerNotFound "There is no function $__lambent_function in ${__lambent_file##*/}"
if [[ -n $__lambent_control ]]; then exec 3>&-; fi
while :; do
  __lambent_request "GET $__lambent_api/invocation/next HTTP/1.1"$'\r\n'"Host: $AWS_LAMBDA_RUNTIME_API"$'\r\n\r\n' ''
  if [[ $__lambent_status != 200 ]]; then
    echo "lambent: the Runtime API answered $__lambent_status to next" >&2
    exit 1
  fi
  __lambent_call
done

'use strict';

// lambent's Node.js runtime: runs a handler on the AWS Lambda Runtime API.

const control = require('./control.cjs');
const { Client } = require('./client.cjs');
const { RuntimeError, forLog, serialise, shape } = require('./errors.cjs');
const { patchConsole, setRequest, logError } = require('./log.cjs');

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

let client;
let handler;
let current = null; // the invocation that has not been answered
let initialising = true;

// Invocation is one event from its arrival to its answer, which is sent once.
class Invocation {
  constructor(headers) {
    this.id = headers['lambda-runtime-aws-request-id'];
    this.tag = headers['lambda-runtime-invocation-id'];
    this.waits = true; // callbackWaitsForEmptyEventLoop
    this.isAsync = false;
    this.held = null; // an answer that waits for the event loop to be empty
    this.deadline = Number(headers['lambda-runtime-deadline-ms'] || 0);
    this.context = this.makeContext(headers);
  }

  makeContext(headers) {
    const self = this;
    const env = process.env;
    const clientContext = fromHeader(headers['lambda-runtime-client-context']);
    const w3c = takeW3C(clientContext);
    return {
      get callbackWaitsForEmptyEventLoop() { return self.waits; },
      set callbackWaitsForEmptyEventLoop(value) { self.waits = Boolean(value); },
      functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
      functionName: env.AWS_LAMBDA_FUNCTION_NAME,
      memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
      clientContext,
      identity: fromHeader(headers['lambda-runtime-cognito-identity']),
      invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
      awsRequestId: self.id,
      tenantId: headers['lambda-runtime-aws-tenant-id'],
      xRayTraceId: headers['lambda-runtime-trace-id'],
      w3c: () => w3c,
      getRemainingTimeInMillis: () => Math.max(0, self.deadline - Date.now()),
      succeed: (value) => self.answerNow(null, value),
      fail: (error) => self.answerNow(error === undefined || error === null ? 'handled' : error),
      done: (error, value) => self.answerNow(error, value),
    };
  }

  headers(extra) {
    return this.tag === undefined ? extra : { 'Lambda-Runtime-Invocation-Id': this.tag, ...extra };
  }

  // callback is the handler's third argument.
  callback(error, value) {
    if (current !== this || this.held) return;
    if (this.waits) this.held = { error, value };
    else this.answerNow(error, value);
  }

  answerNow(error, value) {
    if (current !== this) return;
    if (error !== undefined && error !== null) return this.fail(error);
    let body;
    try {
      body = JSON.stringify(value === undefined ? null : value);
      if (body === undefined) body = 'null'; // a function or a symbol
    } catch {
      return this.fail(new Error('Unable to stringify response body'));
    }
    current = null;
    client.post(`/invocation/${this.id}/response`, this.headers({ 'Content-Type': 'application/json' }), body, proceed);
  }

  fail(error, then = proceed) {
    if (current !== this) return;
    current = null;
    logError('Invoke Error', error, forLog(error));
    this.report(error, then);
  }

  report(error, then) {
    client.post(`/invocation/${this.id}/error`, this.headers({
      'Content-Type': 'application/json',
      'Lambda-Runtime-Function-Error-Type': shape(error).errorType,
    }), serialise(error), then);
  }
}

// fromHeader reads JSON whose UTF-8 was taken for latin-1.
function fromHeader(value) {
  return value ? JSON.parse(Buffer.from(value, 'latin1').toString('utf8')) : undefined;
}

// takeW3C takes W3C's trace context out of the client context.
function takeW3C(clientContext) {
  const fields = {};
  if (clientContext && clientContext.w3c) {
    for (const name of ['traceparent', 'tracestate', 'baggage']) {
      if (typeof clientContext.w3c[name] === 'string') fields[name] = clientContext.w3c[name];
    }
    delete clientContext.w3c;
  }
  return Object.freeze(fields);
}

// proceed ends an invocation: the next one, or the process where the Runtime API
// is out of order.
function proceed(error) {
  if (error) {
    process.stderr.write(`lambent: ${error.message}\n`);
    process.exit(1);
  }
  client.next(receive);
}

function receive(error, headers, body) {
  if (error) return proceed(error);
  const invocation = new Invocation(headers);
  current = invocation;
  setRequest(invocation.id, invocation.context.tenantId);
  const trace = headers['lambda-runtime-trace-id'];
  if (trace) process.env._X_AMZN_TRACE_ID = trace;
  else delete process.env._X_AMZN_TRACE_ID;
  try {
    const event = JSON.parse(body.toString());
    if (handler[STREAMING] === 'response') return runStreaming(invocation, event);
    const result = handler(event, invocation.context, (e, value) => invocation.callback(e, value));
    if (result !== null && typeof result === 'object' && typeof result.then === 'function') {
      invocation.isAsync = true;
      result.then((value) => invocation.answerNow(null, value),
        (reason) => invocation.answerNow(reason === undefined || reason === null ? 'handled' : reason));
    }
  } catch (thrown) {
    invocation.answerNow(thrown === undefined || thrown === null ? 'handled' : thrown);
  }
}

function runStreaming(invocation, event) {
  const { ResponseStream } = require('./stream.cjs');
  let settled = false; // the next event comes when the handler is through as well
  const stream = new ResponseStream(client, `/invocation/${invocation.id}/response`,
    invocation.headers({}), handler[HIGH_WATER_MARK], (error, early) => {
      if (error && !early) return proceed(error);
      invocation.closed = () => {
        if (current !== invocation) return;
        current = null;
        proceed();
      };
      if (settled) invocation.closed();
    });
  invocation.isAsync = true;
  invocation.stream = stream;
  const settle = (error) => {
    settled = true;
    if (current !== invocation) return;
    if (error && (!invocation.closed || error !== stream.errored)) {
      if (!stream.started) return invocation.fail(error);
      logError('Invoke Error', error, forLog(error));
    }
    if (invocation.closed) invocation.closed();
    else if (error) stream.abort(error);
  };
  Promise.resolve(handler(event, stream, invocation.context)).then(() => {
    const ended = stream.writableEnded || invocation.closed;
    settle(ended ? null : new RuntimeError('Runtime.StreamError', 'The handler returned before it ended the response stream.'));
  }, (error) => settle(error || 'handled'));
}

// An empty event loop sends the answer that waited for it. Without one, a
// callback handler has forgotten its callback, which AWS answers with null, and
// an async handler waits for a promise that nothing will settle.
function onBeforeExit() {
  const invocation = current;
  if (invocation === null) return;
  if (invocation.closed) {
    invocation.closed();
  } else if (invocation.held) {
    const { error, value } = invocation.held;
    invocation.answerNow(error, value);
  } else if (invocation.isAsync) {
    const error = new RuntimeError('Runtime.NodeJsExit',
      'The event loop is empty, but the promise of the handler was never settled.');
    if (invocation.stream && invocation.stream.started) invocation.stream.abort(error);
    else invocation.fail(error);
  } else {
    invocation.answerNow(null, null);
  }
}

// die reports an error that nothing caught and ends the process, as AWS does.
function die(what, error, status) {
  logError(what, error, forLog(error));
  if (initialising) return initError(error, status);
  const invocation = current;
  current = null;
  if (invocation === null || invocation.closed) process.exit(status);
  if (invocation.stream && invocation.stream.started) {
    invocation.stream.abort(error, () => process.exit(status));
  } else {
    invocation.report(error, () => process.exit(status));
  }
}

let failed = false;

function initError(error, status) {
  if (failed) return;
  failed = true;
  client.post('/init/error', {
    'Content-Type': 'application/json',
    'Lambda-Runtime-Function-Error-Type': shape(error).errorType,
  }, serialise(error), () => process.exit(status));
}

function rejection(reason) {
  const error = new RuntimeError('Runtime.UnhandledPromiseRejection', String(reason));
  error.reason = reason;
  if (reason && reason.stack) error.stack = `${error.name}: ${error.message}\n${reason.stack}`;
  return error;
}

// streamifyResponse marks handlers that write their answer as a stream, and
// HttpResponseStream adds the status and headers of an HTTP answer to one.
function installGlobals() {
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (options && options.highWaterMark !== undefined) handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
      return handler;
    },
    HttpResponseStream: class {
      static from(stream, metadata) { return require('./stream.cjs').withPrelude(stream, metadata); }
    },
  };
}

async function main() {
  if (control.waits) {
    await require('./warm.cjs').warm();
    control.become();
  }
  client = new Client(process.env.AWS_LAMBDA_RUNTIME_API);
  client.connect(); // it is through by the time that the function's code is loaded
  client.socket.unref();
  patchConsole();
  installGlobals();
  process.on('uncaughtException', (error) => die('Uncaught Exception', error, 129));
  process.on('unhandledRejection', (reason) => die('Unhandled Promise Rejection', rejection(reason), 128));
  process.on('beforeExit', onBeforeExit);
  control.start();
  try {
    const { load } = require('./load.cjs');
    handler = await load(process.env.LAMBDA_TASK_ROOT || '/var/task', process.env._HANDLER || '');
    // A promise that the module left rejected is told of only after this turn.
    await new Promise(setImmediate);
  } catch (error) {
    logError('Uncaught Exception', error, forLog(error));
    return initError(error, 1);
  }
  if (failed) return;
  initialising = false;
  client.next(receive);
}

main();

// lambent's runtime for JavaScript engines other than Node: runs a handler on the
// AWS Lambda Runtime API. What differs between engines is in the host that the
// other files hand to run().

const API = '/2018-06-01/runtime';
const encoder = new TextEncoder();
const decoder = new TextDecoder();

// RuntimeError is a fault in the handler's set-up; its name is the errorType.
class RuntimeError extends Error {
  constructor(name, message, cause) {
    super(message);
    this.name = name;
    if (cause) this.stack = `${name}: ${message}${String(cause.stack || '').replace(String(cause), '')}`;
  }
}

// turned is the word that the function's own code comes next, and when (README.md): by
// the C library's clock, as the engines' own begin with the process.
export function turned(clockGettime) {
  const CLOCK_MONOTONIC = 1;
  const time = new BigInt64Array(2); // a struct timespec
  clockGettime(CLOCK_MONOTONIC, time);
  const word = new Uint8Array(9);
  word[0] = 'T'.charCodeAt(0);
  new DataView(word.buffer).setBigInt64(1, time[0] * 1_000_000_000n + time[1]);
  return word;
}

// Client speaks HTTP on one connection. A request whose connection had gone
// stale, as it may while the sandbox is frozen, is sent once more.
class Client {
  constructor(host, address) {
    const colon = address.lastIndexOf(':');
    this.host = host;
    this.hostname = address.slice(0, colon);
    this.port = Number(address.slice(colon + 1));
    this.common = `Host: ${address}\r\nUser-Agent: lambent-${host.name}/${host.version}\r\n`;
    this.connection = null;
    this.rest = new Uint8Array(0);
  }

  // next asks for an event: { headers, body }.
  async next() {
    const answer = await this.request(encoder.encode(`GET ${API}/invocation/next HTTP/1.1\r\n${this.common}\r\n`));
    if (answer.status !== 200) throw new Error(`the Runtime API answered ${answer.status} to next`);
    return answer;
  }

  // post sends text. An answer that the platform has no more use for (410) or
  // finds too large (413) is in order: the caller has been told.
  async post(path, headers, text) {
    const body = encoder.encode(text);
    let head = `POST ${API}${path} HTTP/1.1\r\n${this.common}`;
    for (const name of Object.keys(headers)) head += `${name}: ${headerValue(headers[name])}\r\n`;
    const { status, body: said } = await this.request(join(encoder.encode(`${head}Content-Length: ${body.length}\r\n\r\n`), body));
    if (status !== 202 && status !== 410 && status !== 413) {
      throw new Error(`the Runtime API answered ${status} to ${path}: ${decoder.decode(said.subarray(0, 500))}`);
    }
  }

  async request(bytes) {
    for (let fresh = false; ;) {
      if (this.connection === null) {
        this.connection = await this.host.connect(this.hostname, this.port);
        this.rest = new Uint8Array(0);
        fresh = true;
      }
      try {
        await this.connection.write(bytes);
        await this.fill();
      } catch (error) {
        this.connection.close();
        this.connection = null;
        if (fresh) throw error;
        continue;
      }
      return this.answer();
    }
  }

  async fill() {
    const part = await this.connection.read();
    if (part === null) throw new Error('the Runtime API closed the connection');
    this.rest = this.rest.length === 0 ? part : join(this.rest, part);
  }

  async answer() {
    let end;
    while ((end = headEnd(this.rest)) < 0) await this.fill();
    const lines = decoder.decode(this.rest.subarray(0, end)).split('\r\n');
    this.rest = this.rest.subarray(end + 4);
    const headers = Object.create(null);
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(':');
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    const body = headers['transfer-encoding'] === 'chunked' ? await this.chunks() : await this.exactly(Number(headers['content-length'] || 0));
    return { status: Number(lines[0].slice(9, 12)), headers, body };
  }

  // exactly joins the parts once, however many there are.
  async exactly(size) {
    const parts = [this.rest];
    for (let have = this.rest.length; have < size; have += parts[parts.length - 1].length) {
      this.rest = new Uint8Array(0);
      await this.fill();
      parts.push(this.rest);
    }
    const all = parts.length === 1 ? parts[0] : join(...parts);
    this.rest = all.subarray(size);
    return all.subarray(0, size);
  }

  async line() {
    let end;
    while ((end = this.rest.indexOf(10)) < 0) await this.fill();
    const text = decoder.decode(this.rest.subarray(0, end));
    this.rest = this.rest.subarray(end + 1);
    return text.trim();
  }

  async chunks() {
    const parts = [];
    for (let size; (size = parseInt(await this.line(), 16)) > 0; await this.line()) parts.push(await this.exactly(size));
    while (await this.line() !== '');
    return join(...parts);
  }
}

function join(...parts) {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// headEnd is where the empty line begins.
function headEnd(bytes) {
  for (let at = bytes.indexOf(13); at >= 0; at = bytes.indexOf(13, at + 1)) {
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  return -1;
}

// headerValue makes a value that cannot break out of its line.
function headerValue(value) {
  return String(value).replace(/[^\x20-\x7e]/g, ' ').slice(0, 256);
}

// ------------------------------------------------------------------ errors

// shape is the object for the caller, as AWS's Node.js runtime has it.
function shape(error) {
  try {
    if (!(error instanceof Error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
    const trace = String(error.stack || '').split('\n').filter((line) => !line.includes(here) && line !== '');
    // Only V8 begins a stack with what was thrown.
    const first = `${error.name}: ${error.message}`;
    if (!trace.length || !trace[0].includes(String(error.message).split('\n')[0])) trace.unshift(first);
    return { errorType: String(error.name), errorMessage: String(error.message), trace };
  } catch {
    return { errorType: 'handled', errorMessage: 'The error cannot be shown.', trace: [] };
  }
}

const here = import.meta.url.slice(0, import.meta.url.lastIndexOf('/') + 1).replace('file://', '');

// --------------------------------------------------------------------- log

const LEVELS = { TRACE: 10, DEBUG: 20, INFO: 30, WARN: 40, ERROR: 50, FATAL: 60 };
const METHODS = { trace: 'TRACE', debug: 'DEBUG', log: 'INFO', info: 'INFO', warn: 'WARN', error: 'ERROR' };

// Log makes console.* write lines in the function's log format.
class Log {
  constructor(host) {
    this.host = host;
    this.requestId = undefined;
    this.json = /^json$/i.test(host.env('AWS_LAMBDA_LOG_FORMAT') || '');
    const threshold = (this.json && LEVELS[(host.env('AWS_LAMBDA_LOG_LEVEL') || '').toUpperCase()]) || 0;
    for (const [method, level] of Object.entries(METHODS)) {
      console[method] = LEVELS[level] < threshold ? () => {} : (...args) => this.write(level, args);
    }
  }

  write(level, args) {
    const now = new Date().toISOString();
    if (this.json) return this.host.print(this.object(now, level, args) + '\n');
    // One call is one event: the log is collected by lines.
    this.host.print(`${now}\t${this.requestId}\t${level}\t${this.host.format(args).replace(/\n/g, '\r')}\n`);
  }

  object(timestamp, level, args) {
    const out = { timestamp, level, requestId: this.requestId };
    try {
      if (args.length === 1) return JSON.stringify({ ...out, message: args[0] }, expand);
    } catch {
      // circular, or with a BigInt: shown as text
    }
    return JSON.stringify({ ...out, message: this.host.format(args), ...expand('', args.find((a) => a instanceof Error)) });
  }

  // failure reports what nothing in the function caught.
  failure(what, error) {
    const { errorType, errorMessage, trace } = shape(error);
    if (this.json) this.write('ERROR', [error]);
    else this.write('ERROR', [`${what} \t` + JSON.stringify({ errorType, errorMessage, stack: trace })]);
  }
}

function expand(_, value) {
  if (!(value instanceof Error)) return value;
  return { errorType: value.name, errorMessage: value.message, stackTrace: String(value.stack || '').split('\n').slice(1) };
}

// ----------------------------------------------------------------- handler

const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs', '.tsx', '.jsx', '.cts', '.cjs', ''];

// load finds the handler that a string such as "dir/file.export" names.
async function load(host, root, name) {
  const base = name.slice(name.lastIndexOf('/') + 1);
  const dot = base.indexOf('.');
  if (dot < 0 || name.includes('..')) {
    throw new RuntimeError('Runtime.MalformedHandlerName', `Bad handler '${name}': it has the form FILE.EXPORT`);
  }
  const at = `${root}/${name.slice(0, name.length - base.length)}${base.slice(0, dot)}`;
  const file = EXTENSIONS.map((extension) => at + extension).find((path) => host.isFile(path));
  if (file === undefined) throw new RuntimeError('Runtime.ImportModuleError', `There is no module ${at.slice(root.length + 1)}`);
  const handler = base.slice(dot + 1).split('.').reduce((value, key) => value && value[key], await importModule(host, file));
  if (typeof handler !== 'function') {
    throw new RuntimeError('Runtime.HandlerNotFound', `${name} is ${handler === undefined ? 'undefined or not exported' : 'not a function'}`);
  }
  return handler;
}

async function importModule(host, file) {
  try {
    return await import(`file://${file}`);
  } catch (error) {
    const kind = host.importFault(error);
    throw kind ? new RuntimeError(kind, String(error), error) : error;
  }
}

// contextOf has the names of AWS's Node.js runtime.
function contextOf(host, headers) {
  const deadline = Number(headers['lambda-runtime-deadline-ms'] || 0);
  const parse = (text) => (text ? JSON.parse(text) : undefined);
  return {
    callbackWaitsForEmptyEventLoop: false,
    functionName: host.env('AWS_LAMBDA_FUNCTION_NAME'),
    functionVersion: host.env('AWS_LAMBDA_FUNCTION_VERSION'),
    memoryLimitInMB: host.env('AWS_LAMBDA_FUNCTION_MEMORY_SIZE'),
    logGroupName: host.env('AWS_LAMBDA_LOG_GROUP_NAME'),
    logStreamName: host.env('AWS_LAMBDA_LOG_STREAM_NAME'),
    clientContext: parse(headers['lambda-runtime-client-context']),
    identity: parse(headers['lambda-runtime-cognito-identity']),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

// ---------------------------------------------------------------- the loop

// run never returns. An error that nothing catches ends the process, as on AWS.
export async function run(host) {
  const client = new Client(host, host.env('AWS_LAMBDA_RUNTIME_API'));
  const log = new Log(host);
  let report = (error) => client.post('/init/error', errorHeaders(error), JSON.stringify(shape(error)));
  host.onUncaught(async (what, error) => {
    const tell = report;
    report = null;
    if (tell === null) return;
    const shown = what === 'Unhandled Promise Rejection' ? new RuntimeError('Runtime.UnhandledPromiseRejection', String(error), error) : error;
    log.failure(what, shown);
    // The connection may be in the middle of something else.
    client.connection = null;
    await tell(shown).catch(() => {});
    host.exit(1);
  });
  host.turnToFunction();
  let handler;
  try {
    handler = await load(host, host.env('LAMBDA_TASK_ROOT') || '/var/task', host.env('_HANDLER') || '');
  } catch (error) {
    const tell = report;
    report = null;
    if (tell === null) return;
    log.failure('Uncaught Exception', error);
    await tell(error);
    host.exit(1);
  }
  host.closeControl();
  try {
    for (;;) {
      report = null;
      const { headers, body } = await client.next();
      const id = headers['lambda-runtime-aws-request-id'];
      const tag = headers['lambda-runtime-invocation-id'];
      const extra = tag === undefined ? {} : { 'Lambda-Runtime-Invocation-Id': tag };
      log.requestId = id;
      host.setenv('_X_AMZN_TRACE_ID', headers['lambda-runtime-trace-id']);
      report = (error) => client.post(`/invocation/${id}/error`, { ...extra, ...errorHeaders(error) }, JSON.stringify(shape(error)));
      let answer;
      try {
        answer = await call(host, handler, headers, body);
      } catch (error) {
        if (report === null) await new Promise(() => {}); // the process is ending
        log.failure('Invoke Error', error);
        const tell = report;
        report = null;
        await tell(error);
        continue;
      }
      if (report === null) await new Promise(() => {});
      report = null;
      await client.post(`/invocation/${id}/response`, { ...extra, 'Content-Type': 'application/json' }, answer);
    }
  } catch (error) {
    host.print(`lambent: ${error.message}\n`);
    host.exit(1);
  }
}

function errorHeaders(error) {
  return { 'Content-Type': 'application/json', 'Lambda-Runtime-Function-Error-Type': shape(error).errorType };
}

async function call(host, handler, headers, body) {
  const value = await handler(JSON.parse(decoder.decode(body)), contextOf(host, headers));
  try {
    const text = JSON.stringify(value === undefined ? null : value);
    return text === undefined ? 'null' : text; // a function or a symbol
  } catch {
    throw new Error('Unable to stringify response body');
  }
}

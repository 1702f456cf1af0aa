'use strict';

// A function that does what its event says: {"do": "echo", ...}. The verbs are
// those of the other languages beside this folder.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

let counter = 0;
const kept = [];

class Custom extends Error {
  constructor(message) {
    super(message);
    this.name = 'Custom';
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const verbs = {
  echo: (event) => event.value,
  error: (event) => { throw new Custom(event.message || 'went wrong'); },
  exit: (event) => process.exit(event.code === undefined ? 1 : event.code),
  crash: () => process.abort(),
  sleep: async (event) => { counter++; await sleep((event.seconds || 3600) * 1000); return 'woke'; },
  spin: () => { for (;;); },
  oom: () => { for (;;) kept.push(Buffer.alloc(8 << 20, 1)); },
  big: (event) => 'x'.repeat(event.bytes === undefined ? 6 << 20 : event.bytes),
  size: (event) => (event.value || '').length,
  count: () => ({ count: ++counter, pid: process.pid }),
  env: () => ({ ...process.env }),
  log: (event) => {
    const line = 'y'.repeat(99) + '\n';
    for (let left = event.bytes || 100 << 20; left > 0; left -= 100000) fs.writeSync(1, line.repeat(1000));
    return 'logged';
  },
  say: (event) => {
    const text = event.value || 'hello';
    console.log('log %s', text);
    console.info('info', text);
    console.debug('debug', text);
    console.warn('warn', text);
    console.error('error', text);
    console.log('two\nlines');
    process.stdout.write(`print ${text}\n`);
    process.stderr.write(`stderr ${text}\n`);
    return 'said';
  },
  context: (event, context) => ({
    aws_request_id: context.awsRequestId,
    function_name: context.functionName,
    function_version: context.functionVersion,
    invoked_function_arn: context.invokedFunctionArn,
    memory_limit_in_mb: context.memoryLimitInMB,
    log_group_name: context.logGroupName,
    log_stream_name: context.logStreamName,
    remaining: context.getRemainingTimeInMillis(),
    client_context: context.clientContext,
    identity: context.identity && context.identity.cognitoIdentityId,
    trace: process.env._X_AMZN_TRACE_ID,
    w3c: context.w3c(),
  }),
  where: () => ({
    cwd: process.cwd(),
    uid: process.getuid(),
    gid: process.getgid(),
    user: os.userInfo().username,
    hostname: os.hostname(),
    task: fs.readdirSync('.').sort(),
    version: process.versions.node,
  }),
  files: (event) => {
    if ('write' in event) {
      fs.writeFileSync(event.path, event.write);
      return event.write.length;
    }
    if (fs.statSync(event.path).isDirectory()) return fs.readdirSync(event.path).sort();
    return fs.readFileSync(event.path, 'utf8').slice(0, event.limit || 65536);
  },
  fill_tmp: (event) => {
    const block = Buffer.alloc(1 << 20, 'x');
    let wrote = 0;
    const fd = fs.openSync('/tmp/fill', 'w');
    try {
      while (wrote < (event.limit || Infinity)) wrote += fs.writeSync(fd, block);
      return { wrote, errno: 0 };
    } catch (error) {
      return { wrote, errno: -error.errno };
    } finally {
      fs.closeSync(fd);
      fs.unlinkSync('/tmp/fill');
    }
  },
  fork: async (event) => {
    const { spawn } = require('node:child_process');
    let children = 0;
    for (; children < (event.limit || 100000); children++) {
      const child = spawn('sleep', [String(event.seconds || 3600)], { stdio: 'ignore' });
      const error = await new Promise((resolve) => { child.once('spawn', () => resolve(null)); child.once('error', resolve); });
      child.unref();
      if (error) return { children, errno: -error.errno };
    }
    return { children, errno: 0 };
  },
  open_files: (event) => {
    const opened = [];
    let errno = 0;
    try {
      while (opened.length < (event.limit || 100000)) opened.push(fs.openSync('/dev/null'));
    } catch (error) {
      errno = -error.errno;
    }
    opened.forEach((fd) => fs.closeSync(fd));
    return { opened: opened.length, errno };
  },
  close_sockets: () => {
    for (const name of fs.readdirSync('/proc/self/fd')) {
      try {
        if (fs.readlinkSync(`/proc/self/fd/${name}`).startsWith('socket:')) fs.closeSync(Number(name));
      } catch {
        // gone already
      }
    }
    return 'closed';
  },
  unserialisable: () => { const a = {}; a.a = a; return a; },
  layer: (event) => require(event.module || 'from-layer'),
  background: () => {
    setInterval(() => {}, 3600000).unref();
    const child = require('node:child_process').spawn('sleep', ['3600'], { stdio: 'ignore' });
    child.unref();
    return child.pid;
  },
  run: (event) => require('node:child_process').execFileSync(event.command[0], event.command.slice(1), { stdio: 'pipe' }).toString(),
  never: () => new Promise(() => {}),
  throw_later: async () => { setTimeout(() => { throw new Custom('later'); }, 1); await sleep(3600000); },
  reject_later: async () => { Promise.reject(new Custom('rejected')); await sleep(3600000); },
  throw_value: () => { throw 'only text'; },
  probe: (event) => require(path.join(__dirname, 'probes.js')).run(event),
};

exports.handler = async (event, context) => {
  if (event === null || typeof event !== 'object' || !('do' in event)) return event;
  return verbs[event.do](event, context);
};

exports.callback = (event, context, callback) => {
  if (event.waits === false) context.callbackWaitsForEmptyEventLoop = false;
  if (event.later) setTimeout(() => console.log('later work is done'), event.later);
  if (event.forget) return;
  if (event.fail) return callback(new Custom(event.fail));
  callback(null, { style: 'callback' });
};

exports.legacy = (event, context) => {
  if (event.fail) return context.fail(new Custom(event.fail));
  if (event.done) return context.done(null, 'done');
  context.succeed('succeeded');
};

exports.nested = { deep: { handler: async () => 'nested export' } };

exports.text = 'not a function';

exports.stream = globalThis.awslambda && awslambda.streamifyResponse(async (event, stream) => {
  if (event.fail === 'early') throw new Custom('early');
  if (event.http) stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 'b' } });
  else stream.setContentType('text/plain');
  stream.write('first ');
  await sleep(5);
  if (event.fail === 'late') throw new Custom('late');
  stream.write('second');
  stream.end();
});

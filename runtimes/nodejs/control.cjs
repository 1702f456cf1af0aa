'use strict';

// The control protocol with the sandbox's driver (README.md) on descriptor 3, and
// the process that has no function yet.

const fs = require('node:fs');

const CONTROL = 3;
// The environment of a function holds at most 4 KB of its own (Lambda quotas).
const LIMIT = 256 * 1024;

let listens = process.env.LAMBENT_CONTROL === String(CONTROL);
// Only a process without a function lacks the address.
const waits = process.env.AWS_LAMBDA_RUNTIME_API === undefined;
forget(process.env);

function forget(env) {
  delete env.LAMBENT_CONTROL;
  delete env.LAMBENT_BLANK;
}

// start tells that the function's own code comes next. Nothing is left of the
// socket then. Node itself has made it close-on-exec.
function start() {
  if (!listens) return;
  listens = false;
  const word = Buffer.from('T        ');
  word.writeBigUInt64BE(process.hrtime.bigint(), 1);
  tell(word);
  try {
    fs.closeSync(CONTROL);
  } catch {
    // somebody else's variable: there is no such descriptor
  }
}

function tell(message) {
  try {
    fs.writeSync(CONTROL, message);
  } catch {
    // the driver has given up on us, and will say so in its own way
  }
}

// become returns when this process has its function's environment. Nothing but
// reading is left to do then: it blocks.
function become() {
  tell('B');
  const env = JSON.parse(exactly(exactly(4).readUInt32BE(0)).toString()).env;
  forget(env);
  const path = process.env.NODE_PATH;
  for (const name of Object.keys(process.env)) if (env[name] === undefined) delete process.env[name];
  for (const name of Object.keys(env)) if (process.env[name] !== env[name]) process.env[name] = env[name]; // TZ is noticed
  if (env.NODE_PATH !== path) require('node:module').Module._initPaths();
  process.chdir(env.LAMBDA_TASK_ROOT || '/var/task');
}

function exactly(size) {
  if (size > LIMIT) process.exit(1);
  const data = Buffer.alloc(size);
  for (let have = 0; have < size;) {
    const count = fs.readSync(CONTROL, data, have, size - have, null);
    if (count === 0) process.reallyExit(0); // nobody needs this blank
    have += count;
  }
  return data;
}

module.exports = { waits, start, become };

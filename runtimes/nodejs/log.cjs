'use strict';

// console.* writes lines in the function's log format.

const fs = require('node:fs');
const util = require('node:util');
const { RuntimeError, isError } = require('./errors.cjs');

const LEVELS = { TRACE: 10, DEBUG: 20, INFO: 30, WARN: 40, ERROR: 50, FATAL: 60 };
const METHODS = { trace: 'TRACE', debug: 'DEBUG', log: 'INFO', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };

let json = false;
let requestId;
let tenantId;

function setRequest(id, tenant) {
  requestId = id;
  tenantId = tenant;
}

// write is synchronous, so that no line is lost when the process ends. Somebody
// who uses process.stdout too makes the pipe non-blocking: then it is tried again.
function write(text) {
  const data = Buffer.from(text);
  for (let at = 0; at < data.length;) {
    try {
      at += fs.writeSync(1, data, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function line(level, args) {
  const now = new Date().toISOString();
  if (json) return jsonLine(now, level, args);
  // One call is one event: the log is collected by lines.
  const message = util.format(...args).replace(/\n/g, '\r');
  return `${now}\t${requestId === undefined ? 'undefined' : requestId}\t${level}\t${message}\n`;
}

function jsonLine(timestamp, level, args) {
  const out = { timestamp, level, requestId };
  if (tenantId !== undefined) out.tenantId = tenantId;
  if (args.length === 1) {
    out.message = args[0];
    try {
      return JSON.stringify(out, replace) + '\n';
    } catch {
      // circular, or with a BigInt: shown as text
    }
  }
  out.message = util.format(...args);
  const error = args.find(isError);
  if (error) Object.assign(out, expand(error));
  return JSON.stringify(out) + '\n';
}

function expand(error) {
  return { errorType: kind(error), errorMessage: error.message, stackTrace: String(error.stack || '').split('\n') };
}

// kind is the error's class, which need not have a name of its own.
function kind(error) {
  if (error instanceof RuntimeError || !error.constructor) return error.name;
  return error.constructor.name;
}

// replace shows what an error carries besides, such as its code, as well.
function replace(_, value) {
  return isError(value) ? { ...expand(value), ...value } : value;
}

// patchConsole goes by the environment, which is there only now in a blank.
function patchConsole() {
  json = /^json$/i.test(process.env.AWS_LAMBDA_LOG_FORMAT || '');
  const threshold = (json && LEVELS[(process.env.AWS_LAMBDA_LOG_LEVEL || '').toUpperCase()]) || 0;
  for (const [method, level] of Object.entries(METHODS)) {
    console[method] = LEVELS[level] < threshold ? () => {} : (...args) => write(line(level, args));
  }
}

// logError reports what the platform's own code found.
function logError(what, error, formatted) {
  if (json) write(jsonLine(new Date().toISOString(), 'ERROR', [error]));
  else write(line('ERROR', [`${what} \t${formatted}`]));
}

module.exports = { patchConsole, setRequest, logError };

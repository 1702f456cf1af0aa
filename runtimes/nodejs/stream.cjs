'use strict';

// Response streaming: the answer goes to the Runtime API as it is written.

const { Writable } = require('node:stream');
const { serialise, shape } = require('./errors.cjs');

const PRELUDE_TYPE = 'application/vnd.awslambda.http-integration-response';

class ResponseStream extends Writable {
  // done(error) is called when the Runtime API has taken the whole answer.
  constructor(client, path, headers, highWaterMark, done) {
    super(highWaterMark > 0 ? { highWaterMark } : {});
    this.client = client;
    this.path = path;
    this.headers = { 'Lambda-Runtime-Function-Response-Mode': 'streaming', 'Content-Type': 'application/octet-stream', ...headers };
    this.finished = done;
    this.started = false;
  }

  setContentType(type) {
    if (this.started) throw new Error('The content type cannot be set after the first write.');
    this.headers['Content-Type'] = type;
  }

  start() {
    if (this.started) return;
    this.started = true;
    this.request = this.client.stream(this.path, this.headers, (error) => this.finished(error));
  }

  _write(chunk, encoding, sent) {
    this.start();
    if (this.prelude) {
      const prelude = this.prelude;
      this.prelude = null;
      this.request.write(prelude, () => {});
    }
    this.request.write(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk, encoding), sent);
  }

  _final(sent) {
    this.start();
    if (this.prelude) this.request.write(this.prelude, () => {});
    this.request.end({});
    sent();
  }

  // abort ends the answer with an error in the trailers.
  abort(error, then) {
    if (then) this.finished = then;
    this.request.end({
      'Lambda-Runtime-Function-Error-Type': shape(error).errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(serialise(error)).toString('base64'),
    });
  }
}

// withPrelude puts the metadata of an HTTP answer before the body: JSON, then
// eight zero bytes.
function withPrelude(stream, metadata) {
  stream.setContentType(PRELUDE_TYPE);
  stream.prelude = Buffer.concat([Buffer.from(JSON.stringify(metadata)), Buffer.alloc(8)]);
  return stream;
}

module.exports = { ResponseStream, withPrelude };

// Serves one function over HTTP: node serve.cjs FILE ENTRYPOINT, started in the
// folder of the function's source, with the port in PORT. It belongs to the
// ingress and needs nothing that is not part of Node.
'use strict';

const http = require('node:http');
const { loadFunction } = require('./load.cjs');
const { Request } = require('./request.cjs');
const { Response } = require('./response.cjs');
const { readBody, BodyError } = require('./body.cjs');

// Longer than the ingress keeps a connection it does not use: whoever closes
// first must be the ingress, or a request could meet the closing.
const keepAliveTimeout = 10 * 60 * 1000;
// More than the ingress accepts of a visitor, to which it adds its own.
const maxHeaderSize = 128 * 1024;

// fail says on standard error why the function cannot be served, and ends.
function fail(message) {
  process.stderr.write(message + '\n');
  process.exit(1);
}

// guarded calls the function so that what it throws, or rejects with later,
// becomes an answer and a line in the log, and the process lives.
function guarded(fn) {
  return async (req, res) => {
    try {
      await fn(req, res);
    } catch (err) {
      failed(req, res, err);
    }
  };
}

function failed(req, res, err) {
  console.error(`${req.method} ${req.path} failed:`, err);
  refuse(res, 500);
}

// refuse answers with a status and its name, or breaks off an answer that has
// begun: its end would look like success.
function refuse(res, status) {
  if (res.writableEnded) return;
  if (res.headersSent) {
    res.destroy();
    return;
  }
  for (const name of res.getHeaderNames()) res.removeHeader(name);
  const body = Buffer.from(http.STATUS_CODES[status] + '\n');
  res.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': body.length });
  res.end(body);
}

// ownServer gives the function a request and a response with what authors know
// from Express, without it.
function ownServer(fn) {
  const call = guarded(fn);
  const options = { IncomingMessage: Request, ServerResponse: Response, maxHeaderSize };
  return http.createServer(options, async (req, res) => {
    try {
      await readBody(req);
    } catch (err) {
      if (err instanceof BodyError) {
        console.error(`${req.method} ${req.path} refused: ${err.message}`);
        // Node reads what is left of the body: closing instead would reset the
        // connection, and the sender might never see the answer.
        refuse(res, err.status);
      }
      return; // otherwise the visitor has gone
    }
    await call(req, res);
  });
}

// frameworkServer serves through the Functions Framework that the author
// installed: its requests and responses are those of the real Express.
function frameworkServer(framework, name, fn) {
  framework.http(name, guarded(fn));
  return framework.testing.getTestServer(name);
}

// answerBeforeTheEnd tells those who wait for an answer, when an error outside
// of any request ends the process.
function answerBeforeTheEnd(inFlight) {
  process.on('uncaughtException', (err) => {
    console.error('The function failed outside of a request, which ends its process:', err);
    const answers = [...inFlight].map((res) => new Promise((done) => {
      res.once('close', done);
      refuse(res, 500);
    }));
    Promise.all(answers).then(() => process.exit(1));
    setTimeout(() => process.exit(1), 1000).unref();
  });
}

// drainOnSignal ends the process with code 0 once the requests in flight have
// their answers.
function drainOnSignal(server, inFlight) {
  let draining = false;
  const drain = () => {
    if (draining) return;
    draining = true;
    for (const res of inFlight) res.shouldKeepAlive = false;
    server.prependListener('request', (req, res) => { res.shouldKeepAlive = false; });
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  };
  process.on('SIGTERM', drain);
  process.on('SIGINT', drain);
  return () => { if (draining) setImmediate(() => server.closeIdleConnections()); };
}

async function main() {
  const [file, entrypoint] = process.argv.slice(2);
  const port = Number(process.env.PORT);
  if (!Number.isInteger(port) || port < 1 || port > 65535) fail('PORT is not a port number.');
  const loaded = await loadFunction(file, entrypoint);
  if (loaded.problem) fail(loaded.problem);

  const server = loaded.framework ? frameworkServer(loaded.framework, entrypoint, loaded.fn) : ownServer(loaded.fn);
  const inFlight = new Set();
  const closeIdle = drainOnSignal(server, inFlight);
  server.prependListener('request', (req, res) => {
    inFlight.add(res);
    res.once('close', () => { inFlight.delete(res); closeIdle(); });
  });
  answerBeforeTheEnd(inFlight);
  server.keepAliveTimeout = keepAliveTimeout;
  server.requestTimeout = 0; // the ingress bounds how long a visitor may take
  server.on('error', (err) => fail(`cannot listen on port ${port}: ${err.message}`));
  server.listen(port, '127.0.0.1', 511);
}

// What the source throws while it loads is left uncaught: Node then prints the
// file, the line and the stack, and ends with code 1.
main();

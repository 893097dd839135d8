// The app that the tests deploy: it does what its path says.
const http = require('http');
const crypto = require('crypto');

const version = process.env.TEST_VERSION || require('fs').readFileSync(__dirname + '/version', 'utf8').trim();

const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://app');
  switch (url.pathname) {
    case '/pid':
      return res.end(String(process.pid));
    case '/env':
      return res.end(JSON.stringify(process.env));
    case '/headers':
      return res.end(JSON.stringify(req.headers));
    case '/slow':
      return setTimeout(() => res.end(version), Number(url.searchParams.get('ms')));
    case '/stream':
      res.write('begin\n');
      return req.on('close', () => res.end());
    case '/crash':
      console.error('crashing as told');
      return process.exit(3);
    case '/print':
      console.log(url.searchParams.get('text'));
      return res.end('printed');
    case '/echo':
      return req.pipe(res);
  }
  res.setHeader('X-Version', version);
  res.end('version ' + version);
});

// A WebSocket that sends every text frame back.
server.on('upgrade', (req, socket) => {
  const accept = crypto.createHash('sha1').update(req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + '\r\n\r\n');
  socket.on('data', frame => {
    const length = frame[1] & 0x7f, mask = frame.subarray(2, 6);
    if ((frame[0] & 0x0f) !== 1 || length > 125) return socket.end();
    const text = Buffer.from(frame.subarray(6, 6 + length).map((b, i) => b ^ mask[i % 4]));
    socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  });
  socket.on('end', () => socket.end());
  socket.on('error', () => {});
});

process.on('SIGTERM', () => { console.log('asked to end'); server.close(() => process.exit(0)); server.closeIdleConnections(); });

server.listen(process.env.PORT, () => console.log('version ' + version + ' listens'));

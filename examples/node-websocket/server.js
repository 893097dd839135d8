// An app in Node with WebSockets: everybody who has the page open is in one chat.
//
//   ingress app run chat --dir examples/node-websocket
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { WebSocketServer, WebSocket } = require('ws');

const page = fs.readFileSync(path.join(__dirname, 'page.html'));

const server = http.createServer((req, res) => {
  if (req.url !== '/') {
    res.writeHead(404, { 'Content-Type': 'text/plain' }).end('There is only one page here.\n');
    return;
  }
  res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(page);
});

const chat = new WebSocketServer({ server, path: '/chat', maxPayload: 4096 });

chat.on('connection', (socket) => {
  socket.alive = true;
  socket.on('pong', () => { socket.alive = true; });
  socket.on('error', (err) => console.error('a connection failed:', err.message));
  socket.on('message', (data) => {
    for (const other of chat.clients) {
      if (other.readyState === WebSocket.OPEN) other.send(data.toString());
    }
  });
});

// Those who left without a word do not answer and are let go.
const check = setInterval(() => {
  for (const socket of chat.clients) {
    if (!socket.alive) {
      socket.terminate();
      continue;
    }
    socket.alive = false;
    socket.ping();
  }
}, 30_000);

process.on('SIGTERM', () => {
  clearInterval(check);
  for (const socket of chat.clients) socket.close(1001, 'The server restarts.');
  server.close(() => process.exit(0));
});

const port = process.env.PORT ?? 9003;
server.listen(port, '127.0.0.1', () => console.log(`listening on port ${port}`));

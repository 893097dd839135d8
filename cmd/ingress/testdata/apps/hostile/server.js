// An app that tries what it must not be able to do, and says how it went.
const http = require('http'), fs = require('fs'), net = require('net'), path = require('path');
const { spawn, execFileSync } = require('child_process');

process.on('SIGTERM', () => console.log('SIGTERM ignored'));

function connect(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve('connected'); });
    socket.on('error', reject);
  });
}

function listen(port, host) {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(port, host, () => { server.close(); resolve('listening'); });
  });
}

const tricks = {
  read: q => fs.readFileSync(q.get('path'), 'latin1').slice(0, 100),
  list: q => fs.readdirSync(q.get('path')).join(' '),
  // The numbers of a process's open files are no secret to its own user; the files are.
  descriptors: q => fs.readdirSync(q.get('path')).map(fd => {
    try { return fs.readlinkSync(path.join(q.get('path'), fd)); } catch { return fs.readFileSync(path.join(q.get('path'), fd)).length; }
  }).join(' '),
  write: q => { fs.writeFileSync(q.get('path'), 'hostile'); return 'written'; },
  link: q => { fs.symlinkSync(q.get('path'), 'trap'); return fs.readFileSync('trap', 'latin1').slice(0, 100); },
  connect: q => connect(Number(q.get('port'))),
  listen: q => listen(Number(q.get('port')), q.get('host') || '127.0.0.1'),
  unix: q => new Promise((resolve, reject) => {
    const socket = net.connect(q.get('path'), () => { socket.destroy(); resolve('connected'); });
    socket.on('error', reject);
  }),
  signal: q => process.kill(Number(q.get('pid')), 'SIGKILL'),
  pid: () => process.pid,
  whoami: () => execFileSync('id', ['-u']).toString().trim(),
  status: () => fs.readFileSync('/proc/self/status', 'latin1'),
  own: () => { fs.writeFileSync('mine', 'x'); fs.writeFileSync(path.join(process.env.TMPDIR, 'mine'), 'x'); fs.writeFileSync(path.join(process.env.HOME, 'mine'), 'x'); return 'written'; },
};

// What does not end by itself: the answer goes out first.
const runaways = {
  forks: () => { for (;;) spawn('sleep', ['600'], { stdio: 'ignore' }).on('error', () => {}); },
  memory: () => { const held = []; for (;;) held.push(Buffer.alloc(16 << 20, 1)); },
  disk: () => { const out = fs.openSync('fill', 'w'), chunk = Buffer.alloc(4 << 20, 1); for (;;) fs.writeSync(out, chunk); },
  files: () => { for (let n = 0; ; n++) fs.writeFileSync('fill-' + n, Buffer.alloc(1 << 20, 1)); },
  cpu: () => { for (;;); },
};

http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://app'), what = url.pathname.slice(1);
  if (runaways[what]) {
    res.end('begun');
    return setTimeout(runaways[what], 50);
  }
  if (!tricks[what]) return res.end('hostile');
  try {
    res.end(JSON.stringify({ ok: true, got: String(await tricks[what](url.searchParams)) }));
  } catch (err) {
    res.end(JSON.stringify({ ok: false, error: err.code || String(err) }));
  }
}).listen(process.env.PORT);

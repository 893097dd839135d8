// The calls that users' JavaScript makes, through the platform's own client.
// Arguments: the address, the prefix, a key. Prints "ok" when everything held.
'use strict';
const assert = require('node:assert');
const { default: m3o } = require('m3o');

const [address, prefix, key] = process.argv.slice(2);
const services = m3o(key);
for (const service of Object.values(services)) {
  service.client.options.address = address;
  service.client.options.prefix = prefix;
}
const { helloworld, url, user } = services;
const unique = prefix.replace('/', '') + Date.now().toString(36);

async function helloworldCalls() {
  assert.deepStrictEqual(await helloworld.call({ name: 'Jane' }), { message: 'Hello Jane' });
  const stream = await helloworld.stream({ name: 'Jane', messages: 3 });
  const messages = [];
  await new Promise((resolve, reject) => {
    stream.conn.on('close', code => (code === 1000 ? resolve() : reject(new Error(`closed with ${code}`))));
    stream.recv(message => messages.push(message));
  });
  assert.strictEqual(messages.length, 3);
  for (const { message } of messages) assert.match(message, /Jane/);
}

async function urlCalls() {
  const made = (await url.create({ id: unique, destinationURL: 'https://example.com/a?b=1&c=<d>' })).url;
  assert.strictEqual(made.id, unique);
  assert.strictEqual(made.hitCount, '0');
  assert.ok(made.shortURL.endsWith('/u/' + unique));
  assert.ok(!Number.isNaN(Date.parse(made.created)));
  assert.deepStrictEqual(await url.resolve({ shortURL: made.shortURL }), { destinationURL: 'https://example.com/a?b=1&c=<d>' });
  const { shortURL } = await url.shorten({ destinationURL: 'https://example.com/short' });
  assert.match(shortURL, /\/u\/[A-Za-z0-9_-]{9}$/);
  assert.deepStrictEqual(await url.update({ shortURL, destinationURL: 'https://example.com/new' }), {});
  const { urlPairs } = await url.list({ shortURL });
  assert.strictEqual(urlPairs.length, 1);
  assert.strictEqual(urlPairs[0].destinationURL, 'https://example.com/new');
  assert.ok((await url.list({})).urlPairs.length >= 2);
  assert.deepStrictEqual(await url.delete({ shortURL }), {});
  assert.deepStrictEqual(await url.delete({ shortURL }), {});
}

async function userCalls() {
  const email = unique + '@example.com';
  const created = (await user.create({ email, username: unique, password: 'correct horse', profile: { colour: 'blue' } })).account;
  assert.deepStrictEqual(created.profile, { colour: 'blue' });
  assert.match(created.created, /^[0-9]+$/);
  const { id } = created;
  assert.deepStrictEqual((await user.read({ email })).account, created);
  assert.deepStrictEqual(await user.update({ id, profile: { colour: 'red' } }), {});
  assert.deepStrictEqual((await user.read({ id })).account.profile, { colour: 'red' });
  const { session } = await user.login({ email, password: 'correct horse' });
  assert.strictEqual(session.userId, id);
  assert.strictEqual((await user.readSession({ sessionId: session.id })).account.id, id);
  assert.deepStrictEqual(await user.logout({ sessionId: session.id }), {});
  await assert.rejects(user.readSession({ sessionId: session.id }));
  const change = { userId: id, oldPassword: 'correct horse', newPassword: 'battery staple', confirmPassword: 'battery staple' };
  assert.deepStrictEqual(await user.updatePassword(change), {});
  await assert.rejects(user.login({ email, password: 'correct horse' }), { code: 401, id: 'user.login' });
  assert.ok((await user.login({ username: unique, password: 'battery staple' })).session.id);
  assert.deepStrictEqual(await user.sendVerificationEmail({
    email, subject: 'Verify', fromName: 'Us', textContent: 'Go to $micro_verification_link',
    redirectUrl: 'https://shop.example/ok', failureRedirectUrl: 'https://shop.example/bad',
  }), {});
  assert.deepStrictEqual(await user.sendPasswordResetEmail({ email, subject: 'Reset', textContent: 'The code is $code', fromName: 'Us' }), {});
  assert.deepStrictEqual(await user.logoutAll({ userId: id }), {});
  assert.ok((await user.list({ offset: 0, limit: 100 })).users.some(u => u.id === id));
  assert.deepStrictEqual(await user.delete({ id }), {});
  await assert.rejects(user.read({ id }), { code: 404, detail: 'not found', status: 'Not Found' });
}

async function errorCalls() {
  await assert.rejects(url.create({ id: 'not/an/id', destinationURL: 'https://example.com/' }),
    { id: 'url.create', code: 400, detail: 'invalid id', status: 'Bad Request' });
  await assert.rejects(url.delete({}), { id: 'url.delete', code: 400, detail: 'missing id or short url' });
  await assert.rejects(user.create({ email: 'nonsense', password: 'correct horse' }),
    { id: 'users-email-format-check', code: 400, detail: 'email has wrong format' });
  await assert.rejects(user.verifyEmail({}), { id: 'user.verifytoken', code: 400, detail: 'missing token' });
  await assert.rejects(helloworld.client.call('helloworld', 'Nosuch', {}),
    { id: 'go.micro.client', code: 404, detail: 'unknown service Helloworld.Nosuch' });
  helloworld.client.options.token = 'no-such-key';
  await assert.rejects(helloworld.call({ name: 'Jane' }),
    { id: 'v1', code: 401, detail: 'Unauthorized', status: 'Unauthorized' });
  await refusedStream();
  helloworld.client.options.token = key;
}

// A refused upgrade would crash this client, so the refusal comes over the
// WebSocket: a frame, which may be there before this client lets anybody listen,
// and the close code.
async function refusedStream() {
  const stream = await helloworld.stream({ name: 'Jane', messages: 1 });
  const code = await new Promise(resolve => stream.conn.on('close', resolve));
  assert.strictEqual(code, 1008);
}

(async () => {
  await helloworldCalls();
  await urlCalls();
  await userCalls();
  await errorCalls();
  console.log('ok');
})().catch(error => {
  console.error(error);
  process.exit(1);
});

// Recipes for a login service: connect, log in, refresh, log out, and check the session of every request.
//
// `client.js` runs `tryItAll`, so that docs/cookbook-node.md, which shows the recipes, shows what works.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

import grpc from '@grpc/grpc-js';

import { detail } from './error_details.js';

const SERVICE_CONFIG = readFileSync(new URL('../service_config.json', import.meta.url), 'utf8');

const newId = () => randomBytes(16).toString('base64url');

/** One set of clients a process. The service config has the deadlines and what is retried. */
export function connect(v1, address) {
  const options = {
    'grpc.service_config': SERVICE_CONFIG,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  };
  const credentials = grpc.credentials.createInsecure();
  return {
    users: new v1.UserService(address, credentials, options),
    whitelist: new v1.WhitelistService(address, credentials, options),
  };
}

/** The person has to log in again; the message says why. */
export class LoginRequired extends Error {}
/** The registry can't answer now. */
export class TryLater extends Error {}

/** What a refused call means to a login service. Decide by code and `reason`; the status's text is for people. */
function judged(error) {
  if ([grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED].includes(error.code)) return new TryLater();
  if ([grpc.status.NOT_FOUND, grpc.status.FAILED_PRECONDITION].includes(error.code)) {
    const info = detail(error, 'ErrorInfo');
    if (info?.domain === 'tokenregistry.v1') return new LoginRequired(info.reason);
  }
  return error; // not the person's fault: a bug, or this service may not call that
}

/** A call as a promise. */
const call = (service, method, request) =>
  new Promise((resolve, reject) => {
    service[method](request, (error, answer) => (error ? reject(judged(error)) : resolve(answer)));
  });

/** A login is what goes into a refresh token as the claims sub, sid and jti: `{ userId, session, jti }`. */
export class Sessions {
  constructor({ users, whitelist }) {
    Object.assign(this, { users, whitelist });
  }

  async logIn(userId, passwordIsRight, userAgent, ip) {
    // Read before the password is judged: if it is changed meanwhile, this login fails.
    const { user } = await call(this.users, 'CreateUser', { user_id: userId });
    if (!(await passwordIsRight())) throw new LoginRequired('wrong password');
    const login = { userId, session: newId(), jti: newId() };
    await call(this.whitelist, 'AddRefreshToken', {
      user_id: userId,
      session: login.session,
      jti: login.jti,
      credential_version: user.credential_version,
      client: { user_agent: userAgent, ip },
    });
    return login;
  }

  /** Of a refresh token whose signature and expiry are right: the claims of its successor. */
  async refresh({ userId, session, jti }) {
    const { token } = await call(this.whitelist, 'RotateRefreshToken', {
      user_id: userId,
      session,
      jti,
      new_jti: newId(), // makes the retry of a lost answer safe
    });
    // Sign the jti of the answer, never new_jti: of two refreshes at once both get the same.
    return { userId, session, jti: token.jti };
  }

  async logOut(userId, session) {
    await call(this.whitelist, 'RevokeSession', { user_id: userId, session, reason: 'REVOCATION_REASON_LOGOUT' });
  }

  async isLive(userId, session) {
    const { state } = await call(this.whitelist, 'CheckSession', { user_id: userId, session });
    return state === 'TOKEN_STATE_ACTIVE'; // nothing else permits anything
  }
}

/** Middleware as Express calls it. `claimsOf` verifies the access token of a request: its claims, or undefined. */
export function requireSession(sessions, claimsOf) {
  return async (request, response, next) => {
    try {
      const claims = await claimsOf(request);
      if (claims && (await sessions.isLive(claims.sub, claims.sid))) return next();
      response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end();
    } catch (error) {
      if (!(error instanceof TryLater)) return next(error);
      response.writeHead(503, { 'Retry-After': '1' }).end(); // fail closed
    }
  };
}

export async function tryItAll(v1, address) {
  const clients = connect(v1, address);
  const sessions = new Sessions(clients);
  const userId = `node-${newId()}`;
  await assert.rejects(sessions.logIn(userId, () => false, 'curl/8.5.0', '192.0.2.7'), LoginRequired);
  const first = await sessions.logIn(userId, () => true, 'curl/8.5.0', '192.0.2.7');

  const statusOf = (each) =>
    new Promise((resolve, reject) => {
      const response = { writeHead: (status) => ({ end: () => resolve(status) }) };
      const guard = requireSession(each, () => ({ sub: userId, sid: first.session }));
      guard({}, response, (error) => (error ? reject(error) : resolve(200)));
    });

  assert.equal(await statusOf(sessions), 200);
  const second = await sessions.refresh(first);
  assert.notDeepEqual(second, first);
  // Two tabs refresh at once: both are to sign the same jti.
  assert.deepEqual(await sessions.refresh(first), second);
  // A registry that never answers: the deadline is that of the service config.
  const silent = createServer((socket) => socket.unref()).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const nobody = connect(v1, `127.0.0.1:${silent.address().port}`);
  assert.equal(await statusOf(new Sessions(nobody)), 503);
  await sessions.logOut(userId, first.session);
  assert.equal(await statusOf(sessions), 401);
  await assert.rejects(sessions.refresh(second), new LoginRequired('SESSION_REVOKED'));
  await call(clients.users, 'DeleteUser', { user_id: userId });
  for (const client of [...Object.values(clients), ...Object.values(nobody)]) client.close();
  silent.close();
  console.log('cookbook: login, refresh, logout, check');
}

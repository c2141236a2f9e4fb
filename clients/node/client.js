// A walk through the token registry, in the order in which a login service would call it.
//
// Usage: node client.js [ADDRESS]      (default 127.0.0.1:50051)
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

import { tryItAll } from './cookbook.js';
import { detail } from './error_details.js';

const DEADLINE_MS = 5_000; // every call has a deadline
const LAPTOP = 'Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0';
const PHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) ' +
  'Version/17.5 Mobile/15E148 Safari/604.1';

const protoDir = fileURLToPath(new URL('../../proto', import.meta.url));
const { v1 } = grpc.loadPackageDefinition(
  protoLoader.loadSync(
    readdirSync(join(protoDir, 'tokenregistry/v1')).map((file) => `tokenregistry/v1/${file}`),
    // Enums by name, 64-bit numbers as strings (JavaScript's numbers are too short), and scalars that are absent on
    // the wire with their default, except `optional` ones, which stay undefined.
    { includeDirs: [protoDir], keepCase: true, enums: String, longs: String, defaults: true, oneofs: true },
  ),
).tokenregistry;

const newId = () => randomBytes(16).toString('base64url');

/** Says so when the registry answered something else than its contract says. */
function expect(what, got, want) {
  if (!isDeepStrictEqual(got, want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

/** Calls a unary method: a promise of the answer instead of a callback, with a deadline. */
function call(service, method, request) {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + DEADLINE_MS);
    service[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** Makes a call that has to be refused. Decide by `reason`; the text of the status is for people only. */
async function refused(promise, code, reason) {
  const error = await promise.then(
    () => {
      throw new Error(`want ${reason}, but the call was answered OK`);
    },
    (error) => error,
  );
  const info = detail(error, 'ErrorInfo');
  if (!info) throw new Error(`want ${reason}, got this without ErrorInfo: ${error.message}`);
  expect('refusal', [error.code, info.reason, info.domain], [code, reason, 'tokenregistry.v1']);
  return error;
}

function deviceLine({ base: { client }, session_created: created, state }) {
  const browser = `${client.browser ?? ''} ${client.browser_version ?? ''}`.trim() || 'unknown browser';
  const since = new Date(Number(created.seconds) * 1000).toISOString();
  return `${browser} on ${client.os || 'unknown system'} from ${client.ip}, since ${since}, ${state.replace('TOKEN_STATE_', '')}`;
}

async function walk({ users, sessions, oneTime }) {
  const { FAILED_PRECONDITION, INVALID_ARGUMENT } = grpc.status;
  const userId = `node-${newId()}`;
  const session = newId(); // the caller's name of this login, in every refresh JWT
  const [firstJti, secondJti, thiefsJti] = [newId(), newId(), newId()];

  // 1. Read the credential version before the password is judged.
  await call(users, 'CreateUser', { user_id: userId });
  const { user } = await call(users, 'GetUser', { user_id: userId });
  expect('active', user.active, true);
  const version = user.credential_version;
  expect('credential_version is empty', version === '', false);
  console.log(`user ${userId}, credential_version ${version}`);

  // 2. The password was right: open a session. No grace, so that a stolen token is noticed at once.
  const { token } = await call(sessions, 'AddRefreshToken', {
    user_id: userId,
    session,
    jti: firstJti,
    credential_version: version,
    client: { user_agent: LAPTOP, ip: '::ffff:203.0.113.7' },
    rotation_grace: { seconds: 0 },
  });
  expect('jti', token.jti, firstJti);
  expect('ip in canonical form', token.base.client.ip, '203.0.113.7');
  expect('user_agent, which is never kept', token.base.client.user_agent, undefined);
  console.log(`session opened: jti ${token.jti}`);

  // 3. The refresh token was presented: swap its jti, and sign the jti of the answer.
  const rotation = { user_id: userId, session, jti: firstJti, new_jti: secondJti };
  const rotated = await call(sessions, 'RotateRefreshToken', rotation);
  expect('outcome', rotated.outcome, 'ROTATION_OUTCOME_ROTATED');
  const signedJti = rotated.token.jti;
  expect('jti', signedJti, secondJti);
  console.log(`ROTATED: sign jti ${signedJti}`);

  // 4. The answer got lost? Send the same request again.
  const retried = await call(sessions, 'RotateRefreshToken', rotation);
  expect('outcome', retried.outcome, 'ROTATION_OUTCOME_RETRIED');
  expect('jti', retried.token.jti, signedJti);
  console.log(`RETRIED: sign jti ${retried.token.jti}`);

  // 5. What a resource server asks on every request.
  const question = { user_id: userId, session };
  expect('state', (await call(sessions, 'CheckSession', question)).state, 'TOKEN_STATE_ACTIVE');
  console.log('session ACTIVE');

  // 6. A thief presents the token that was rotated away.
  const theft = call(sessions, 'RotateRefreshToken', { ...rotation, new_jti: thiefsJti });
  await refused(theft, FAILED_PRECONDITION, 'TOKEN_REPLAYED');
  console.log('replay refused: TOKEN_REPLAYED');

  // 7. That ended the session, also for its owner: the two can't be told apart.
  expect('state', (await call(sessions, 'CheckSession', question)).state, 'TOKEN_STATE_REVOKED');
  console.log('session REVOKED');

  // 8. The owner is told why.
  const owner = call(sessions, 'RotateRefreshToken', { user_id: userId, session, jti: signedJti });
  const revoked = await refused(owner, FAILED_PRECONDITION, 'SESSION_REVOKED');
  const { revocation_reason: reason } = detail(revoked, 'ErrorInfo').metadata;
  expect('revocation_reason', reason, 'REPLAY');
  console.log(`rotation refused: SESSION_REVOKED because of ${reason}`);

  // 9. A password reset link works once.
  const link = await call(oneTime, 'IssueGenericToken', { user_id: userId, purpose: 'password_reset' });
  const claim = { purpose: 'password_reset', value: link.value };
  const { token: consumed } = await call(oneTime, 'ConsumeGenericToken', claim);
  expect('user_id of the one-time token', consumed.user_id, userId);
  expect('state', consumed.state, 'TOKEN_STATE_CONSUMED');
  await refused(call(oneTime, 'ConsumeGenericToken', claim), FAILED_PRECONDITION, 'TOKEN_CONSUMED');
  console.log('password_reset consumed once, then TOKEN_CONSUMED');

  // 10. A request that can't be right: all its bad fields are named at once.
  const bad = call(sessions, 'AddRefreshToken', { user_id: '', session: '', jti: firstJti });
  const invalid = await refused(bad, INVALID_ARGUMENT, 'INVALID_REQUEST');
  const violations = detail(invalid, 'BadRequest')?.fieldViolations ?? [];
  expect('bad fields', violations.map(({ field }) => field).sort(), ['session', 'user_id']);
  for (const { field, description } of violations) console.log(`bad field ${field}: ${description}`);

  // 11. "Where you are logged in", after one more login on a phone.
  await call(sessions, 'AddRefreshToken', {
    user_id: userId,
    session: newId(),
    jti: newId(),
    credential_version: version,
    client: { user_agent: PHONE, ip: '2001:db8::7' },
  });
  const { tokens } = await call(sessions, 'ListRefreshTokens', { user_id: userId });
  expect('states, newest first', tokens.map(({ state }) => state), ['TOKEN_STATE_ACTIVE', 'TOKEN_STATE_REVOKED']);
  for (const each of tokens) console.log(`device: ${deviceLine(each)}`);

  // 12. The password was changed: everything that the old one opened ends, and so do logins in progress.
  const change = await call(users, 'RevokeCredentials', { user_id: userId, keep_auth_tokens: true });
  expect('sessions revoked', change.revoked.sessions, '1');
  expect('credential_version unchanged', change.user.credential_version === version, false);
  const late = call(sessions, 'AddRefreshToken', {
    user_id: userId,
    session: newId(),
    jti: newId(),
    credential_version: version,
  });
  await refused(late, FAILED_PRECONDITION, 'CREDENTIALS_CHANGED');
  console.log('login with the old password refused: CREDENTIALS_CHANGED');

  await call(users, 'DeleteUser', { user_id: userId });
}

const address = process.argv[2] ?? '127.0.0.1:50051';
const credentials = grpc.credentials.createInsecure();
const services = {
  users: new v1.UserService(address, credentials),
  sessions: new v1.WhitelistService(address, credentials),
  oneTime: new v1.GenericTokenService(address, credentials),
};
try {
  await walk(services);
  await tryItAll(v1, address);
  console.log('node: ok');
} catch (error) {
  console.error(`node: ${address}: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const service of Object.values(services)) service.close();
}

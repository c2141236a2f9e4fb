//! What is selected, and how it becomes the domain's types: each list of columns beside the code that reads it, since
//! columns are read by position.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::StatementError;
use super::connection::Params;
use crate::client_info::ClientInfo;
use crate::config::AuthTokenModel;
use crate::registry::auth_token::{AuthToken, KeyLife, Presented};
use crate::registry::generic_token::Window;
use crate::registry::session::Life;
use crate::registry::{GenericToken, RevocationReason, Session, User};

/// Reads a row's columns from left to right.
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    /// From this column on.
    pub(super) fn from(row: &'a Row, first: usize) -> Self {
        Self { row, next: first }
    }

    /// The next column.
    pub(super) fn next<T: FromSql<'a>>(&mut self) -> Result<T, StatementError> {
        let value = self.row.try_get(self.next)?;
        self.next += 1;
        Ok(value)
    }
}

/// Puts rows that begin with their request's number (from 1) in the order of the requests.
pub(super) fn placed<T>(
    count: usize,
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StatementError>,
) -> Result<Vec<Option<T>>, StatementError> {
    placed_by(count, rows, 0, read)
}

/// The same, of rows that have the number in another column.
pub(super) fn placed_by<T>(
    count: usize,
    rows: &[Row],
    column: usize,
    read: impl Fn(&Row) -> Result<T, StatementError>,
) -> Result<Vec<Option<T>>, StatementError> {
    let mut answers: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    for row in rows {
        let n: i64 = row.try_get(column)?;
        let place = usize::try_from(n - 1).ok().and_then(|n| answers.get_mut(n));
        if let Some(answer) = place {
            *answer = Some(read(row)?);
        }
    }
    Ok(answers)
}

/// Read by [`client`].
pub(super) const CLIENT_COLUMNS: &str = "ip, is_mobile, is_tablet, is_pc, is_bot, browser, browser_version, os, os_version, \
     device, device_brand, device_model";
/// Sent as [`ClientParams`].
pub(super) const CLIENT_VALUES_FROM_9: &str = "$9::text::inet, $10::boolean, $11::boolean, $12::boolean, $13::boolean, $14::varchar, $15::varchar, $16::varchar, \
     $17::varchar, $18::varchar, $19::varchar, $20::varchar";
/// The same, with names.
pub(super) const CLIENT_NAMED_FROM_9: &str = "$9::text as ip, $10::boolean as is_mobile, $11::boolean as is_tablet, \
     $12::boolean as is_pc, $13::boolean as is_bot, $14::varchar as browser, $15::varchar as browser_version, \
     $16::varchar as os, $17::varchar as os_version, $18::varchar as device, $19::varchar as device_brand, \
     $20::varchar as device_model";
/// Sent as [`ClientArrays`].
pub(super) const CLIENT_ARRAYS_FROM_9: &str = "$9::text[], $10::boolean[], $11::boolean[], $12::boolean[], \
     $13::boolean[], $14::varchar[], $15::varchar[], $16::varchar[], $17::varchar[], $18::varchar[], $19::varchar[], \
     $20::varchar[]";
/// All of [`CLIENT_COLUMNS`] but the first, of a set's `h`.
pub(super) const CLIENT_COLUMNS_AFTER_IP: &str = "h.is_mobile, h.is_tablet, h.is_pc, h.is_bot, h.browser, \
     h.browser_version, h.os, h.os_version, h.device, h.device_brand, h.device_model";

/// A client as parameters. The address goes as text: the embedded database numbers address families in its own way,
/// which makes the binary form unreadable there.
pub(super) struct ClientParams<'a> {
    ip: Option<String>,
    client: &'a ClientInfo,
}

impl<'a> ClientParams<'a> {
    pub(super) fn of(client: &'a ClientInfo) -> Self {
        Self { ip: client.ip.map(|ip| ip.to_string()), client }
    }

    /// The parameters, after others, in the order of [`CLIENT_COLUMNS`].
    pub(super) fn after<'p>(&'p self, first: Params<'p>) -> Vec<&'p (dyn ToSql + Sync)> {
        let client = self.client;
        let own: [&'p (dyn ToSql + Sync); 12] = [
            &self.ip,
            &client.is_mobile,
            &client.is_tablet,
            &client.is_pc,
            &client.is_bot,
            &client.browser,
            &client.browser_version,
            &client.os,
            &client.os_version,
            &client.device,
            &client.device_brand,
            &client.device_model,
        ];
        [first, &own].concat()
    }
}

/// Many clients as parameters: one array a column.
pub(super) struct ClientArrays<'a> {
    ip: Vec<Option<String>>,
    flags: [Vec<Option<bool>>; 4],
    texts: [Vec<Option<&'a str>>; 7],
}

impl<'a> ClientArrays<'a> {
    pub(super) fn of(clients: impl Iterator<Item = Option<&'a ClientInfo>>) -> Self {
        let mut arrays = Self { ip: Vec::new(), flags: Default::default(), texts: Default::default() };
        for client in clients {
            arrays.ip.push(client.and_then(|c| c.ip).map(|ip| ip.to_string()));
            let flags = client.map_or([None; 4], |c| [c.is_mobile, c.is_tablet, c.is_pc, c.is_bot]);
            for (array, flag) in arrays.flags.iter_mut().zip(flags) {
                array.push(flag);
            }
            let texts = client.map_or([None; 7], |c| {
                [
                    &c.browser,
                    &c.browser_version,
                    &c.os,
                    &c.os_version,
                    &c.device,
                    &c.device_brand,
                    &c.device_model,
                ]
                .map(|text| text.as_deref())
            });
            for (array, text) in arrays.texts.iter_mut().zip(texts) {
                array.push(text);
            }
        }
        arrays
    }

    /// The parameters, after others, in the order of [`CLIENT_COLUMNS`].
    pub(super) fn after<'p>(&'p self, first: Params<'p>) -> Vec<&'p (dyn ToSql + Sync)> {
        let mut params = first.to_vec();
        params.push(&self.ip);
        params.extend(self.flags.iter().map(|flags| flags as &(dyn ToSql + Sync)));
        params.extend(self.texts.iter().map(|texts| texts as &(dyn ToSql + Sync)));
        params
    }
}

fn client(columns: &mut Columns<'_>) -> Result<ClientInfo, StatementError> {
    Ok(ClientInfo {
        ip: columns.next::<Option<&str>>()?.and_then(|ip| ip.parse().ok()),
        is_mobile: columns.next()?,
        is_tablet: columns.next()?,
        is_pc: columns.next()?,
        is_bot: columns.next()?,
        browser: columns.next()?,
        browser_version: columns.next()?,
        os: columns.next()?,
        os_version: columns.next()?,
        device: columns.next()?,
        device_brand: columns.next()?,
        device_model: columns.next()?,
    })
}

/// Whether a session's user is active. Of a live session it is known, without a look: an inactive user has none.
pub(super) const USER_ACTIVE_OF_SESSION: &str = "case when {live} then true else (select u.active from users u where u.user_id = s.user_id) end as user_active";

/// Read by [`session`].
pub(super) const SESSION: &str = "\
  s.id, s.user_id, s.session, s.jti, s.previous_jti, s.created, s.session_created,
  extract(epoch from s.rotation_grace)::double precision as rotation_grace, s.rotations, s.grace_count,
  s.revoked_at, s.revocation_reason, host(s.ip) as ip, s.is_mobile, s.is_tablet, s.is_pc, s.is_bot, s.browser, s.browser_version,
  s.os, s.os_version, s.device, s.device_brand, s.device_model, s.enabled, s.session_expires, s.idle_expires,
  {user_active},
  clock_timestamp() as as_of";

/// A session that begins at a column.
pub(super) fn session(row: &Row, first: usize) -> Result<Session, StatementError> {
    let mut c = Columns::from(row, first);
    let (id, user_id, session, jti, previous_jti) = (c.next()?, c.next()?, c.next()?, c.next()?, c.next()?);
    let (created, session_created) = (c.next()?, c.next()?);
    let rotation_grace = Duration::try_from_secs_f64(c.next()?).unwrap_or_default();
    let (rotations, grace_count) = (c.next()?, c.next()?);
    let (revoked_at, reason) = (c.next::<Option<_>>()?, c.next::<Option<i16>>()?);
    let reason = reason.and_then(|number| RevocationReason::from_number(number.into()));
    let client = client(&mut c)?;
    let life = Life {
        enabled: c.next()?,
        session_expires: c.next()?,
        idle_expires: c.next()?,
        revoked: revoked_at.is_some(),
        user_active: c.next()?,
        as_of: c.next()?,
    };
    Ok(Session {
        id,
        user_id,
        session,
        jti,
        previous_jti,
        created,
        session_created,
        rotation_grace,
        rotations,
        grace_count,
        revocation: revoked_at.map(|at| (at, reason.unwrap_or_default())),
        client,
        life,
    })
}

/// What decides whether a session is live, as `session/check.sql` selects it; `None` if there is no such session.
pub(super) fn life(row: &Row, first: usize) -> Result<Option<Life>, StatementError> {
    let mut c = Columns::from(row, first);
    let Some(enabled) = c.next()? else {
        return Ok(None);
    };
    let (session_expires, idle_expires, revoked, as_of, user_active) =
        (c.next()?, c.next()?, c.next()?, c.next()?, c.next()?);
    Ok(Some(Life { enabled, session_expires, idle_expires, revoked, user_active, as_of }))
}

/// Read by [`generic_token`].
pub(super) const GENERIC_TOKEN: &str = "\
  t.id, t.user_id, t.purpose, t.is_code, t.digest, t.challenge, t.created, t.expires, t.attempts, t.max_attempts,
  t.consumed_at, t.consumption_id, t.revoked_at is not null as revoked, host(t.ip) as ip, t.is_mobile, t.is_tablet, t.is_pc,
  t.is_bot, t.browser, t.browser_version, t.os, t.os_version, t.device, t.device_brand, t.device_model,
  case when {unspent} then true else (select u.active from users u where u.user_id = t.user_id) end as user_active,
  clock_timestamp() as as_of";

/// How many columns [`GENERIC_TOKEN`] has.
pub(super) const GENERIC_TOKEN_WIDTH: usize = 27;

/// A one-time token that begins at the first column.
pub(super) fn generic_token(row: &Row) -> Result<GenericToken, StatementError> {
    let mut c = Columns::from(row, 0);
    let (id, user_id, purpose, is_code, digest, challenge) =
        (c.next()?, c.next()?, c.next()?, c.next()?, c.next()?, c.next()?);
    let (created, expires, attempts, max_attempts) = (c.next()?, c.next()?, c.next()?, c.next()?);
    let (consumed_at, consumption_id) = (c.next::<Option<_>>()?, c.next()?);
    Ok(GenericToken {
        id,
        user_id,
        purpose,
        is_code,
        digest,
        challenge,
        created,
        expires,
        attempts,
        max_attempts,
        consumption: consumed_at.map(|at| (at, consumption_id)),
        revoked: c.next()?,
        client: client(&mut c)?,
        user_active: c.next()?,
        as_of: c.next()?,
    })
}

/// A window of guesses that begins at a column, as the statements that lock `generic_state` answer it.
pub(super) fn window(row: &Row, first: usize) -> Result<Window, StatementError> {
    let mut c = Columns::from(row, first);
    Ok(Window { attempts: c.next()?, started: c.next()?, as_of: c.next()? })
}

/// Read by [`auth_token`].
pub(super) const AUTH_TOKEN: &str = "\
  t.id, t.user_id, t.prefix, t.is_drf, t.name, t.created, t.last_used, t.expires, t.revoked_at is not null as revoked,
  u.active, clock_timestamp() as as_of";

/// How many columns [`AUTH_TOKEN`] has.
pub(super) const AUTH_TOKEN_WIDTH: usize = 11;

/// An API key that begins at the first column.
pub(super) fn auth_token(row: &Row) -> Result<AuthToken, StatementError> {
    let mut c = Columns::from(row, 0);
    let (id, user_id, prefix) = (c.next()?, c.next()?, c.next()?);
    let model = if c.next()? { AuthTokenModel::Drf } else { AuthTokenModel::Prefixed };
    let (name, created, last_used) = (c.next()?, c.next()?, c.next()?);
    Ok(AuthToken { id, user_id, prefix, model, name, created, last_used, life: key_life(&mut c)? })
}

/// Read by [`presented`].
pub(super) const PRESENTED: &str = "\
  t.user_id, t.name, t.created, t.last_used, t.expires, t.revoked_at is not null as revoked, u.active,
  clock_timestamp() as as_of";

/// A key that was presented, beginning at a column.
pub(super) fn presented(row: &Row, first: usize) -> Result<Presented, StatementError> {
    let mut c = Columns::from(row, first);
    let (user_id, name, created, last_used) = (c.next()?, c.next()?, c.next()?, c.next()?);
    Ok(Presented { user_id, name, created, last_used, life: key_life(&mut c)? })
}

fn key_life(c: &mut Columns<'_>) -> Result<KeyLife, StatementError> {
    Ok(KeyLife { expires: c.next()?, revoked: c.next()?, user_active: c.next()?, as_of: c.next()? })
}

/// Read by [`user`].
pub(super) const USER: &str = "u.user_id, u.active, u.credential_version, u.created";

/// How many columns [`USER`] has.
pub(super) const USER_WIDTH: usize = 4;

/// A user that begins at the first column.
pub(super) fn user(row: &Row) -> Result<User, StatementError> {
    let mut c = Columns::from(row, 0);
    Ok(User { user_id: c.next()?, active: c.next()?, credential_version: c.next()?, created: c.next()? })
}

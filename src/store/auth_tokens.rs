//! API keys: made, asked about, listed and removed.

use super::connection::{BEGIN, Connection, Params, StatementError};
use super::rows::{AUTH_TOKEN_WIDTH, auth_token, presented};
use super::statements::{
    AUTH_DELETE, AUTH_FIND, AUTH_FIND_OBSTACLES, AUTH_FIND_REQUEST, AUTH_GET, AUTH_INSERT, AUTH_LIST,
    AUTH_REPLACE, USER_CREATE, USER_LOCK_FOR_KEY,
};
use super::{ATTEMPTS, Call, Effect, Store};
use crate::config::AuthTokenModel;
use crate::registry::auth_token::{AuthToken, Creation, Key, KeyLife, Presented};
use crate::registry::{Failure, KeyName, KeyPrefix, Refusal, RequestId, UserId};

impl Store {
    /// Makes an API key; answers what is known of it, and the key.
    ///
    /// # Errors
    /// The refusals of `CreateAuthToken`.
    pub async fn create_auth_token(
        &self,
        call: &Call,
        creation: &Creation,
    ) -> Result<(AuthToken, Key), Failure> {
        self.run(call, Effect::Writes, |c| async move {
            for _ in 0..ATTEMPTS {
                match self.create_key_once(&c, creation).await? {
                    Created::Key(created) => return Ok(*created),
                    Created::NoUser if self.limits.require_known_users => {
                        return Err(Refusal::UserNotFound.into());
                    }
                    Created::NoUser => _ = c.run(&USER_CREATE, &[&creation.user_id.as_str()]).await?,
                    Created::NameTaken => {}
                }
            }
            Err(StatementError::TurnedAway)
        })
        .await
    }

    async fn create_key_once(&self, c: &Connection, creation: &Creation) -> Result<Created, StatementError> {
        let user_id = creation.user_id.as_str();
        let request_id = creation.request_id.as_ref().map(RequestId::as_str);
        let key = self.new_key(creation)?;
        let (prefix, digest) = (key.prefix(), key.digest());
        let [user, earlier, obstacles] = c
            .begin(
                BEGIN,
                [
                    (&USER_LOCK_FOR_KEY, &[&user_id]),
                    (&AUTH_FIND_REQUEST, &[&user_id, &request_id]),
                    (&AUTH_FIND_OBSTACLES, &[&user_id, &prefix]),
                ],
            )
            .await?;
        // Nobody else makes or ends a key of this user now: what is decided here holds until the commit.
        let decided = (|| {
            let Some(user) = user.into_row() else { return Ok(Some(Created::NoUser)) };
            if !user.try_get(0)? {
                return Err(Refusal::UserInactive.into());
            }
            if let (Some(row), Some(request_id)) = (earlier.into_row(), &creation.request_id) {
                let (token, kept) = (auth_token(&row)?, row.try_get::<_, &[u8]>(AUTH_TOKEN_WIDTH)?);
                if let Some(key) = self.key_again(&creation.user_id, request_id, token.model, kept)? {
                    return Ok(Some(Created::Key(Box::new((token, key)))));
                }
            }
            let obstacles = obstacles.into_row().ok_or(StatementError::TurnedAway)?;
            if key.model() == AuthTokenModel::Drf && obstacles.try_get(0)? && !creation.replace {
                return Err(Refusal::AuthTokenExists.into());
            }
            Ok(obstacles.try_get::<_, bool>(1)?.then_some(Created::NameTaken))
        })();
        match decided {
            Ok(None) => {}
            Ok(Some(created)) => {
                c.rollback().await;
                return Ok(created);
            }
            Err(error) => {
                c.rollback().await;
                return Err(error);
            }
        }

        let is_drf = key.model() == AuthTokenModel::Drf;
        let name = creation.name.as_ref().map_or("", KeyName::as_str);
        let lifetime = creation.lifetime.map(|lifetime| lifetime.as_secs_f64());
        let [_, inserted] = c
            .commit([
                (&AUTH_REPLACE, &[&user_id, &is_drf, &name, &creation.replace]),
                (
                    &AUTH_INSERT,
                    &[&user_id, &prefix, &is_drf, &digest.as_slice(), &name, &request_id, &lifetime],
                ),
            ])
            .await?;
        let row = inserted.into_row().ok_or(StatementError::TurnedAway)?;
        let token = AuthToken {
            id: row.try_get(0)?,
            user_id: user_id.to_owned(),
            prefix: prefix.to_owned(),
            model: key.model(),
            name: name.to_owned(),
            created: row.try_get(1)?,
            last_used: None,
            life: KeyLife {
                expires: row.try_get(2)?,
                revoked: false,
                user_active: true,
                as_of: row.try_get(3)?,
            },
        };
        Ok(Created::Key(Box::new((token, key))))
    }

    /// The key to make now: with a request id it is derived, so that a retry gets it again although it isn't stored.
    fn new_key(&self, creation: &Creation) -> Result<Key, Failure> {
        let model = self.limits.auth_token_model;
        let derived = match &creation.request_id {
            Some(request_id) => self.keys()?.derive_key_seeds(&creation.user_id, request_id).first().copied(),
            None => None,
        };
        Ok(match derived {
            Some(seed) => Key::from_seed(model, &seed),
            None => Key::mint(&mut rand::rng(), model),
        })
    }

    /// The key that an earlier copy of the request was answered with; `None` if the server key it was derived with is
    /// gone.
    fn key_again(
        &self,
        user_id: &UserId,
        request_id: &RequestId,
        model: AuthTokenModel,
        kept: &[u8],
    ) -> Result<Option<Key>, Failure> {
        let seeds = self.keys()?.derive_key_seeds(user_id, request_id);
        Ok(seeds.iter().map(|seed| Key::from_seed(model, seed)).find(|key| key.digest() == kept))
    }

    /// Whose a key is; `None` of one that the registry doesn't have. A use is noted, to be written later.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn authenticate(&self, call: &Call, key: &Key) -> Result<Option<Presented>, Failure> {
        let digest = key.digest();
        let singly = |digest: [u8; 32]| async move {
            self.run(call, Effect::Reads, |c| async move {
                let row = c.row(&AUTH_FIND, &[&digest.as_slice()]).await?;
                row.map(|row| presented(&row, 0)).transpose()
            })
            .await
        };
        let found = self.auth_tokens.authenticate.answer(call, digest, singly).await?;
        if let Some(found) = &found
            && found.is_use_to_note()
        {
            self.uses.note(digest, found.life.as_of);
        }
        Ok(found)
    }

    /// Reads an API key; without a prefix the user's newest one of the model `drf`.
    ///
    /// # Errors
    /// There is no such key.
    pub async fn auth_token(
        &self,
        call: &Call,
        user_id: &UserId,
        prefix: Option<&KeyPrefix>,
    ) -> Result<AuthToken, Failure> {
        let params: Params<'_> = &[&user_id.as_str(), &prefix.map(KeyPrefix::as_str)];
        self.run(call, Effect::Reads, |c| async move {
            let row = c.row(&AUTH_GET, params).await?;
            auth_token(&row.ok_or(Refusal::AuthTokenNotFound)?)
        })
        .await
    }

    /// Lists a user's API keys, newest first, with one more than asked for if there are more.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn list_auth_tokens(
        &self,
        call: &Call,
        user_id: &UserId,
        after: Option<i64>,
        page_size: usize,
    ) -> Result<Vec<AuthToken>, Failure> {
        let limit = i64::try_from(page_size + 1).unwrap_or(i64::MAX);
        self.run(call, Effect::Reads, |c| async move {
            let done = c.run(&AUTH_LIST, &[&user_id.as_str(), &after, &limit]).await?;
            done.rows.iter().map(auth_token).collect()
        })
        .await
    }

    /// Removes an API key of a user, or without a prefix those of the model `drf`; answers how many there were.
    ///
    /// # Errors
    /// Only of the database.
    pub async fn delete_auth_token(
        &self,
        call: &Call,
        user_id: &UserId,
        prefix: Option<&KeyPrefix>,
    ) -> Result<i64, Failure> {
        let params: Params<'_> = &[&user_id.as_str(), &prefix.map(KeyPrefix::as_str)];
        self.run(call, Effect::Writes, |c| async move { Ok(c.run(&AUTH_DELETE, params).await?.affected) })
            .await
    }
}

/// What came of one attempt to make a key.
enum Created {
    Key(Box<(AuthToken, Key)>),
    NoUser,
    /// The user has a key of the same public name, by an accident of 32 bits or more: another one is to be minted.
    NameTaken,
}

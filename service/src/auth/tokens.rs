//! Tokens: what programs and people show to be let in.
//!
//! A token is `lapwing_` and 32 random bytes in base64url. It is shown once, when it is made; what is kept is its hash by Argon2id (RFC 9106)
//! and, to find that, the first half of its SHA-256. Each has a name, a role and maybe an end; it can be taken back, and rotated: the new one
//! counts at once, the old one for a while longer.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lapwing_engine::Millis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Principal, Role};
use crate::data::replace::replace;

/// What each begins with, so that scanners of repositories find one that was lost.
const PREFIX: &str = "lapwing_";

/// The longest name.
const NAME_MAX: usize = 100;

/// The most tokens.
const TOKENS_MAX: usize = 10_000;

/// A token as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    id: u64,
    name: String,
    role: Role,
    /// When it was made.
    created: Millis,
    made_by: String,
    /// From when on it no longer counts.
    expires: Option<Millis>,
    /// What it is, and what it was before it was rotated.
    secrets: Vec<Hashed>,
}

/// What is kept of what is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hashed {
    /// Half of the SHA-256.
    found_by: String,
    /// As a PHC string.
    argon2: String,
    /// From when on it no longer counts.
    until: Option<Millis>,
}

/// What may be told of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its number; none is given twice.
    pub id: u64,
    /// The name of who has it.
    pub name: String,
    /// What that is.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub created: Millis,
    /// Who made it.
    pub made_by: String,
    /// From when on it no longer counts.
    pub expires: Option<Millis>,
}

/// Why a token is not made, or not changed.
#[derive(Debug)]
pub enum Refused {
    /// There is none.
    Unknown(u64),
    /// It is asked for what cannot be.
    Wrong(String),
    /// Nobody could make tokens any more.
    LastAdmin,
    /// It could not be kept.
    Io(io::Error),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Unknown(id) => write!(f, "there is no token {id}"),
            Refused::Wrong(why) => f.write_str(why),
            Refused::LastAdmin => {
                f.write_str("it is the last token of an administrator that does not expire: make another one before")
            }
            Refused::Io(e) => write!(f, "the tokens could not be written: {e}; nothing has changed"),
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct All {
    next: u64,
    tokens: Vec<Kept>,
}

/// The tokens of a service.
pub struct Tokens {
    path: PathBuf,
    all: RwLock<All>,
    /// What was found to be right: Argon2 is slow by intention, and is asked once for each.
    known: Mutex<HashMap<[u8; 32], (u64, String)>>,
    clock: fn() -> Millis,
}

impl Tokens {
    /// Those of a service's folder. Where there are none yet, one of an administrator is made and written to `admin-token` in the folder, for whoever
    /// may read that.
    ///
    /// # Errors
    /// The folder cannot be used, or what it holds is not what was written.
    pub fn open(folder: &Path, clock: fn() -> Millis) -> Result<Tokens, String> {
        let path = folder.join("tokens.json");
        let failed = |e: &dyn std::fmt::Display| format!("`{}`: {e}", path.display());
        let all = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| failed(&e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let tokens = Tokens::of(path.clone(), All::default(), clock);
                let first = folder.join("admin-token");
                let made = tokens.make("admin", Role::Admin, None, "the first start", |token| write(&first, token));
                made.map_err(|e| failed(&e))?;
                tracing::info!(file = %first.display(), "a token of an administrator was made");
                return Ok(tokens);
            }
            Err(e) => return Err(failed(&e)),
        };
        Ok(Tokens::of(path, all, clock))
    }

    fn of(path: PathBuf, all: All, clock: fn() -> Millis) -> Tokens {
        Tokens { path, all: RwLock::new(all), known: Mutex::default(), clock }
    }

    /// Whose a token is; none where it does not count, or not any more. The first time it takes some milliseconds.
    pub fn principal(&self, token: &str) -> Option<Principal> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if let Some((id, argon2)) = known {
            return self.counting(|kept, secret| kept.id == id && secret.argon2 == argon2).map(|(found, _)| found);
        }
        let found_by = found_by(&digest);
        let (principal, (id, argon2)) = self.counting(|_, secret| secret.found_by == found_by)?;
        let hash = PasswordHash::new(&argon2).ok()?;
        Argon2::default().verify_password(token.as_bytes(), &hash).ok()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= 2 * TOKENS_MAX {
            known.clear();
        }
        known.insert(digest, (id, argon2));
        Some(principal)
    }

    /// Whether a token was found to be right before: then it is judged at once.
    pub fn is_known(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&digest)
    }

    /// The first secret that counts now and that is meant.
    fn counting(&self, meant: impl Fn(&Kept, &Hashed) -> bool) -> Option<(Principal, (u64, String))> {
        let now = (self.clock)();
        let counts = |until: Option<Millis>| until.is_none_or(|until| now < until);
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let living = all.tokens.iter().filter(|kept| counts(kept.expires));
        let secrets = living.flat_map(|kept| kept.secrets.iter().map(move |secret| (kept, secret)));
        let (kept, secret) =
            secrets.filter(|(_, secret)| counts(secret.until)).find(|(kept, secret)| meant(kept, secret))?;
        Some((Principal { name: kept.name.clone(), role: kept.role }, (kept.id, secret.argon2.clone())))
    }

    /// All tokens that count, or will not any more.
    pub fn list(&self) -> Vec<Token> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).tokens.iter().map(told).collect()
    }

    /// Makes a token. It counts once `keep` has taken it, and is nowhere else.
    ///
    /// # Errors
    /// It could not be kept, or is asked for what cannot be; then there is none.
    pub fn make(
        &self,
        name: &str,
        role: Role,
        expires: Option<Millis>,
        made_by: &str,
        keep: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<Token, Refused> {
        let name = name.trim();
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(Refused::Wrong(format!("`name`: who has the token, in up to {NAME_MAX} bytes")));
        }
        let now = (self.clock)();
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Refused::Wrong("`expires` is past".to_owned()));
        }
        let (token, hashed) = secret().map_err(Refused::Io)?;
        self.change(|all| {
            if all.tokens.len() >= TOKENS_MAX {
                return Err(Refused::Wrong(format!("there are {TOKENS_MAX} tokens: take back those nobody needs")));
            }
            all.next += 1;
            all.tokens.push(Kept {
                id: all.next,
                name: name.to_owned(),
                role,
                created: now,
                made_by: made_by.to_owned(),
                expires,
                secrets: vec![hashed],
            });
            keep(&token).map_err(Refused::Io)?;
            Ok(told(&all.tokens[all.tokens.len() - 1]))
        })
    }

    /// Gives a token a new secret; the old one counts for so long still.
    ///
    /// # Errors
    /// There is no such token, or it could not be kept.
    pub fn rotate(
        &self,
        id: u64,
        keep_for: Millis,
        keep: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<Token, Refused> {
        let (token, hashed) = secret().map_err(Refused::Io)?;
        let now = (self.clock)();
        self.change(|all| {
            let kept = all.tokens.iter_mut().find(|kept| kept.id == id).ok_or(Refused::Unknown(id))?;
            let until = now.saturating_add(keep_for);
            kept.secrets.retain(|secret| secret.until.is_none_or(|until| now < until));
            kept.secrets.iter_mut().for_each(|s| s.until = Some(s.until.map_or(until, |before| before.min(until))));
            kept.secrets.push(hashed);
            keep(&token).map_err(Refused::Io)?;
            Ok(told(kept))
        })
    }

    /// Takes a token back: from now on it does not count.
    ///
    /// # Errors
    /// There is no such token, it is the last of an administrator, or that could not be kept.
    pub fn revoke(&self, id: u64) -> Result<Token, Refused> {
        self.change(|all| {
            let place = all.tokens.iter().position(|kept| kept.id == id).ok_or(Refused::Unknown(id))?;
            let gone = all.tokens.remove(place);
            let administers = |kept: &Kept| kept.role == Role::Admin && kept.expires.is_none();
            if administers(&gone) && !all.tokens.iter().any(administers) {
                return Err(Refused::LastAdmin);
            }
            Ok(told(&gone))
        })
    }

    /// Changes all of them on disk first, and then here.
    fn change<T>(&self, change: impl FnOnce(&mut All) -> Result<T, Refused>) -> Result<T, Refused> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = all.clone();
        let result = change(&mut changed)?;
        let text = serde_json::to_vec_pretty(&changed).map_err(|e| Refused::Io(e.into()))?;
        replace(&self.path, &text).map_err(Refused::Io)?;
        *all = changed;
        Ok(result)
    }
}

fn told(kept: &Kept) -> Token {
    let Kept { id, name, role, created, made_by, expires, .. } = kept;
    Token { id: *id, name: name.clone(), role: *role, created: *created, made_by: made_by.clone(), expires: *expires }
}

/// A new secret, and what is kept of it.
fn secret() -> io::Result<(String, Hashed)> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let argon2 = Argon2::default().hash_password(token.as_bytes()).map_err(io::Error::other)?.to_string();
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    Ok((token, Hashed { found_by: found_by(&digest), argon2, until: None }))
}

fn found_by(digest: &[u8; 32]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&digest[..16])
}

/// Writes a token to a file that only its owner may read.
fn write(path: &Path, token: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::{Refused, Tokens};
    use crate::auth::Role;

    static NOW: AtomicI64 = AtomicI64::new(1_000);

    fn clock() -> i64 {
        NOW.load(Ordering::Relaxed)
    }

    fn made(tokens: &Tokens, role: Role, expires: Option<i64>) -> (u64, String) {
        let mut shown = String::new();
        let token = tokens.make("ann", role, expires, "test", |token| {
            shown = token.to_owned();
            Ok(())
        });
        (token.expect("it is made").id, shown)
    }

    #[test]
    fn tokens_count_until_they_end_are_taken_back_or_rotated() {
        let folder = std::env::temp_dir().join(format!("lapwing-tokens-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let tokens = Tokens::open(&folder, clock).expect("it is empty");
        let first = std::fs::read_to_string(folder.join("admin-token")).expect("it was written");
        let role = |tokens: &Tokens, token: &str| tokens.principal(token.trim()).map(|found| found.role);
        assert_eq!(role(&tokens, &first), Some(Role::Admin));
        assert_eq!(role(&tokens, &first.replace("lapwing_", "lapwing-")), None);

        let (short, shown) = made(&tokens, Role::Viewer, Some(2_000));
        assert_eq!((role(&tokens, &shown), role(&tokens, &shown)), (Some(Role::Viewer), Some(Role::Viewer)));
        // It says the same after a restart.
        let again = Tokens::open(&folder, clock).expect("it was written");
        assert_eq!(role(&again, &shown), Some(Role::Viewer));

        let mut next = String::new();
        let rotated = tokens.rotate(short, 100, |token| {
            next = token.to_owned();
            Ok(())
        });
        assert_eq!(rotated.expect("it is there").expires, Some(2_000));
        assert_eq!((role(&tokens, &shown), role(&tokens, &next)), (Some(Role::Viewer), Some(Role::Viewer)));
        NOW.store(1_100, Ordering::Relaxed);
        assert_eq!((role(&tokens, &shown), role(&tokens, &next)), (None, Some(Role::Viewer)));
        NOW.store(2_000, Ordering::Relaxed);
        assert_eq!(role(&tokens, &next), None);

        let (analyst, shown) = made(&tokens, Role::Analyst, None);
        assert_eq!(role(&tokens, &shown), Some(Role::Analyst));
        tokens.revoke(analyst).expect("it is there");
        assert_eq!(role(&tokens, &shown), None);
        assert!(matches!(tokens.revoke(analyst), Err(Refused::Unknown(_))));
        assert!(matches!(tokens.revoke(1), Err(Refused::LastAdmin)));
        assert_eq!(role(&tokens, &first), Some(Role::Admin));

        // A token that nobody could keep does not count.
        let lost = tokens.make("bob", Role::Viewer, None, "test", |_| Err(std::io::Error::other("full")));
        assert!(matches!(lost, Err(Refused::Io(_))));
        assert!(tokens.list().iter().all(|token| token.name != "bob"));
        let text = std::fs::read_to_string(folder.join("tokens.json")).expect("it was written");
        assert!(!text.contains("lapwing_"), "{text}");
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
}

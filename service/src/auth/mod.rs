//! Who may do what over HTTP, and the record of what was done.
//!
//! Whoever asks brings a token (`tokens`), which names a principal and its role; a role is a set of permissions, and each route needs one.
//! What changes anything stands in a log that shows if somebody has changed it (`audit`).

pub mod audit;
pub mod tokens;

use serde::{Deserialize, Serialize};

use self::audit::Audit;
use self::tokens::Tokens;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// To see rules, alerts, what was not taken, how the service is.
    Read,
    /// To put drafts of rules, and to try them.
    Draft,
    /// To change what is in force: stages of rules, lists, tables, models.
    Release,
    /// To send events.
    Ingest,
    /// To put events that were not taken in again.
    Operate,
    /// To make tokens and take them back.
    Administer,
}

impl Permission {
    /// All there are.
    pub const ALL: [Permission; 6] = [
        Permission::Read,
        Permission::Draft,
        Permission::Release,
        Permission::Ingest,
        Permission::Operate,
        Permission::Administer,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Draft => "draft",
            Permission::Release => "release",
            Permission::Ingest => "ingest",
            Permission::Operate => "operate",
            Permission::Administer => "administer",
        }
    }
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Writes rules, which others put in force.
    Analyst,
    /// Puts rules in force, and changes lists, tables and models.
    Approver,
    /// Sends events, and puts those in again that were not taken.
    Operator,
    /// Does everything, and says who may do what.
    Admin,
}

impl Role {
    /// All there are.
    pub const ALL: [Role; 5] = [Role::Viewer, Role::Analyst, Role::Approver, Role::Operator, Role::Admin];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Analyst => "analyst",
            Role::Approver => "approver",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// What it may do.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{Draft, Ingest, Operate, Read, Release};
        match self {
            Role::Viewer => &[Read],
            Role::Analyst => &[Read, Draft],
            Role::Approver => &[Read, Draft, Release],
            Role::Operator => &[Read, Ingest, Operate],
            Role::Admin => &Permission::ALL,
        }
    }

    /// Whether it may do something.
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// Its name: of a person or a program.
    pub name: String,
    /// What it is.
    pub role: Role,
}

/// Who may come in, and what they did.
pub struct Access {
    /// The tokens.
    pub tokens: Tokens,
    /// What was done.
    pub audit: Audit,
    /// Whether a rule that one has written takes another one to be put in force.
    pub four_eyes: bool,
}

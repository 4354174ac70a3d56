//! `[auth]`

use super::kinds::{boolean, or};

section! {
    /// Who may do what by HTTP. Whoever asks shows a token; the first one is made at the first start, for an administrator.
    Auth {
        /// Whether a rule that one has written takes another one to be put in force.
        four_eyes: bool = or(boolean(), "false");
    }
}

//! Lists and tables: where their entries and rows come from.
//!
//! `folder` reads the files of `--data`, `change` the JSON of control messages; both go through `entry` and `row`, which read one value or
//! one row and say what is wrong with it. `contents` is what a catalog holds of them.

pub mod change;
pub mod contents;
mod entry;
pub mod folder;
mod row;

use lapwing_dsl::value::Type;

/// "an int", "a string", with what one looks like.
fn such(ty: &Type) -> String {
    let example = match ty {
        Type::Int => ", a whole number",
        Type::Float | Type::Decimal => ", a number",
        Type::Timestamp => ", RFC 3339 or milliseconds since 1970",
        Type::Duration => ", whole milliseconds",
        Type::Ip => ", an address such as 192.0.2.1 or 2001:db8::1",
        Type::Cidr => ", a network such as 10.0.0.0/8",
        Type::Bool => ", true or false",
        Type::Geo => ", latitude from -90 to 90 and longitude from -180 to 180",
        Type::String | Type::List(_) => "",
    };
    format!("{ty}{example}")
}

/// A piece of data as it stands in a sentence: not too long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

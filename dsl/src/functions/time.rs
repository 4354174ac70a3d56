//! The calendar, in a zone: UTC where none is written. The zones are part of the program, so that every machine agrees.

use jiff::tz::TimeZone;

use super::{Definition, EvalError, Signature};
use crate::calendar::zone;
use crate::value::{Type, Value};

fn local(args: &[Value<'_>]) -> Result<jiff::Zoned, EvalError> {
    let (ms, zone) = match args {
        [Value::Timestamp(ms)] => (*ms, TimeZone::UTC),
        [Value::Timestamp(ms), Value::Text(name)] => (*ms, zone(name).ok_or(EvalError::BadCast)?),
        _ => return Err(EvalError::BadCast),
    };
    let time = jiff::Timestamp::from_millisecond(ms).map_err(|_| EvalError::Overflow)?;
    Ok(time.to_zoned(zone))
}

fn signatures(result: Type) -> Vec<Signature> {
    vec![Signature { optional: 1, ..Signature::new([Type::Timestamp, Type::String], result) }]
}

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "hour",
        signatures: || signatures(Type::Int),
        eval: |args| Ok(Value::Int(local(args)?.hour().into())),
        takes_missing: false,
        about: "the hour of the day, 0 to 23, in a zone or UTC",
        examples: &[
            ("hour(2026-01-31T23:30:00Z)", "23"),
            ("hour(2026-01-31T23:30:00Z, \"Europe/Paris\")", "0"),
            ("hour(2026-07-31T23:30:00Z, \"Europe/Paris\")", "1"),
        ],
    },
    Definition {
        name: "weekday",
        signatures: || signatures(Type::Int),
        eval: |args| Ok(Value::Int(local(args)?.weekday().to_monday_one_offset().into())),
        takes_missing: false,
        about: "the day of the week, 1 (Monday) to 7, in a zone or UTC",
        examples: &[
            ("weekday(2026-02-02T00:00:00Z)", "1"),
            ("weekday(2026-02-02T00:00:00Z, \"America/New_York\")", "7"),
        ],
    },
    Definition {
        name: "date",
        signatures: || signatures(Type::String),
        eval: |args| Ok(Value::text(local(args)?.date().to_string())),
        takes_missing: false,
        about: "the day as `2026-01-31`, in a zone or UTC",
        examples: &[
            ("date(2026-01-31T23:30:00Z)", "\"2026-01-31\""),
            ("date(2026-01-31T23:30:00Z, \"Asia/Tokyo\")", "\"2026-02-01\""),
        ],
    },
];

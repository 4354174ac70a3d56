//! Places on the earth: distances and speeds.

use super::{Definition, EvalError, Outcome, Signature};
use crate::value::{Type, Value};

/// Radius of the earth as a ball, in kilometres.
const EARTH_KM: f64 = 6371.0;

/// Milliseconds in an hour.
const HOUR_MS: f64 = 3_600_000.0;

/// Great-circle distance of two places in degrees, by the haversine formula.
pub fn kilometres(from: (f64, f64), to: (f64, f64)) -> f64 {
    // Most events of a key come from one place.
    if from == to {
        return 0.0;
    }
    let (p, q) = (from.0.to_radians(), to.0.to_radians());
    let (a, b) = (((q - p) / 2.0).sin(), ((to.1 - from.1).to_radians() / 2.0).sin());
    2.0 * EARTH_KM * (a * a + p.cos() * q.cos() * b * b).min(1.0).sqrt().asin()
}

fn distance(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Geo(a, b), Value::Geo(c, d)] => Ok(Value::Float(kilometres((*a, *b), (*c, *d)))),
        _ => Err(EvalError::BadCast),
    }
}

/// Places closer than `accuracy_km` are the same place; without it only equal places are.
fn speed(args: &[Value<'_>]) -> Outcome {
    let [Value::Geo(a, b), Value::Timestamp(from), Value::Geo(c, d), Value::Timestamp(to), rest @ ..] = args else {
        return Err(EvalError::BadCast);
    };
    let accuracy = match rest {
        [Value::Float(km)] => *km,
        _ => 0.0,
    };
    let km = kilometres((*a, *b), (*c, *d));
    if km == 0.0 || km < accuracy {
        return Ok(Value::Float(0.0));
    }
    let ms = i128::from(*to) - i128::from(*from);
    if ms == 0 {
        return Ok(Value::Float(f64::INFINITY));
    }
    Ok(Value::Float(km / (ms.unsigned_abs() as f64 / HOUR_MS)))
}

fn place(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Float(lat), Value::Float(lon)] if lat.abs() <= 90.0 && lon.abs() <= 180.0 => Ok(Value::Geo(*lat, *lon)),
        _ => Err(EvalError::BadCast),
    }
}

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "distance_km",
        signatures: || vec![Signature::new([Type::Geo, Type::Geo], Type::Float)],
        eval: distance,
        takes_missing: false,
        about: "the great-circle distance of two places in kilometres, on a ball of radius 6371 km",
        examples: &[
            ("round(distance_km(geo(52.5, 13.4), geo(48.9, 2.4)))", "871.0"),
            ("distance_km(geo(1, 2), geo(1, 2))", "0.0"),
        ],
    },
    Definition {
        name: "speed_kmh",
        signatures: || {
            let params = [Type::Geo, Type::Timestamp, Type::Geo, Type::Timestamp, Type::Float];
            vec![Signature { optional: 1, ..Signature::new(params, Type::Float) }]
        },
        eval: speed,
        takes_missing: false,
        about: "the speed from one place and time to another in km/h; zero time between distinct places is infinite, places \
                closer than `accuracy_km` (0 where it is left out) are 0; of two events with one geo field each: `speed_kmh(a, b)`",
        examples: &[
            ("speed_kmh(geo(0, 0), 2026-01-31T10:00:00Z, geo(0, 0), 2026-01-31T10:00:00Z)", "0.0"),
            ("speed_kmh(geo(0, 0), 2026-01-31T10:00:00Z, geo(0, 1), 2026-01-31T10:00:00Z) > 1000000", "true"),
            ("round(speed_kmh(geo(0, 0), 2026-01-31T10:00:00Z, geo(0, 1), 2026-01-31T12:00:00Z))", "56.0"),
            ("speed_kmh(geo(0, 0), 2026-01-31T10:00:00Z, geo(0, 1), 2026-01-31T12:00:00Z, accuracy_km: 200)", "0.0"),
        ],
    },
    Definition {
        name: "geo",
        signatures: || vec![Signature::new([Type::Float, Type::Float], Type::Geo)],
        eval: place,
        takes_missing: false,
        about: "a place from its latitude and longitude in degrees",
        examples: &[("geo(52.5, 13.4) == geo(52.5, 13.4)", "true"), ("geo(91, 0) is missing", "true")],
    },
];

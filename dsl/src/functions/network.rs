//! Addresses, networks, and the hash that spreads values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Definition, EvalError, Outcome, Signature};
use crate::value::{Type, Value};

/// The network of an address: what stands behind its first `bits` is 0.
fn network(ip: IpAddr, bits: u8) -> Option<Value<'static>> {
    let address = match ip {
        IpAddr::V4(v4) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
        _ => return None,
    };
    Some(Value::Cidr(address, bits))
}

fn cidr(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Ip(ip), Value::Int(bits)] => {
            u8::try_from(*bits).ok().and_then(|b| network(*ip, b)).ok_or(EvalError::BadCast)
        }
        _ => Err(EvalError::BadCast),
    }
}

/// FNV-1a over the value as text, then a final mix, so that near values fall far apart; the sign is cut off.
fn hash(args: &[Value<'_>]) -> Outcome {
    let Value::Text(text) = super::text_of(args.first().ok_or(EvalError::BadCast)?)? else {
        return Err(EvalError::BadCast);
    };
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    let mut h = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    Ok(Value::Int(((h ^ (h >> 33)) >> 1) as i64))
}

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "cidr",
        signatures: || vec![Signature::new([Type::Ip, Type::Int], Type::Cidr)],
        eval: cidr,
        takes_missing: false,
        about: "the network that an address lies in, by the number of leading bits",
        examples: &[
            ("cidr(10.1.2.3, 24)", "10.1.2.0/24"),
            ("cidr(10.1.2.3, 0)", "0.0.0.0/0"),
            ("cidr(2001:db8::1, 32)", "2001:db8::/32"),
            ("cidr(10.1.2.3, 33) is missing", "true"),
        ],
    },
    Definition {
        name: "hash",
        signatures: || super::SCALARS.iter().map(|t| Signature::new([t.clone()], Type::Int)).collect(),
        eval: hash,
        takes_missing: false,
        about: "a whole number from 0 on that depends on the value alone and is the same everywhere: `hash(user) % 100 < 5`",
        examples: &[("hash(\"ann\") == hash(\"ann\")", "true"), ("hash(\"ann\") == hash(\"bob\")", "false")],
    },
];

//! What tests give in place of models and of databases of places.

use std::net::IpAddr;
use std::sync::Arc;

use lapwing_dsl::ir::GeoipField;
use lapwing_dsl::syntax::ast::Expr;
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::data::geoip::Geoip;
use lapwing_engine::data::model::{Model, Row, Version};
use lapwing_engine::eval::in_cidr;

use super::literal;

/// A model that answers one thing.
#[derive(Debug)]
struct Always(f64);

impl Model for Always {
    fn score(&self, rows: &[Row<'_>]) -> Vec<Option<f64>> {
        vec![Some(self.0); rows.len()]
    }
}

/// Version 1 of a model that answers one thing.
pub fn model(score: f64) -> Arc<Version> {
    Arc::new(Version::new(1, score.to_bits(), Arc::new(Always(score))))
}

/// Places of networks.
#[derive(Debug, Default)]
pub struct Places(Vec<((IpAddr, u8), GeoipField, Value<'static>)>);

impl Places {
    /// Adds what is known of a network.
    pub fn add(&mut self, network: (IpAddr, u8), field: GeoipField, value: Value<'static>) {
        self.0.push((network, field, value));
    }
}

impl Geoip for Places {
    /// The smallest network that the address lies in and of which the field is known.
    fn find(&self, ip: IpAddr, field: GeoipField) -> Value<'static> {
        let known = self.0.iter().filter(|((net, length), f, _)| *f == field && in_cidr(ip, *net, *length));
        known.max_by_key(|((_, length), ..)| *length).map_or(Value::Missing, |(.., value)| value.clone())
    }
}

/// A network as a test writes it: an address is the network of itself.
pub fn network(e: &Expr) -> Option<(IpAddr, u8)> {
    match literal::value(e, &Type::Ip).or_else(|| literal::value(e, &Type::Cidr)).or_else(|| literal::network(e))? {
        Value::Ip(ip) => Some((ip, if ip.is_ipv4() { 32 } else { 128 })),
        Value::Cidr(net, length) => Some((net, length)),
        _ => None,
    }
}

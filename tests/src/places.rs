//! Places of addresses that a test gives as a message, in place of a database.

use std::net::IpAddr;
use std::sync::Arc;

use lapwing_dsl::ir::GeoipField;
use lapwing_dsl::value::Value;
use lapwing_engine::data::geoip::Geoip;
use lapwing_engine::eval::in_cidr;
use serde_json::Value as Json;

/// What is known of networks, the smallest first.
#[derive(Debug)]
struct Places(Vec<(IpAddr, u8, Json)>);

/// Those of the last message of the kind `geoip`; none where there is none.
pub fn of(messages: &[Json]) -> Option<Arc<dyn Geoip>> {
    let message = messages.iter().rfind(|m| m["kind"] == "geoip")?;
    let networks = message["networks"].as_array().into_iter().flatten();
    let mut places: Vec<_> = networks.map(network).collect();
    places.sort_by_key(|(_, length, _)| std::cmp::Reverse(*length));
    Some(Arc::new(Places(places)))
}

fn network(json: &Json) -> (IpAddr, u8, Json) {
    let (net, length) = json["network"].as_str().and_then(|text| text.split_once('/')).expect("a network");
    (net.parse().expect("an address"), length.parse().expect("a length"), json.clone())
}

impl Geoip for Places {
    fn find(&self, ip: IpAddr, field: GeoipField) -> Value<'static> {
        let said = |json: &Json| -> Option<Value<'static>> {
            Some(match field {
                GeoipField::Country | GeoipField::City => Value::text(json[field.name()].as_str()?.to_owned()),
                GeoipField::Asn => Value::Int(json[field.name()].as_i64()?),
                GeoipField::Place => Value::Geo(json["lat"].as_f64()?, json["lon"].as_f64()?),
            })
        };
        let holding = self.0.iter().filter(|(net, length, _)| in_cidr(ip, *net, *length));
        holding.filter_map(|(.., json)| said(json)).next().unwrap_or(Value::Missing)
    }
}

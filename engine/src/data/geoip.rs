//! Where addresses are: what knows it is the service's.

use std::fmt::Debug;
use std::net::IpAddr;

use lapwing_dsl::ir::GeoipField;
use lapwing_dsl::value::Value;

/// Knows the places of addresses.
pub trait Geoip: Debug + Send + Sync {
    /// What is asked of an address, of the field's type; missing where it is not known. Equal addresses give equal answers.
    fn find(&self, ip: IpAddr, field: GeoipField) -> Value<'static>;
}

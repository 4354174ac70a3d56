//! Lists, tables and models, as control messages leave them: plain vectors, looked through from one end to the other. A model is a linear
//! function.

use std::collections::BTreeMap;

use lapwing_dsl::syntax::ast::{Decl, File, Ident, TableDecl, TypeExpr};
use serde_json::Value as Json;

use crate::event::{read_field, scalar, timestamp};
use crate::value::{self, Value};

/// What lists and tables hold, and which versions models have, at some place in the stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// By name: each value with the time up to which it is on the list.
    lists: BTreeMap<String, Vec<(Value, Option<i64>)>>,
    /// By name: each row with its key.
    tables: BTreeMap<String, Vec<Row>>,
    /// By name.
    models: BTreeMap<String, Model>,
    /// What is known of the places of addresses: networks, each with its fields.
    places: Vec<(Value, BTreeMap<String, Value>)>,
}

/// A model of a test: a bias and the sum of the inputs, each times its weight.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// The names of the inputs, in order.
    inputs: Vec<String>,
    /// The highest version there was.
    last: u64,
    live: Option<Version>,
    shadow: Vec<Version>,
}

#[derive(Clone, Debug, PartialEq)]
struct Version {
    number: u64,
    weights: Vec<f64>,
    bias: f64,
    /// It fails where its first input is this.
    fails: Option<f64>,
}

impl Version {
    fn score(&self, inputs: &[f64]) -> Option<f64> {
        if inputs.first() == self.fails.as_ref() {
            return None;
        }
        let products = self.weights.iter().zip(inputs).map(|(w, x)| w * x);
        Some(self.bias + products.sum::<f64>())
    }
}

/// What a model answered, as an alert tells it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct Used {
    /// The model.
    pub model: String,
    /// The version that was live.
    pub version: u64,
    /// Its answer.
    pub score: f64,
    /// What those in shadow answered.
    pub shadow: Vec<(u64, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: Vec<Value>,
    columns: BTreeMap<String, Value>,
}

impl Data {
    /// Those that are declared, with what was in them before.
    pub fn declared(&self, files: &[File]) -> Data {
        let mut data = Data { places: self.places.clone(), ..Data::default() };
        for decl in files.iter().flat_map(|f| &f.decls) {
            match decl {
                Decl::List(d) => {
                    let entries = self.lists.get(&d.name.text).cloned().unwrap_or_default();
                    data.lists.insert(d.name.text.clone(), entries);
                }
                Decl::Table(d) => {
                    let rows = self.tables.get(&d.name.text).cloned().unwrap_or_default();
                    data.tables.insert(d.name.text.clone(), rows);
                }
                Decl::Model(d) => {
                    let mut model = self.models.get(&d.name.text).cloned().unwrap_or_default();
                    model.inputs = d.inputs.iter().map(|(name, _)| name.text.clone()).collect();
                    data.models.insert(d.name.text.clone(), model);
                }
                _ => {}
            }
        }
        data
    }

    /// Carries out a message: `entries` or `rows` in place of all, or else `remove` and then `add` or `upsert`.
    pub fn apply(&mut self, files: &[File], message: &Json) {
        if message["kind"] == "geoip" {
            self.places = message["networks"].as_array().into_iter().flatten().map(place).collect();
            return;
        }
        let name = message["name"].as_str().expect("a message has a name");
        let items = |member: &str| message.get(member).and_then(Json::as_array).cloned().unwrap_or_default();
        for decl in files.iter().flat_map(|f| &f.decls) {
            match decl {
                Decl::List(d) if message["kind"] == "list" && d.name.text == name => {
                    let entry = |item: &Json| entry(&d.ty.name.text, item);
                    let list = self.lists.entry(name.to_owned()).or_default();
                    if message.get("entries").is_some() {
                        list.clear();
                    }
                    for gone in items("remove").iter().map(entry) {
                        list.retain(|(value, _)| !value::same(value, &gone.0));
                    }
                    for new in items("entries").iter().chain(&items("add")).map(entry) {
                        list.retain(|(value, _)| !value::same(value, &new.0));
                        list.push(new);
                    }
                }
                Decl::Table(d) if message["kind"] == "table" && d.name.text == name => {
                    let table = self.tables.entry(name.to_owned()).or_default();
                    if message.get("rows").is_some() {
                        table.clear();
                    }
                    for gone in items("remove").iter().map(|item| key(d, item)) {
                        table.retain(|row| !same_key(&row.key, &gone));
                    }
                    for item in items("rows").iter().chain(&items("upsert")) {
                        let key = key(d, item);
                        let columns = d.columns.iter().map(|c| (c.name.text.clone(), read_field(c, item))).collect();
                        table.retain(|row| !same_key(&row.key, &key));
                        table.push(Row { key, columns });
                    }
                }
                Decl::Model(d) if message["kind"] == "model" && d.name.text == name => {
                    let model = self.models.entry(name.to_owned()).or_default();
                    model.last += 1;
                    let number = |json: &Json| json.as_f64().expect("a number");
                    let version = Version {
                        number: model.last,
                        weights: items("weights").iter().map(number).collect(),
                        bias: number(&message["bias"]),
                        fails: message.get("fails").map(number),
                    };
                    if message.get("stage").is_some_and(|stage| stage == "shadow") {
                        model.shadow.push(version);
                    } else {
                        model.live = Some(version);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether there is a list of a name.
    pub fn has_list(&self, name: &str) -> bool {
        self.lists.contains_key(name)
    }

    /// The keys of a table's rows, or the entries of a list at a time, in no order.
    pub fn keys(&self, name: &str, now: i64) -> Vec<Vec<Value>> {
        // A number is a key without the digits that say nothing.
        let plain = |value: &Value| match value {
            Value::Decimal(d) => Value::Decimal(d.normalize()),
            other => other.clone(),
        };
        if let Some(rows) = self.tables.get(name) {
            return rows.iter().map(|row| row.key.iter().map(plain).collect()).collect();
        }
        let live = self.lists[name].iter().filter(|(_, until)| until.is_none_or(|until| now <= until));
        live.map(|(value, _)| vec![plain(value)]).collect()
    }

    /// Whether a value is on a list at a time; an address is where its network is.
    pub fn is_on(&self, list: &str, item: &Value, now: i64) -> Option<bool> {
        if item.is_missing() {
            return None;
        }
        let holds = |(value, until): &(Value, Option<i64>)| {
            let fits = match (value, item) {
                (Value::Cidr(net, bits), Value::Ip(ip)) => value::in_network(*ip, *net, *bits),
                _ => {
                    let (a, b) = value::widen(value.clone(), item.clone());
                    value::equal(&a, &b) == Some(true)
                }
            };
            fits && until.is_none_or(|until| now <= until)
        };
        Some(self.lists[list].iter().any(holds))
    }

    /// The names of the models.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// The names of a model's inputs; none where there is no such model.
    pub fn inputs(&self, model: &str) -> Option<&[String]> {
        self.models.get(model).map(|m| m.inputs.as_slice())
    }

    /// What the live version of a model answers; with what an alert tells of it.
    pub fn score(&self, model: &str, inputs: &[f64]) -> Option<Used> {
        let of = self.models.get(model)?;
        let live = of.live.as_ref()?;
        let score = live.score(inputs)?;
        let shadow = of.shadow.iter().filter_map(|v| Some((v.number, v.score(inputs)?))).collect();
        Some(Used { model: model.to_owned(), version: live.number, score, shadow })
    }

    /// What is known of an address: of the networks that it lies in and of which the field is known, what the smallest says.
    pub fn place(&self, ip: &Value, field: &str) -> Value {
        let Value::Ip(ip) = ip else { return Value::Missing };
        let mut best: Option<(u8, &Value)> = None;
        for (network, fields) in &self.places {
            if let (Value::Cidr(net, bits), Some(said)) = (network, fields.get(field))
                && value::in_network(*ip, *net, *bits)
                && best.is_none_or(|(other, _)| *bits > other)
            {
                best = Some((*bits, said));
            }
        }
        best.map_or(Value::Missing, |(_, said)| said.clone())
    }

    /// A column of the row of a key.
    pub fn column(&self, table: &str, key: &[Value], column: &str) -> Value {
        let Some(rows) = self.tables.get(table) else { return Value::Missing };
        let row = rows.iter().find(|row| same_key(&row.key, key));
        row.and_then(|row| row.columns.get(column)).cloned().unwrap_or(Value::Missing)
    }
}

fn entry(ty: &str, item: &Json) -> (Value, Option<i64>) {
    let read =
        |json: &Json| scalar(ty, json).or_else(|| scalar("ip", json).map(network)).expect("an entry is readable");
    match item.get("value") {
        Some(value) => (read(value), item.get("until").and_then(timestamp)),
        None => (read(item), None),
    }
}

/// What a message says of a network.
fn place(item: &Json) -> (Value, BTreeMap<String, Value>) {
    let network = scalar("cidr", &item["network"]).expect("a network is readable");
    let said = [("country", "string"), ("city", "string"), ("asn", "int")].into_iter();
    let mut fields: BTreeMap<String, Value> =
        said.filter_map(|(name, ty)| Some((name.to_owned(), scalar(ty, item.get(name)?)?))).collect();
    if let (Some(lat), Some(lon)) = (item["lat"].as_f64(), item["lon"].as_f64()) {
        fields.insert("place".to_owned(), Value::Geo(lat, lon));
    }
    (network, fields)
}

/// An address is the network of itself.
fn network(ip: Value) -> Value {
    match ip {
        Value::Ip(ip) => Value::Cidr(ip, if ip.is_ipv4() { 32 } else { 128 }),
        other => other,
    }
}

/// The key of a row, or what a message says to remove: an object with its parts, or the one part itself.
fn key(table: &TableDecl, item: &Json) -> Vec<Value> {
    let part = |(name, ty): &(Ident, Option<TypeExpr>)| {
        let json = item.get(&name.text).unwrap_or(item);
        scalar(ty.as_ref().map_or("string", |t| &t.name.text), json).expect("a key is readable")
    };
    table.key.iter().map(part).collect()
}

fn same_key(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| {
            let (x, y) = value::widen(x.clone(), y.clone());
            value::equal(&x, &y) == Some(true)
        })
}

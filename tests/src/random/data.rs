//! Lists, tables and models: what they are at the start, and messages that change them.

use serde_json::{Value as Json, json};

use super::rng::Rng;

/// The names of lists and tables.
const NAMES: [&str; 7] = ["texts", "whole", "exact", "addresses", "nets", "base", "pairs"];
/// The names of models.
const MODELS: [&str; 2] = ["near", "far"];

/// A message for most lists, tables and models; nobody has filled the others.
pub fn at_the_start(rng: &mut Rng) -> Vec<Json> {
    let mut all = all(rng);
    all.extend(MODELS.iter().map(|name| whole(name, rng)));
    all.push(places(rng));
    all.into_iter().filter(|_| rng.percent(85)).collect()
}

/// A message for each list and table.
pub fn all(rng: &mut Rng) -> Vec<Json> {
    NAMES.iter().map(|name| whole(name, rng)).collect()
}

/// A message that changes a list or a table.
pub fn message(rng: &mut Rng) -> Json {
    let name = *rng.pick(&NAMES);
    change(name, rng)
}

/// A message for each model, that a real one can follow: it does not fail.
pub fn real_models(rng: &mut Rng) -> Vec<Json> {
    let mut messages: Vec<Json> = MODELS.iter().map(|name| real_model(name, rng)).collect();
    messages.iter_mut().filter_map(Json::as_object_mut).for_each(|message| drop(message.remove("stage")));
    messages
}

/// A message that changes a list, a table or a model, that a real model can follow.
pub fn real_message(rng: &mut Rng) -> Json {
    if rng.percent(20) { real_model(rng.word(&MODELS), rng) } else { message(rng) }
}

fn real_model(name: &str, rng: &mut Rng) -> Json {
    let mut message = model(name, rng);
    message.as_object_mut().and_then(|message| message.remove("fails"));
    message
}

/// A message that changes a list, a table or a model that a text names, if it names one.
pub fn message_for(text: &str, rng: &mut Rng) -> Option<Json> {
    let asked = |name: &&str| {
        text.contains(&format!("in {name}"))
            || text.contains(&format!("{name}["))
            || text.contains(&format!("for {name}"))
    };
    let mut names: Vec<&str> = NAMES.into_iter().filter(asked).collect();
    names.extend(MODELS.into_iter().filter(|name| text.contains(&format!("{name}(n: "))));
    (!names.is_empty()).then(|| change(rng.word(&names), rng))
}

/// A message that changes a list, or one that changes a table.
pub fn message_of(kind: &str, rng: &mut Rng) -> Json {
    let names: Vec<&str> = NAMES.into_iter().filter(|name| self::kind(name) == kind).collect();
    let name = *rng.pick(&names);
    change(name, rng)
}

fn change(name: &str, rng: &mut Rng) -> Json {
    if kind(name) == "model" || rng.percent(25) {
        return whole(name, rng);
    }
    let mut changed = json!({"op": "put", "kind": kind(name), "name": name});
    let (add, some) = if kind(name) == "list" { ("add", 60) } else { ("upsert", 60) };
    if rng.percent(some) {
        changed[add] = several(name, rng, 1, 2);
    }
    if rng.percent(50) || changed.get(add).is_none() {
        changed["remove"] = several(name, rng, 1, 2).as_array().map_or(json!([]), |all| all.iter().map(bare).collect());
    }
    changed
}

fn kind(name: &str) -> &'static str {
    match name {
        "base" | "pairs" => "table",
        "near" | "far" => "model",
        _ => "list",
    }
}

/// A version of a model, which the engine's double and the naive matcher read alike. All numbers are quarters: sums of them are exact.
fn model(name: &str, rng: &mut Rng) -> Json {
    let mut quarter = || json!(rng.between(-6, 6) as f64 / 4.0);
    let weights = if name == "near" { vec![quarter(), quarter()] } else { vec![quarter(), quarter(), quarter()] };
    let mut message = json!({"op": "put", "kind": "model", "name": name, "weights": weights, "bias": quarter()});
    if rng.percent(25) {
        message["fails"] = json!(rng.between(0, 3));
    }
    if rng.percent(25) {
        message["stage"] = json!("shadow");
    }
    message
}

/// What is known of the addresses of events.
fn places(rng: &mut Rng) -> Json {
    let networks = ["10.0.0.0/8", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.1/32", "10.0.0.3/32", "2001:db8::/32"];
    let known = networks.iter().filter_map(|network| {
        let mut json = json!({"network": network});
        if rng.percent(60) {
            json["country"] = json!(rng.pick(&["DE", "FR", "a"]));
        }
        if rng.percent(40) {
            json["city"] = json!(rng.pick(&["Bonn", "Nice"]));
        }
        if rng.percent(50) {
            json["asn"] = json!(rng.between(0, 3));
        }
        if rng.percent(50) {
            (json["lat"], json["lon"]) = (json!(rng.between(-3, 3)), json!(rng.between(-3, 3)));
        }
        rng.percent(70).then_some(json)
    });
    let known: Vec<Json> = known.collect();
    json!({"kind": "geoip", "networks": known})
}

fn whole(name: &str, rng: &mut Rng) -> Json {
    if kind(name) == "model" {
        return model(name, rng);
    }
    let member = if kind(name) == "list" { "entries" } else { "rows" };
    let mut message = json!({"op": "put", "kind": kind(name), "name": name});
    message[member] = several(name, rng, 0, 4);
    message
}

fn several(name: &str, rng: &mut Rng, least: i64, most: i64) -> Json {
    let mut all: Vec<Json> = Vec::new();
    for _ in 0..rng.between(least, most) {
        let item = item(name, rng);
        // Two rows of one key are refused; an entry may stand twice.
        if kind(name) == "list" || !all.iter().any(|other| bare(other) == bare(&item)) {
            all.push(item);
        }
    }
    Json::Array(all)
}

fn item(name: &str, rng: &mut Rng) -> Json {
    let value = match name {
        "texts" => json!(rng.pick(&["a", "b", "ab", "c", "p"])),
        "whole" => json!(rng.between(0, 3)),
        "exact" => json!(rng.pick(&["0.5", "1", "1.250", "2.00"])),
        "addresses" => json!(format!("10.0.0.{}", rng.between(0, 3))),
        "nets" => {
            json!(rng.pick(&["10.0.0.0/31", "10.0.0.2/31", "10.0.0.1", "10.0.0.0/30", "2001:db8::/32", "0.0.0.0/0"]))
        }
        "base" => return row(rng, |rng| json!({"j": rng.pick(&["p", "q"]), "word": rng.pick(&["a", "b"])}), "share"),
        _ => {
            return row(
                rng,
                |rng| json!({"s": rng.pick(&["a", "b", "ab"]), "n": rng.between(0, 3), "top": rng.between(0, 2)}),
                "word",
            );
        }
    };
    if rng.percent(30) {
        // Events begin a little later than this.
        let until = 1_000_000 + rng.between(0, 25);
        return json!({"value": value, "until": until});
    }
    value
}

/// A row, with columns that may be missing.
fn row(rng: &mut Rng, make: impl Fn(&mut Rng) -> Json, sometimes: &str) -> Json {
    let mut row = make(rng);
    if row.get("top").is_none() && rng.percent(75) {
        row["top"] = json!(rng.between(0, 3));
    }
    if rng.percent(60) {
        row[sometimes] = json!(rng.pick(&["0.5", "1.25"]));
    }
    row
}

/// What names an entry or a row.
fn bare(item: &Json) -> Json {
    match item.get("value") {
        Some(value) => value.clone(),
        None => match (item.get("j"), item.get("s"), item.get("n")) {
            (Some(j), ..) => j.clone(),
            (_, Some(s), Some(n)) => json!({"s": s, "n": n}),
            _ => item.clone(),
        },
    }
}
